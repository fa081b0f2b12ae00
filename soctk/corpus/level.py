"""The level of a waveform: the root mean square (RMS) of its samples."""

import numpy as np

from soctk.schema import Normalisation

# The level of `normalise` in dB relative to full scale, that of speech in ITU-T's tests of codecs. Peaks of speech are
# rarely more than 20 dB above its RMS, so most waveforms stay within full scale.
NORMAL_LEVEL = -26


def rms(waveform: np.ndarray) -> float:
    """Return the root mean square of all samples, pauses included; full scale is 1.0."""
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) if len(waveform) else 0.0


def at_level(waveform: np.ndarray, target: float) -> np.ndarray:
    """Scale a float32 waveform to the root mean square `target`; digital silence stays as it is. Nothing is clipped."""
    return (waveform * (target / (rms(waveform) or 1))).astype(np.float32)


def normalise(waveform: np.ndarray, setting: Normalisation) -> np.ndarray:
    """Scale a float32 waveform to NORMAL_LEVEL, over all samples, if the setting is `level`; with `none`, return it."""
    return at_level(waveform, 10 ** (NORMAL_LEVEL / 20)) if setting == "level" else waveform
