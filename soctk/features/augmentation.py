"""Augmentation: degraded copies of recordings for training, each with random parameters.

A copy depends on nothing but the recording, the id of the utterance, the augmentation and SEED: not on the order of the
utterances, nor on other recordings. Babble is therefore made of the recording itself, so that no speaker's voice enters
the training data of another fold.
"""

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
import soxr

from soctk.corpus import degradations
from soctk.schema import Augmentation

SEED = 1  # recorded in feature stores; a change makes other copies

SNR = (5, 20)  # dB
_VOICES = 6  # in babble
_VOICE_SPEEDS = (0.8, 1.25)
_T60 = (0.2, 0.8)  # s
_SEMITONES = (-2, 2)
_GAIN = (-12, 12)  # dB
_KBPS = (16, 24, 32, 48, 64)  # kbit/s


def augment(waveform: np.ndarray, rate: int, name: Augmentation, utterance: str) -> np.ndarray:
    """Return a degraded copy of a waveform, float32 `(T,)`, of the same length.

    Args:
        waveform: the recording `(T,)`, float32, full scale 1.0.
        rate: its sample rate in Hz.
        name: noise (white, pink or babble, at 5 to 20 dB), reverb (0.2 to 0.8 s), pitch (up to 2 semitones), gain (up
            to 12 dB), or codec (telephone, or MP3 at 16 to 64 kbit/s).
        utterance: the id of the utterance, which determines the parameters.
    """
    digest = hashlib.sha256(f"{SEED}\t{name}\t{utterance}".encode()).digest()
    return _DEGRADATIONS[name](waveform, rate, np.random.default_rng(np.frombuffer(digest, np.uint32)))


def _noise(waveform: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Add white noise, pink noise or babble."""
    kind = (degradations.white, degradations.pink, None)[rng.integers(3)]
    noise = _babble(waveform, rate, rng) if kind is None else kind(len(waveform), rng)
    return degradations.add_noise(waveform, noise, rng.uniform(*SNR))


def _babble(waveform: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return the sum of voices: the recording backwards, each time at another speed and from another moment on."""
    babble = np.zeros_like(waveform)
    for _ in range(_VOICES):
        voice = soxr.resample(waveform[::-1], rate * rng.uniform(*_VOICE_SPEEDS), rate)
        babble += np.resize(np.roll(voice, rng.integers(len(voice))), len(waveform))
    return babble


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
