"""The content of a data directory: a corpus as mappings, and the file that holds each of them."""

import hashlib
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from soctk.corpus.annotations import format_distribution, parse_distribution, parse_value
from soctk.corpus.segments import Clip, Segment
from soctk.schema import DIMENSIONS

Value = TypeVar("Value")

# The parts of a published partition that are no test; every other part is a test.
TRAIN, DEV = "train", "dev"


@dataclass(frozen=True)
class DataDir:
    """A corpus in the form of a Kaldi data directory; every mapping has the order of its file, sorted by key.

    Exactly one of `fold`, `utterance_fold` and `split` is not empty.

    Attributes:
        wav: recording -> path (`wav.scp`). Without segments, a recording has the id of its utterance.
        speaker: utterance -> speaker (`utt2spk`); the utterance id begins with the speaker id. In a corpus without
            `fold`, the speaker is unknown if it is the utterance id itself, as in Kaldi.
        emotion: utterance -> emotion (`utt2emo`); empty in a corpus with dimensions alone.
        seconds: utterance -> duration in seconds (`utt2dur`).
        gender: speaker -> m or f (`spk2gender`); lacks speakers of unknown sex. If it is empty, there is no file.
        fold: speaker -> the fold, from 1, that tests the speaker (`spk2fold`).
        emotions: the classes in the order of their indices (`emotions`).
        dimensions: arousal, valence or dominance -> utterance -> value (`utt2arousal` and so on).
        distribution: utterance -> the probability of each class according to its annotators, in the order of `emotions`
            (`utt2dist`). If it is empty, there is no file.
        segments: utterance -> the part of a recording that is the utterance (`segments`). If it is empty, each
            utterance is a whole recording.
        split: utterance -> its part of a published partition: train, dev, or the name of a test (`utt2split`).
        utterance_fold: utterance -> the fold, from 1, that tests the utterance (`utt2fold`): published folds that share
            speakers.
        extra: further properties X of utterances: X -> utterance -> value (a file `utt2X` for each X).
        channel: the channel of the recordings that is used: 1, 2, ..., or mix, the mean of all (`channel`; without this
            file 1).
        duplicates: groups of utterances that are known to have the same recording, from a publication (`duplicates`, a
            group on each line). They are no error where train, valid and test are compared.
        path: the directory from which the corpus was read.
    """

    wav: Mapping[str, Path]
    speaker: Mapping[str, str]
    emotion: Mapping[str, str]
    seconds: Mapping[str, float]
    gender: Mapping[str, str]
    fold: Mapping[str, int]
    emotions: tuple[str, ...]
    dimensions: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    distribution: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    segments: Mapping[str, Segment] = field(default_factory=dict)
    split: Mapping[str, str] = field(default_factory=dict)
    utterance_fold: Mapping[str, int] = field(default_factory=dict)
    extra: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    channel: str = "1"
    duplicates: frozenset[frozenset[str]] = frozenset()
    path: Path | None = field(default=None, compare=False)

    @property
    def utterances(self) -> list[str]:
        """The utterance ids, sorted."""
        return list(self.speaker)

    @property
    def folds(self) -> list[int]:
        """The fold numbers, sorted; a published partition is fold 1."""
        return [1] if self.split else sorted({*self.fold.values(), *self.utterance_fold.values()})

    @property
    def tests(self) -> list[str]:
        """The names of the tests of a published partition, sorted; empty without one."""
        return sorted(set(self.split.values()) - {TRAIN, DEV})

    @cached_property
    def unknown(self) -> frozenset[str]:
        """The utterances of unknown speakers."""
        return frozenset() if self.fold else frozenset(utt for utt, name in self.speaker.items() if utt == name)

    def clip(self, utt: str) -> Clip:
        """Return the place of the sound of an utterance."""
        if not self.segments:
            return Clip(self.wav[utt])
        segment = self.segments[utt]
        return Clip(self.wav[segment.recording], segment.start, segment.end)

    @property
    def clips(self) -> dict[str, Clip]:
        """Utterance -> the place of its sound, in the order of the utterances."""
        return {utt: self.clip(utt) for utt in self.speaker}

    @property
    def strata(self) -> Mapping[str, str]:
        """Utterance -> its emotion, which divisions of the speakers balance; empty in a corpus without emotions."""
        return self.emotion or dict.fromkeys(self.speaker, "")

    def fold_of(self, utt: str) -> int | None:
        """Return the fold that tests an utterance; None for the training and validation data of a partition."""
        if self.split:
            return None if self.split[utt] in (TRAIN, DEV) else 1
        return self.utterance_fold[utt] if self.utterance_fold else self.fold[self.speaker[utt]]

    def utterances_of(self, folds: Iterable[int]) -> list[str]:
        """Return the test utterances of some folds, sorted."""
        wanted = set(folds)
        return [utt for utt in self.speaker if self.fold_of(utt) in wanted]

    def part(self, name: str) -> list[str]:
        """Return the utterances of a part of the published partition, sorted."""
        return [utt for utt, part in self.split.items() if part == name]

    def only(self, utterances: Container[str]) -> "DataDir":
        """Return the corpus with some of its utterances, and with their speakers and recordings only."""

        def kept(table: Mapping[str, Value]) -> dict[str, Value]:
            return {utt: value for utt, value in table.items() if utt in utterances}

        speaker, segments = kept(self.speaker), kept(self.segments)
        names, recordings = set(speaker.values()), {segment.recording for segment in segments.values()} or set(speaker)
        return replace(
            self,
            wav={name: path for name, path in self.wav.items() if name in recordings},
            speaker=speaker,
            emotion=kept(self.emotion),
            dimensions={name: kept(values) for name, values in self.dimensions.items()},
            distribution=kept(self.distribution),
            seconds=kept(self.seconds),
            gender={name: gender for name, gender in self.gender.items() if name in names},
            fold={name: fold for name, fold in self.fold.items() if name in names},
            segments=segments,
            split=kept(self.split),
            utterance_fold=kept(self.utterance_fold),
            extra={name: kept(values) for name, values in self.extra.items()},
            duplicates=frozenset(filter(None, (frozenset(filter(speaker.get, group)) for group in self.duplicates))),
        )

    def checksum(self) -> str:
        """Return a checksum of the labels, speakers and folds; it does not depend on the paths of the recordings."""
        rows: list[Iterable[Any]] = [self.emotions, self.fold.items(), self.speaker.items(), self.emotion.items()]
        tables: list[Mapping[str, Any]] = [self.split, self.utterance_fold, self.distribution]
        tables += self.dimensions.values()
        rows += [table.items() for table in tables if table]
        return hashlib.sha256(repr([list(row) for row in rows]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Table:
    """A file of a data directory: the attribute of DataDir that it holds, and the type and the text of its values."""

    attribute: str
    parse: Callable[[str], Any]
    type_name: str
    is_optional: bool = False
    format: Callable[[Any], str] = str


def _parse_part(text: str) -> str:
    """Return the name of a part of a partition; `valid` is another name of dev.

    Raises:
        ValueError: the text is no such name.
    """
    if text not in (TRAIN, DEV, "valid") and not text.startswith("test"):
        raise ValueError
    return DEV if text == "valid" else text


TABLES = {
    "wav.scp": Table("wav", Path, "a path"),
    "segments": Table("segments", Segment.parse, "a recording, its start and its end in seconds", is_optional=True),
    "utt2spk": Table("speaker", str, "a word"),
    "utt2emo": Table("emotion", str, "a word", is_optional=True),
    "utt2dist": Table(
        "distribution", parse_distribution, "a probability of each emotion, with the sum 1", True, format_distribution
    ),
    "utt2dur": Table("seconds", float, "a number of seconds"),
    "spk2gender": Table("gender", str, "a word", is_optional=True),
    "spk2fold": Table("fold", int, "a whole number", is_optional=True),
    "utt2fold": Table("utterance_fold", int, "a whole number", is_optional=True),
    "utt2split": Table("split", _parse_part, "train, dev, or a test such as test or test1", is_optional=True),
}
# The file of each dimension; they are the values of the attribute `dimensions`.
DIMENSION_TABLES = {f"utt2{name}": Table(name, parse_value, "a number") for name in DIMENSIONS}
EXTRA = Table("extra", str, "a word")
# Each data directory has exactly one of these files. It assigns each utterance to training or to a test.
DIVISIONS = ("spk2fold", "utt2split", "utt2fold")
