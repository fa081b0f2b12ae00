"""Input of a recogniser: a recording or a waveform, checked and in the form that encoders take."""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch

from soctk.corpus import audio

# A larger sample is no sound with full scale 1, but integers that were converted to floats.
_LARGEST = 100.0


def read(recording: Any, sample_rate: int | None, channel: str) -> tuple[np.ndarray, int]:
    """Return the samples `(samples,)` of a recording in float32 (full scale 1) and their rate in Hz.

    Args:
        recording: the path of a file; or a waveform `(samples,)` or `(channels, samples)`, numpy or torch, in floating
            point with full scale 1, or signed integers.
        sample_rate: of a waveform, in Hz; None for a file.
        channel: 1, 2, ..., or mix for the mean of all channels.

    Raises:
        SoctkError: the file cannot be used (soctk.corpus.audio.load).
        ValueError: the waveform has another shape, another type, no rate, NaN or infinite samples, or is too short.
    """
    if isinstance(recording, str | PathLike):
        if sample_rate is not None:
            raise ValueError("sample_rate is for waveforms only; the rate of a file is in the file")
        return audio.load_native(Path(recording), channel)
    if sample_rate is None:
        raise ValueError("a waveform needs its rate: model(waveform, sample_rate)")
    if sample_rate <= 0:
        raise ValueError(f"sample_rate is {sample_rate}; give Hz, such as 16000")
    samples = _as_float(recording)
    if samples.ndim == 1:
        samples = samples[None]
    if samples.ndim != 2:
        raise ValueError(f"a waveform has the shape (samples,) or (channels, samples), not {samples.shape}")
    if samples.shape[0] > samples.shape[1] > 0:
        raise ValueError(
            f"the shape {samples.shape} looks like (samples, channels); give (channels, samples): waveform.T"
        )
    chosen = audio.choose_channel(samples.T, channel)
    if len(chosen) < audio.MIN_SECONDS * sample_rate:
        milliseconds = 1000 * len(chosen) / sample_rate
        raise ValueError(
            f"the waveform has {milliseconds:.1f} ms; at least {1000 * audio.MIN_SECONDS:.0f} ms are needed"
        )
    if not np.isfinite(chosen).all():
        raise ValueError("the waveform has NaN or infinite samples")
    if np.abs(chosen).max() > _LARGEST:
        raise ValueError("the waveform has samples above 100; divide integers by their full scale, such as 32768")
    return chosen, sample_rate


def resample(samples: np.ndarray, rate: float, to: int, speed: float = 1) -> np.ndarray:
    """Return the waveform at the rate `to`, played at a speed (soctk.corpus.audio.load)."""
    return soxr.resample(samples, rate * speed, to)


def _as_float(waveform: Any) -> np.ndarray:
    if isinstance(waveform, torch.Tensor):
        waveform = waveform.detach().cpu().numpy()
    samples = np.asarray(waveform)
    if samples.dtype.kind == "i" and samples.dtype.itemsize > 1:
        return samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    if samples.dtype.kind != "f":
        raise ValueError(f"a waveform has floating point numbers or signed integers, not {samples.dtype}")
    return samples.astype(np.float32)
