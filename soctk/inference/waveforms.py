"""Input of a recogniser: a recording or a waveform, checked and in the form that encoders take."""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from soctk.corpus import audio
from soctk.corpus.decoding import MAX_CHANNELS, RATES
from soctk.corpus.segments import Clip

# A larger sample is no sound with full scale 1, but integers that were converted to floats.
_LARGEST = 100.0


def read(recording: Any, sample_rate: int | None, channel: str) -> tuple[np.ndarray, int]:
    """Return the samples `(samples,)` of a recording in float32 (full scale 1) and their rate in Hz.

    Args:
        recording: the path of a file, or a part of a file (soctk.corpus.segments.Clip); or a waveform `(samples,)` or
            `(channels, samples)`, numpy or torch, in floating point with full scale 1, or signed integers.
        sample_rate: of a waveform, in Hz; None for a file.
        channel: 1, 2, ..., or mix for the mean of all channels.

    Raises:
        SoctkError: the file cannot be used (soctk.corpus.audio.load).
        ValueError: the waveform has another shape, another type, no rate, NaN or infinite samples, or is too short.
    """
    if is_file(recording, sample_rate):
        return audio.load_native(as_clip(recording), channel)
    rate = check_rate(sample_rate)
    samples = check(recording, channel)
    require_length(len(samples), rate)
    return samples, rate


def is_file(recording: Any, sample_rate: int | None) -> bool:
    """Return whether a recording is given as a file, or a part of one.

    Raises:
        ValueError: there is a path and a sample rate.
    """
    if not isinstance(recording, str | PathLike | Clip):
        return False
    if sample_rate is not None:
        raise ValueError("sample_rate is for waveforms only; the rate of a file is in the file")
    return True


def as_clip(recording: Any) -> Clip:
    """Return the file of a recording for which `is_file` is true, or the part of a file."""
    return recording if isinstance(recording, Clip) else Clip(Path(recording))


def check_rate(sample_rate: int | None) -> int:
    """Return the sample rate of a waveform, in Hz.

    Raises:
        ValueError: it is missing, or no sample rate of sound.
    """
    if sample_rate is None:
        raise ValueError("a waveform needs its rate: model(waveform, sample_rate)")
    if not RATES.start <= sample_rate < RATES.stop:
        raise ValueError(f"sample_rate is {sample_rate}; give Hz, such as 16000")
    return sample_rate


def check(waveform: Any, channel: str) -> np.ndarray:
    """Return one channel `(samples,)` of a waveform of any length; see `read`."""
    samples = _as_float(waveform)
    if samples.ndim == 1:
        samples = samples[None]
    if samples.ndim != 2:
        raise ValueError(f"a waveform has the shape (samples,) or (channels, samples), not {samples.shape}")
    if samples.shape[0] > MAX_CHANNELS:
        raise ValueError(
            f"the shape {samples.shape} looks like (samples, channels); give (channels, samples): waveform.T"
        )
    chosen = audio.choose_channel(samples.T, channel)
    if not np.isfinite(chosen).all():
        raise ValueError("the waveform has NaN or infinite samples")
    if np.abs(chosen).max(initial=0) > _LARGEST:
        raise ValueError("the waveform has samples above 100; divide integers by their full scale, such as 32768")
    return chosen


def require_length(samples: int, rate: int) -> None:
    """Raise ValueError if a waveform with this number of samples is too short."""
    if samples < audio.MIN_SECONDS * rate:
        raise ValueError(
            f"the waveform has {1000 * samples / rate:.1f} ms; at least {1000 * audio.MIN_SECONDS:.0f} ms are needed"
        )


def resample(samples: np.ndarray, rate: float, to: int, speed: float = 1) -> np.ndarray:
    """Return the waveform at the rate `to`, played at a speed (soctk.corpus.audio.load)."""
    return soxr.resample(samples, rate * speed, to)


def _as_float(waveform: Any) -> np.ndarray:
    if hasattr(waveform, "detach"):  # a tensor of torch, which need not be installed
        waveform = (waveform.float() if waveform.is_floating_point() else waveform).detach().cpu().numpy()
    samples = np.asarray(waveform)
    if samples.dtype.kind == "i" and samples.dtype.itemsize > 1:
        return samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    if samples.dtype.kind != "f":
        raise ValueError(f"a waveform has floating point numbers or signed integers, not {samples.dtype}")
    return samples.astype(np.float32)
