"""The one door through which audio is read, checked and resampled."""

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from soctk.errors import SoctkError, listing

# 50 ms: what the slowest upstreams (20 ms frame shift, 25 ms window) need for two frames, the fewest with a covariance.
MIN_SECONDS = 0.05


@dataclass(frozen=True)
class AudioInfo:
    """What is known of one recording once all of it has been decoded.

    `digest` is of the decoded first channel, so two containers of the same recording agree in it; `sample_rate` is in
    Hz.
    """

    seconds: float
    channels: int
    digest: str
    sample_rate: int


def load(path: Path, sample_rate: int) -> np.ndarray:
    """Read a recording's first channel, resampled (soxr, high quality).

    Args:
        path: any file that libsndfile reads: WAV, FLAC, OGG, MP3, ...
        sample_rate: of the result, in Hz.

    Returns:
        float32 waveform `(samples,)`; full scale is 1.0.

    Raises:
        SoctkError: the file cannot be decoded, or is shorter than MIN_SECONDS, or holds NaN or infinite samples.
    """
    try:
        samples, native_rate, _ = _decode(path)
    except ValueError as problem:
        raise SoctkError(str(problem), remedy="Replace the file or take it out of the corpus.", where=path) from problem
    return soxr.resample(samples, native_rate, sample_rate)


def check(recordings: Mapping[str, Path]) -> dict[str, AudioInfo]:
    """Decode every recording, and complain of all the bad ones at once.

    Args:
        recordings: utterance id -> path.

    Returns:
        utterance id -> AudioInfo, in the order given.

    Raises:
        SoctkError: some are missing, unreadable, empty, shorter than MIN_SECONDS, or hold NaN or infinite samples.
    """
    with ThreadPoolExecutor() as pool:
        progress = tqdm(
            pool.map(_inspect, recordings.values()), "check audio", len(recordings), unit="file", disable=None
        )
        results = dict(zip(recordings, progress, strict=True))
    bad = [f"{utt} {recordings[utt]}: {result}" for utt, result in results.items() if isinstance(result, ValueError)]
    if bad:
        raise SoctkError(
            f"{len(bad)} of {len(recordings)} recordings cannot be used\n{listing(bad, at_most=None)}",
            remedy="Replace these files, or take them out of the corpus and prepare the data again (stage 0).",
        )
    return results


def _inspect(path: Path) -> AudioInfo | ValueError:
    try:
        samples, sample_rate, channels = _decode(path)
    except ValueError as problem:
        return problem
    return AudioInfo(
        seconds=len(samples) / sample_rate,
        channels=channels,
        digest=hashlib.sha256(np.ascontiguousarray(samples)).hexdigest(),
        sample_rate=sample_rate,
    )


def _decode(path: Path) -> tuple[np.ndarray, int, int]:
    """Return the first channel (samples,), rate and channel count; or raise a ValueError that says what is wrong."""
    if not path.is_file():
        raise ValueError("no such file" if not path.exists() else "not a file")
    try:
        samples, sample_rate = soundfile.read(os.fsencode(path), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise ValueError(f"cannot be decoded ({error})") from error
    if len(samples) == 0:
        raise ValueError("empty: no samples")
    if len(samples) < MIN_SECONDS * sample_rate:
        milliseconds = 1000 * len(samples) / sample_rate
        raise ValueError(f"too short: {milliseconds:.1f} ms, {1000 * MIN_SECONDS:.0f} ms are needed")
    if not np.isfinite(samples).all():
        raise ValueError("NaN or infinite samples")
    return samples[:, 0], sample_rate, samples.shape[1]
