"""The recording conditions of an utterance: its level, noise floor, bandwidth, and the silence at its ends."""

from dataclasses import dataclass

import numpy as np

from soctk.corpus.level import rms

_FRAME_SECONDS = 0.02
_FLOOR_SHARE = 0.05  # the share of the frames that are at or below the noise floor
_SILENCE = 40  # dB below the loudest frame
_LOWEST = -120.0  # dB, stands for digital silence
# The spectrum is the mean over at most this many frames, which lie at equal distances in the recording.
_SPECTRUM_FRAMES = 64
_SPECTRUM_SECONDS = 0.032
_BAND_RANGE = 80  # dB below the strongest frequency


@dataclass(frozen=True, slots=True)
class Conditions:
    """The recording conditions of one utterance. Levels are in dB relative to full scale, at least -120.

    Attributes:
        level: the root mean square (RMS) of the samples.
        peak: the largest magnitude of a sample.
        floor: the noise floor: the RMS below which the quietest 5% of the frames of 20 ms lie.
        leading: the seconds before the first frame that is at most 40 dB quieter than the loudest one.
        trailing: the seconds after the last such frame.
        bandwidth: the highest frequency in Hz whose mean power is at most 80 dB below the strongest one. A low-pass
            filter, a codec or an earlier, lower sample rate limits it.
    """

    level: float
    peak: float
    floor: float
    leading: float
    trailing: float
    bandwidth: float


def measure(samples: np.ndarray, sample_rate: int) -> Conditions:
    """Return the recording conditions of a waveform.

    Args:
        samples: `(T,)` with at least one sample; full scale is 1.
        sample_rate: in Hz.
    """
    length = min(round(_FRAME_SECONDS * sample_rate), len(samples))
    frames = samples[: len(samples) // length * length].reshape(-1, length)
    power = np.einsum("ij,ij->i", frames, frames) / length
    levels = _decibels(power)
    sounding = np.flatnonzero(levels >= levels.max() - _SILENCE)
    return Conditions(
        level=float(_decibels(rms(samples) ** 2)),
        peak=float(_decibels(np.abs(samples).max() ** 2)),
        floor=float(np.quantile(levels, _FLOOR_SHARE)),
        leading=float(sounding[0] * length / sample_rate),
        trailing=float((len(levels) - 1 - sounding[-1]) * length / sample_rate),
        bandwidth=_measure_bandwidth(samples, sample_rate),
    )


def _measure_bandwidth(samples: np.ndarray, sample_rate: int) -> float:
    from scipy import fft, signal  # slow to import; most commands do not use it

    size = min(round(_SPECTRUM_SECONDS * sample_rate), len(samples))
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    chosen = np.linspace(0, len(frames) - 1, min(len(frames), _SPECTRUM_FRAMES)).astype(int)
    window = signal.windows.blackmanharris(size).astype(
        frames.dtype
    )  # its side lobes are below -90 dB; those of a Hann window are above -80 dB
    spectrum = fft.rfft(frames[chosen] * window)
    power = (spectrum.real**2 + spectrum.imag**2).mean(axis=0)
    highest = np.flatnonzero(power >= power.max() * 10 ** (-_BAND_RANGE / 10))[-1]
    return float(highest * sample_rate / size)


def _decibels(power: np.ndarray | float) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, 10 ** (_LOWEST / 10)))
