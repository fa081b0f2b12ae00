"""Recordings: decoding, resampling and checks. All of soctk reads audio through this module."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import soundfile
import soxr
from joblib import Parallel, delayed

from soctk.errors import SoctkError, listing
from soctk.progress import track

# 50 ms. A covariance needs two frames; the slowest upstreams (frame shift 20 ms, window 25 ms) give two for 50 ms.
MIN_SECONDS = 0.05

# The line in libsndfile's log of a WAV file that is shorter than its header declares: the number of bytes in the
# header, then the number in the file.
_CUT_SHORT = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)
# A program that writes a WAV file to a pipe does not know its length; it writes this number or a larger one instead.
_UNKNOWN_LENGTH = 0x7FFFFF00
# Runs of _CLIPPED_RUN or more samples at full scale count as clipping. Full scale: one below the largest 16-bit value.
_FULL_SCALE = 32766 / 32768
_CLIPPED_RUN = 3


class Fault(StrEnum):
    """The kinds of faults that make a recording unusable."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    CUT_SHORT = "cut short"
    EMPTY = "empty"
    TOO_SHORT = f"shorter than {1000 * MIN_SECONDS:g} ms"
    NOT_FINITE = "NaN or infinite samples"


class UnusableRecording(ValueError):
    """A recording that cannot be used.

    Args:
        fault: the kind of fault.
        message: the fault with details, such as the duration.
    """

    def __init__(self, fault: Fault, message: str):
        super().__init__(fault, message)
        self.fault, self.message = fault, message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """The properties of one recording, from all of its decoded samples.

    Attributes:
        seconds: its duration.
        channels: the number of channels.
        sample_rate: in Hz.
        digest: SHA-256 of the decoded first channel; the same for the same samples in WAV and in FLAC.
        is_silent: whether all samples of the first channel are equal.
        clipped: the share of samples of the first channel that are clipped.
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
        sample_rate: the sample rate of the result, in Hz.
        speed: the playback speed, 1 for the original; it changes tempo and pitch together.

    Returns:
        float32 waveform `(samples,)`; full scale is 1.0.

    Raises:
        SoctkError: the file cannot be decoded, is cut short or shorter than MIN_SECONDS, or holds NaN or infinite
            samples.
    """
    try:
        samples, native_rate, _ = _decode(path)
    except UnusableRecording as error:
        raise SoctkError(str(error), remedy="Replace the file, or remove it from the corpus.", where=path) from error
    return soxr.resample(samples, native_rate * speed, sample_rate)


def check(recordings: Mapping[str, Path]) -> dict[str, AudioInfo]:
    """Decode every recording; one error lists all recordings that cannot be used.

    Args:
        recordings: utterance id -> path.

    Returns:
        utterance id -> AudioInfo, in the order given.

    Raises:
        SoctkError: recordings are missing, unreadable, cut short, empty or shorter than MIN_SECONDS, or hold NaN or
            infinite samples.
    """
    infos, faults = {}, []
    for utt, result in inspect(recordings).items():
        if isinstance(result, UnusableRecording):
            faults.append(f"{utt} {recordings[utt]}: {result}")
        else:
            infos[utt] = result
    if faults:
        raise SoctkError(
            f"{len(faults)} of {len(recordings)} recordings cannot be used\n{listing(faults, at_most=None)}",
            remedy="Replace these files, or remove them from the corpus, and run stage 0 again.",
        )
    return infos


def inspect(recordings: Mapping[str, Path]) -> dict[str, AudioInfo | UnusableRecording]:
    """Decode every recording, on all cores; return its properties, or the reason why it cannot be used."""
    # return_as="generator" dispatches a few jobs at a time; an executor would keep one object per recording (300,000)
    results = Parallel(-1, backend="threading", return_as="generator")(map(delayed(_inspect), recordings.values()))
    return dict(zip(recordings, track(results, "check audio", "file", len(recordings)), strict=True))


def _inspect(path: Path) -> AudioInfo | UnusableRecording:
    try:
        samples, sample_rate, channels = _decode(path)
    except UnusableRecording as error:
        return error
    return AudioInfo(
        seconds=len(samples) / sample_rate,
        channels=channels,
        sample_rate=sample_rate,
        digest=hashlib.sha256(np.ascontiguousarray(samples).data).hexdigest(),
        is_silent=bool((samples == samples[0]).all()),
        clipped=_measure_clipping(samples),
    )


def _measure_clipping(samples: np.ndarray) -> float:
    """Return the share of samples in runs of _CLIPPED_RUN or more at full scale."""
    at_full_scale = np.concatenate([[False], np.abs(samples) >= _FULL_SCALE, [False]])
    starts, ends = np.flatnonzero(np.diff(at_full_scale)).reshape(-1, 2).T
    lengths = ends - starts
    return float(lengths[lengths >= _CLIPPED_RUN].sum() / len(samples))


def _decode(path: Path) -> tuple[np.ndarray, int, int]:
    """Return the first channel `(samples,)`, the sample rate in Hz and the number of channels.

    Raises:
        UnusableRecording: for each of the reasons in Fault.
    """
    if not path.is_file():
        raise UnusableRecording(Fault.MISSING, "not a file" if path.exists() else "no such file")
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            samples, sample_rate, log = file.read(dtype="float32", always_2d=True), file.samplerate, file.extra_info
    except (soundfile.SoundFileError, OSError) as error:
        raise UnusableRecording(Fault.UNREADABLE, f"cannot be decoded ({error})") from error
    sizes = _CUT_SHORT.search(log)
    if sizes and int(sizes[2]) < int(sizes[1]) < _UNKNOWN_LENGTH:
        raise UnusableRecording(
            Fault.CUT_SHORT, f"cut short: it has {sizes[2]} of the {sizes[1]} bytes of samples that its header declares"
        )
    if len(samples) == 0:
        raise UnusableRecording(Fault.EMPTY, "empty: it has no samples")
    if len(samples) < MIN_SECONDS * sample_rate:
        milliseconds = 1000 * len(samples) / sample_rate
        raise UnusableRecording(
            Fault.TOO_SHORT, f"too short: {milliseconds:.1f} ms; at least {1000 * MIN_SECONDS:.0f} ms are needed"
        )
    if not np.isfinite(samples).all():
        raise UnusableRecording(Fault.NOT_FINITE, "NaN or infinite samples")
    return samples[:, 0], sample_rate, samples.shape[1]
