"""The waveforms of utterances and their copies, as an encoder gets them: read, resampled, degraded and scaled."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from soctk.corpus import audio, level
from soctk.corpus.segments import Clip
from soctk.features.augmentation import augment
from soctk.features.copies import Copy
from soctk.schema import Normalisation


@dataclass(frozen=True, slots=True)
class Utterance:
    """An utterance, or a copy of it.

    Attributes:
        name: the id of the utterance.
        copy: the form of the utterance.
        clip: the place of its sound: a recording, or a part of one.
        digest: the digest of its samples, and of the voices.
        seconds: the duration of the copy.
        voices: the sounds of babble (soctk.features.babble).
    """

    name: str
    copy: Copy
    clip: Clip
    digest: str
    seconds: float
    voices: tuple[Clip, ...] = ()

    @property
    def id(self) -> str:
        """Its id in the store."""
        return self.copy.of(self.name)


def with_voices(
    utterance: Utterance, voices: Sequence[str], clips: Mapping[str, Clip], digests: Mapping[str, str]
) -> Utterance:
    """Return a copy with babble that consists of other utterances, whose digests become part of its digest."""
    digest = hashlib.sha256(" ".join([utterance.digest, *(digests[voice] for voice in voices)]).encode()).hexdigest()
    return replace(utterance, digest=digest, voices=tuple(clips[voice] for voice in voices))


def load(
    utterances: Sequence[Utterance], sample_rate: int, channel: str, normalise: Normalisation, threads: int
) -> Iterator[np.ndarray]:
    """Yield the waveforms `(samples,)` in order; several threads prepare the next ones in advance.

    Each recording is read once, for all of its utterances; waveforms that come later in the order are kept until then.

    Args:
        utterances: utterances and copies.
        sample_rate: of the waveforms, in Hz.
        channel: 1, 2, ..., or mix for the mean of all channels.
        normalise: `level` to scale all waveforms to one level, or `none`.
        threads: their number.
    """
    groups: dict[Path, list[Utterance]] = {}
    for utterance in utterances:
        groups.setdefault(utterance.clip.path, []).append(utterance)
    jobs = (delayed(_load_group)(group, sample_rate, channel, normalise) for group in groups.values())
    loaded = zip(groups.values(), Parallel(threads, backend="threading", return_as="generator")(jobs), strict=True)
    waiting: dict[str, np.ndarray] = {}
    for utterance in utterances:
        while utterance.id not in waiting:
            group, waveforms = next(loaded)
            waiting |= {each.id: waveform for each, waveform in zip(group, waveforms, strict=True)}
        yield waiting.pop(utterance.id)


def _load_group(
    group: Sequence[Utterance], sample_rate: int, channel: str, normalise: Normalisation
) -> list[np.ndarray]:
    """Return the waveforms of utterances whose sound is in one file."""
    waveforms = audio.load_each([(each.clip, each.copy.speed) for each in group], sample_rate, channel)
    for i, utterance in enumerate(group):
        if utterance.copy.augmentation:
            voices = [audio.load(voice, sample_rate, channel=channel) for voice in utterance.voices]
            waveforms[i] = augment(waveforms[i], sample_rate, utterance.copy.augmentation, utterance.name, voices)
    return [level.normalise(waveform, normalise) for waveform in waveforms]
