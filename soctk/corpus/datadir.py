"""Kaldi data directories: sorted text files with an id and its value on each line."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soctk.corpus.kaldi_files import (
    find_undecoded,
    find_unfit_names,
    find_unfit_values,
    find_unfit_words,
    read_lines,
    read_table,
    split_words,
    write_lines,
    write_table,
)
from soctk.errors import SoctkError, listing, plural
from soctk.progress import track

# The columns of predictions.tsv before those of the emotions.
PREDICTION_COLUMNS = ("utt", "spk", "ref", "hyp")

REMEDY = "Run the recipe's stage 0 again, or correct the files named here."


@dataclass(frozen=True)
class DataDir:
    """A corpus in the form of a Kaldi data directory; every mapping has the order of its file, sorted by key.

    Attributes:
        wav: utterance -> recording (`wav.scp`).
        speaker: utterance -> speaker (`utt2spk`); the utterance id begins with the speaker id.
        emotion: utterance -> emotion (`utt2emo`).
        seconds: utterance -> duration in seconds (`utt2dur`).
        gender: speaker -> m or f (`spk2gender`); lacks speakers of unknown sex. If it is empty, there is no file.
        fold: speaker -> the fold, from 1, that tests the speaker (`spk2fold`).
        emotions: the classes in the order of their indices (`emotions`).
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
    extra: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    channel: str = "1"
    duplicates: frozenset[frozenset[str]] = frozenset()
    path: Path | None = field(default=None, compare=False)

    @property
    def utterances(self) -> list[str]:
        """The utterance ids, sorted."""
        return list(self.wav)

    @property
    def folds(self) -> list[int]:
        """The fold numbers, sorted."""
        return sorted(set(self.fold.values()))

    def utterances_of(self, folds: Iterable[int]) -> list[str]:
        """Return the test utterances of some folds, sorted."""
        wanted = set(folds)
        return [utt for utt, speaker in self.speaker.items() if self.fold[speaker] in wanted]

    def checksum(self) -> str:
        """Return a checksum of the labels, speakers and folds; it does not depend on the paths of the recordings."""
        rows = [self.emotions, self.fold.items(), self.speaker.items(), self.emotion.items()]
        return hashlib.sha256(repr([list(row) for row in rows]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Table:
    """A file of a data directory: the attribute of DataDir that it holds, and the type of its values."""

    attribute: str
    parse: Callable[[str], Any]
    type_name: str
    is_optional: bool = False


_TABLES = {
    "wav.scp": _Table("wav", Path, "a path"),
    "utt2spk": _Table("speaker", str, "a word"),
    "utt2emo": _Table("emotion", str, "a word"),
    "utt2dur": _Table("seconds", float, "a number of seconds"),
    "spk2gender": _Table("gender", str, "a word", is_optional=True),
    "spk2fold": _Table("fold", int, "a whole number"),
}
_EXTRA = _Table("extra", str, "a word")
# Properties that are read from other files; a file utt2X with one of these names would contradict them.
_RESERVED = {"speaker": "utt2spk", "fold": "spk2fold", "sex": "spk2gender", "duration": "utt2dur"}

# Optional files beside the tables.
_CHANNEL = "channel"
_DUPLICATES = "duplicates"
_SEGMENTS = "segments"


def read(path: Path, recordings: bool = True) -> DataDir:
    """Read and validate a data directory.

    Args:
        path: the directory.
        recordings: whether to check that the recordings exist; scoring does not need them.

    Raises:
        SoctkError: the directory has faults; one message lists all. Faults are files that are missing, malformed or
            unsorted or have other utterances, ids and classes that are not one word in UTF-8, names that look alike,
            unknown emotions, speakers without fold, and missing recordings. Kaldi's `segments` are refused.
    """
    _refuse_segments(path)
    required = [*(name for name, table in _TABLES.items() if not table.is_optional), "emotions"]
    missing = [name for name in required if not (path / name).is_file()]
    if missing:
        raise SoctkError(f"not a data directory: it has no {', '.join(missing)}", remedy=REMEDY, where=path)
    problems: list[str] = []
    columns = {
        table.attribute: _read_table(path / name, table, problems) if (path / name).is_file() else {}
        for name, table in _TABLES.items()
    }
    emotions = tuple(word for line in read_lines(path / "emotions") for word in split_words(line))
    extra_files = sorted(file for file in path.glob("utt2*") if file.name not in _TABLES and file.is_file())
    extra = {file.name.removeprefix("utt2"): _read_table(file, _EXTRA, problems) for file in extra_files}
    data = DataDir(
        **columns,
        emotions=emotions,
        extra=extra,
        channel=_read_channel(path / _CHANNEL),
        duplicates=frozenset(read_duplicates(path / _DUPLICATES)) if (path / _DUPLICATES).is_file() else frozenset(),
        path=path,
    )
    problems += _find_inconsistencies(data)
    if recordings:
        problems += _find_missing_recordings(data)
    _raise_if_any(problems, path)
    return data


def write(path: Path, data: DataDir) -> None:
    """Validate a corpus and write it as a data directory; each file is sorted (C locale) and written atomically.

    Existing files utt2X whose property `data` lacks are kept if they have the same utterances.

    Raises:
        SoctkError: the corpus is invalid (see `read`), or an existing file utt2X has other utterances. Then nothing is
            written.
    """
    check_channel(data.channel, path)
    _raise_if_any([*_find_inconsistencies(data), *_find_missing_recordings(data)], path)
    _refuse_segments(path)
    _check_kept_files(path, data)
    for name, table in _TABLES.items():
        values = getattr(data, table.attribute)
        if values or not table.is_optional:
            write_table(path / name, values)
        else:
            (path / name).unlink(missing_ok=True)
    for name, values in data.extra.items():
        write_table(path / f"utt2{name}", values)
    write_lines(path / "emotions", data.emotions)
    _write_optional(path / _CHANNEL, [data.channel] if data.channel != "1" else [])
    _write_optional(path / _DUPLICATES, sorted(" ".join(sorted(group)) for group in data.duplicates))
    read(path, recordings=False)


def write_kaldi(path: Path, data: DataDir) -> None:
    """Write a data directory for Kaldi's own scripts: with spk2utt, but without spk2fold and emotions.

    Raises:
        SoctkError: the sorted utterances are not in the order of their speakers, as Kaldi's scripts require.
    """
    if sorted(data.speaker) != sorted(data.speaker, key=lambda utt: (data.speaker[utt], utt)):
        raise SoctkError(
            "the sorted utterances are not in the order of their speakers, as Kaldi requires",
            remedy="Begin each utterance id with its speaker and '-', as soctk-import does.",
            where=path,
        )
    for name, table in _TABLES.items():
        values = getattr(data, table.attribute)
        if name != "spk2fold" and values:
            write_table(path / name, values)
    utterances: dict[str, list[str]] = {}
    for utt in sorted(data.speaker):
        utterances.setdefault(data.speaker[utt], []).append(utt)
    write_lines(path / "spk2utt", [" ".join([speaker, *utts]) for speaker, utts in utterances.items()])


def summary(data: DataDir) -> str:
    """Return the corpus in one line: utterances, hours, speakers, folds and the count of each emotion."""
    counts = Counter(data.emotion.values())
    classes = ", ".join(f"{emotion} {counts[emotion]}" for emotion in data.emotions)
    return (
        f"{plural(len(data.wav), 'utterance')}, {sum(data.seconds.values()) / 3600:.2f} h, "
        f"{plural(len(data.fold), 'speaker')}, {plural(len(data.folds), 'fold')}; {classes}"
    )


def read_duplicates(path: Path) -> list[frozenset[str]]:
    """Return the groups of utterances in a file `duplicates`: two or more ids on each line.

    Raises:
        SoctkError: a line has fewer than two ids, or an id occurs twice.
    """
    groups = [frozenset(split_words(line)) for line in read_lines(path) if line]
    problems = [f"'{' '.join(group)}' is one utterance" for group in groups if len(group) < 2]
    counts = Counter(utt for group in groups for utt in group)
    problems += [f"{utt} is in {count} groups" for utt, count in counts.items() if count > 1]
    if problems:
        raise SoctkError(
            f"not a list of duplicates\n{listing(problems)}",
            remedy="Write all utterances with the same recording on one line, with a space between them.",
            where=path,
        )
    return groups


def check_channel(channel: str, where: Path | str) -> str:
    """Return the channel if it is a number from 1 or "mix".

    Raises:
        SoctkError: it is something else.
    """
    if channel != "mix" and not re.fullmatch(r"[1-9][0-9]{0,3}", channel):
        raise SoctkError(
            f"unknown channel '{channel}'", remedy="Write 1, 2, ... or mix, the mean of all channels.", where=where
        )
    return channel


def _read_channel(path: Path) -> str:
    return check_channel(" ".join(read_lines(path)), path) if path.is_file() else "1"


def _refuse_segments(path: Path) -> None:
    if (path / _SEGMENTS).exists():
        raise SoctkError(
            "Kaldi's segments divide recordings into utterances, but soctk reads one whole file for each utterance",
            remedy="Cut the segments into files of their own (such as with Kaldi's extract-segments), list these in "
            "wav.scp, and remove this file.",
            where=path / _SEGMENTS,
        )


def _check_kept_files(path: Path, data: DataDir) -> None:
    """Check that files utt2X that `write` would keep have the utterances of the corpus."""
    written = {*_TABLES, *(f"utt2{name}" for name in data.extra)}
    kept = [file for file in sorted(path.glob("utt2*")) if file.name not in written]
    stale = [file.name for file in kept if _read_table(file, _EXTRA, []).keys() != data.wav.keys()]
    if stale:
        raise SoctkError(
            f"these existing files have other utterances than the new corpus: {', '.join(stale)}",
            remedy="Remove these files, or choose another directory.",
            where=path,
        )


def _raise_if_any(problems: Collection[str], path: Path) -> None:
    """Raise an error that lists the problems of each file, but not more than 20."""
    by_file: dict[str, list[str]] = {}
    for problem in problems:
        by_file.setdefault(re.split("[ :]", problem)[0], []).append(problem)
    if problems:
        lines = "\n".join(map(listing, by_file.values()))
        raise SoctkError(f"not a valid data directory\n{lines}", remedy=REMEDY, where=path)


def _write_optional(path: Path, lines: Collection[str]) -> None:
    """Write a file of a data directory; without lines, remove it."""
    if lines:
        write_lines(path, lines)
    else:
        path.unlink(missing_ok=True)


def _read_table(path: Path, table: _Table, problems: list[str]) -> dict[str, Any]:
    return read_table(path, table.parse, table.type_name, problems)


def _find_inconsistencies(data: DataDir) -> Iterable[str]:
    """Yield a line for each contradiction between files, and for each invalid value."""
    for attribute, file in (("speaker", "utt2spk"), ("emotion", "utt2emo"), ("seconds", "utt2dur")):
        yield from _compare_keys("wav.scp", data.wav, file, getattr(data, attribute))
    for name, texts in data.extra.items():
        if name in _RESERVED:
            yield f"utt2{name}: the {name} is in {_RESERVED[name]} already; rename this file"
        if f"utt2{name}" in _TABLES:
            yield f"utt2{name}: this file has another meaning, so a property cannot be called {name}; rename it"
        yield from _compare_keys("wav.scp", data.wav, f"utt2{name}", texts)
        yield from find_undecoded(f"utt2{name}", texts.values())
        yield from find_unfit_values(f"utt2{name}", texts)
    yield from find_unfit_words("wav.scp", data.wav)
    yield from find_unfit_values("wav.scp", data.wav)
    yield from find_unfit_names("utt2spk", data.speaker.values())
    yield from find_unfit_names("emotions", data.emotions)
    speakers = dict.fromkeys(data.speaker.values())
    yield from _compare_keys("utt2spk", speakers, "spk2fold", data.fold)
    strangers = [name for name in data.gender if name not in speakers]
    if strangers:
        yield f"utt2spk: {plural(len(strangers), 'id')} of spk2gender missing, such as {strangers[0]}"
    for utt, speaker in data.speaker.items():
        if not utt.startswith(speaker):
            yield f"utt2spk: {utt} does not begin with its speaker {speaker}"
    for utt, emotion in data.emotion.items():
        if emotion not in data.emotions:
            yield f"utt2emo: {utt} has the emotion {emotion}, which is not in the file emotions"
    for utt, seconds in data.seconds.items():
        if not 0 < seconds < math.inf:
            yield f"utt2dur: {utt} has the duration {seconds} s"
    for speaker, gender in data.gender.items():
        if gender not in ("m", "f"):
            yield f"spk2gender: {speaker} is '{gender}', neither m nor f"
    if data.folds != list(range(1, len(data.folds) + 1)):
        yield f"spk2fold: the folds are {data.folds}, not 1, 2, ..."
    for utt in sorted(set().union(*data.duplicates).difference(data.wav)):
        yield f"duplicates: {utt} is not in wav.scp"
    for emotion in set(PREDICTION_COLUMNS).intersection(data.emotions):
        yield f"emotions: {emotion} is the name of a column of predictions.tsv; choose another name"
    for emotion, count in Counter(data.emotions).items():
        if count > 1:
            yield f"emotions: {emotion} is listed {count} times"


def _compare_keys(file: str, keys: Mapping, other_file: str, other_keys: Mapping) -> Iterable[str]:
    """Compare the ids in two files; yield a line for each file that lacks ids of the other file."""
    for one, one_keys, two, two_keys in ((file, keys, other_file, other_keys), (other_file, other_keys, file, keys)):
        lacking = [key for key in one_keys if key not in two_keys]
        if lacking:
            yield f"{two}: {plural(len(lacking), 'id')} of {one} missing, such as {lacking[0]}"


def _find_missing_recordings(data: DataDir) -> Iterable[str]:
    for utt, path in track(data.wav.items(), "check paths", "file"):
        if str(path).endswith("|"):
            yield f"wav.scp: {utt} is a command, and soctk runs no commands; write the recordings to files"
        elif not path.is_file():
            yield f"wav.scp: the recording of {utt} is missing: {path}"
