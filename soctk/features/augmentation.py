"""Augmentation: degraded copies of recordings for training, each with random parameters.

A copy depends on the recording, the id of the utterance, the augmentation and SEED; babble also on other recordings of
the same speaker (soctk.features.babble). The order of the utterances has no influence.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from soctk.corpus import degradations
from soctk.features.babble import generator
from soctk.schema import Augmentation

SEED = 1  # recorded in feature stores; a change makes other copies

SNR = (0, 15)  # dB
_T60 = (0.2, 0.8)  # s
_SEMITONES = (-2, 2)
_GAIN = (-12, 12)  # dB
_KBPS = (16, 24, 32, 48, 64)  # kbit/s


def augment(
    waveform: np.ndarray, rate: int, name: Augmentation, utterance: str, voices: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """Return a degraded copy of a waveform, float32 `(T,)`, of the same length.

    Args:
        waveform: the recording `(T,)`, float32, full scale 1.0.
        rate: its sample rate in Hz.
        name: noise (white or pink, at 0 to 15 dB), babble (voices, at 0 to 15 dB), reverb (0.2 to 0.8 s), pitch (up to
            2 semitones), gain (up to 12 dB), or codec (telephone, or MP3 at 16 to 64 kbit/s).
        utterance: the id of the utterance, which determines the parameters.
        voices: the waveforms of babble, at the same rate.
    """
    rng = generator(SEED, name, utterance)
    if name == "babble":
        noise = degradations.babble(voices, len(waveform), rng)
        return degradations.add_noise(waveform, noise, rng.uniform(*SNR))
    return _DEGRADATIONS[name](waveform, rate, rng)


def _noise(waveform: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Add white or pink noise."""
    noise = (degradations.white, degradations.pink)[rng.integers(2)](len(waveform), rng)
    return degradations.add_noise(waveform, noise, rng.uniform(*SNR))


def _reverb(waveform: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    return degradations.reverberate(waveform, rate, rng.uniform(*_T60), rng)


def _pitch(waveform: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    return degradations.pitch(waveform, rate, rng.uniform(*_SEMITONES))


def _gain(waveform: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    return degradations.gain(waveform, rng.uniform(*_GAIN))


def _codec(waveform: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return the sound of a telephone line, or of an MP3 file."""
    if rng.integers(2):
        return degradations.telephone(waveform, rate)
    return degradations.mp3(waveform, rate, rng.choice(_KBPS))


_DEGRADATIONS: Mapping[Augmentation, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "noise": _noise,
    "reverb": _reverb,
    "pitch": _pitch,
    "gain": _gain,
    "codec": _codec,
}
