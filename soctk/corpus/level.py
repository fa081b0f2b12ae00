"""The level of a waveform: the root mean square (RMS) of its samples."""

import numpy as np


def rms(waveform: np.ndarray) -> float:
    """Return the root mean square of all samples, pauses included; full scale is 1.0."""
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) if len(waveform) else 0.0


def at_level(waveform: np.ndarray, target: float) -> np.ndarray:
    """Scale a float32 waveform to the root mean square `target`; digital silence stays as it is. Nothing is clipped."""
    return (waveform * (target / (rms(waveform) or 1))).astype(np.float32)
