"""The one door through which audio is read, checked and resampled."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from joblib import Parallel, delayed
from tqdm import tqdm

from soctk.errors import SoctkError, listing

# 50 ms: what the slowest upstreams (20 ms frame shift, 25 ms window) need for two frames, the fewest with a covariance.
MIN_SECONDS = 0.05


# What libsndfile's log says of a WAV file that ends before its header has it end, and the lengths there that mean that
# the writer, to a pipe, did not know it.
_CUT_SHORT = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_LENGTH = 0x7FFFFF00
# Samples at or above it, in a row, tell of clipping: one below the largest value of 16 bits.
_FULL_SCALE = 32766 / 32768
_CLIPPED_RUN = 3


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What is known of one recording once all of it has been decoded.

    Attributes:
        seconds: its duration.
        channels: how many.
        sample_rate: in Hz.
        digest: of the decoded first channel, so two containers of the same recording agree in it.
        is_silent: whether all samples of the first channel are the same.
        clipped: the share of its samples that stand in runs of _CLIPPED_RUN or more at full scale.
    """

    seconds: float
    channels: int
    sample_rate: int
    digest: str
    is_silent: bool
    clipped: float


def load(path: Path, sample_rate: int, speed: float = 1) -> np.ndarray:
    """Read a recording's first channel, resampled (soxr, high quality).

    Args:
        path: any file that libsndfile reads: WAV, FLAC, OGG, MP3, ...
        sample_rate: of the result, in Hz.
        speed: how many times as fast it is played; tempo and pitch change alike.

    Returns:
        float32 waveform `(samples,)`; full scale is 1.0.

    Raises:
        SoctkError: the file cannot be decoded, is cut short or shorter than MIN_SECONDS, or holds NaN or infinite
            samples.
    """
    try:
        samples, native_rate, _ = _decode(path)
    except ValueError as problem:
        raise SoctkError(str(problem), remedy="Replace the file or take it out of the corpus.", where=path) from problem
    return soxr.resample(samples, native_rate * speed, sample_rate)


def check(recordings: Mapping[str, Path]) -> dict[str, AudioInfo]:
    """Decode every recording, and complain of all the bad ones at once.

    Args:
        recordings: utterance id -> path.

    Returns:
        utterance id -> AudioInfo, in the order given.

    Raises:
        SoctkError: some are missing, unreadable, cut short, empty, shorter than MIN_SECONDS, or hold NaN or infinite
            samples.
    """
    results = inspect(recordings)
    bad = [f"{utt} {recordings[utt]}: {result}" for utt, result in results.items() if isinstance(result, ValueError)]
    if bad:
        raise SoctkError(
            f"{len(bad)} of {len(recordings)} recordings cannot be used\n{listing(bad, at_most=None)}",
            remedy="Replace these files, or take them out of the corpus and prepare the data again (stage 0).",
        )
    return results


def inspect(recordings: Mapping[str, Path]) -> dict[str, AudioInfo | ValueError]:
    """Decode every recording; return what is known of each, or a ValueError that says why it cannot be used."""
    # A few at a time: an executor would hold an object for each recording to come.
    infos = Parallel(-1, backend="threading", return_as="generator")(map(delayed(_inspect), recordings.values()))
    progress = tqdm(infos, "check audio", len(recordings), unit="file", disable=None)
    return dict(zip(recordings, progress, strict=True))


def _inspect(path: Path) -> AudioInfo | ValueError:
    try:
        samples, sample_rate, channels = _decode(path)
    except ValueError as problem:
        return problem
    return AudioInfo(
        seconds=len(samples) / sample_rate,
        channels=channels,
        sample_rate=sample_rate,
        digest=hashlib.sha256(np.ascontiguousarray(samples)).hexdigest(),
        is_silent=bool((samples == samples[0]).all()),
        clipped=_clipped(samples),
    )


def _clipped(samples: np.ndarray) -> float:
    """Return the share of samples within runs of _CLIPPED_RUN or more at full scale."""
    at_full_scale = np.concatenate([[False], np.abs(samples) >= _FULL_SCALE, [False]])
    starts, ends = np.flatnonzero(np.diff(at_full_scale)).reshape(-1, 2).T
    lengths = ends - starts
    return float(lengths[lengths >= _CLIPPED_RUN].sum() / len(samples))


def _decode(path: Path) -> tuple[np.ndarray, int, int]:
    """Return the first channel (samples,), rate and channel count; or raise a ValueError that says what is wrong."""
    if not path.is_file():
        raise ValueError("no such file" if not path.exists() else "not a file")
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            samples, sample_rate, log = file.read(dtype="float32", always_2d=True), file.samplerate, file.extra_info
    except (soundfile.SoundFileError, OSError) as error:
        raise ValueError(f"cannot be decoded ({error})") from error
    cut = _CUT_SHORT.search(log)
    if cut and int(cut[2]) < int(cut[1]) < _UNKNOWN_LENGTH:
        raise ValueError(f"cut short: {cut[2]} of the {cut[1]} bytes of samples that its header tells of")
    if len(samples) == 0:
        raise ValueError("empty: no samples")
    if len(samples) < MIN_SECONDS * sample_rate:
        milliseconds = 1000 * len(samples) / sample_rate
        raise ValueError(f"too short: {milliseconds:.1f} ms, {1000 * MIN_SECONDS:.0f} ms are needed")
    if not np.isfinite(samples).all():
        raise ValueError("NaN or infinite samples")
    return samples[:, 0], sample_rate, samples.shape[1]
