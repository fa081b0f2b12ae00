"""Kaldi data directories: sorted two-column text files that say what is spoken where, by whom and how."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from soctk.errors import SoctkError, listing
from soctk.files import atomic

# File names are bytes to the system: those that are no UTF-8 survive being read and written.
_ENCODING = {"encoding": "utf-8", "errors": "surrogateescape"}
# What stands for a byte that is no UTF-8; only paths may have it, as reports and feature stores are UTF-8.
_UNDECODED = re.compile("[\ud800-\udfff]")

# The tables that a corpus may lack, all of it or not at all.
_OPTIONAL = ("spk2gender",)

# The columns of predictions.tsv before those of the emotions.
PREDICTION_COLUMNS = ("utt", "spk", "ref", "hyp")

# What is known of utterances and speakers without a file utt2X -> where it is from.
_KNOWN = {"speaker": "utt2spk", "fold": "spk2fold", "sex": "spk2gender", "duration": "utt2dur"}

REMEDY = "Run the recipe's stage 0 again, or mend the files named here."


@dataclass(frozen=True)
class DataDir:
    """A corpus as a Kaldi data directory holds it; every mapping is in the order of its file, sorted by key.

    Attributes:
        wav: utterance -> recording (`wav.scp`).
        speaker: utterance -> speaker (`utt2spk`); the utterance id begins with the speaker id.
        emotion: utterance -> emotion (`utt2emo`).
        seconds: utterance -> duration in seconds (`utt2dur`).
        gender: speaker -> m or f (`spk2gender`); empty, and without a file, where it is not known.
        fold: speaker -> the fold, from 1, in which the speaker is tested (`spk2fold`).
        emotions: the classes in the order of their indices (`emotions`).
        extra: what else is known of the utterances: X -> utterance -> value (a file `utt2X` each).
        path: the directory that it was read from.
    """

    wav: Mapping[str, Path]
    speaker: Mapping[str, str]
    emotion: Mapping[str, str]
    seconds: Mapping[str, float]
    gender: Mapping[str, str]
    fold: Mapping[str, int]
    emotions: tuple[str, ...]
    extra: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
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
        """Return the utterances, sorted, whose speakers are tested in one of the folds."""
        wanted = set(folds)
        return [utt for utt, speaker in self.speaker.items() if self.fold[speaker] in wanted]

    def checksum(self) -> str:
        """Return a checksum of the labels, speakers and folds (not of where the recordings lie)."""
        rows = [self.emotions, self.fold.items(), self.speaker.items(), self.emotion.items()]
        return hashlib.sha256(repr([list(row) for row in rows]).encode()).hexdigest()[:16]


# file name -> (attribute of DataDir, how its second column is read)
_TABLES = {
    "wav.scp": ("wav", Path),
    "utt2spk": ("speaker", str),
    "utt2emo": ("emotion", str),
    "utt2dur": ("seconds", float),
    "spk2gender": ("gender", str),
    "spk2fold": ("fold", int),
}


def write(path: Path, data: DataDir) -> None:
    """Write a data directory, each file sorted (C locale) and in one piece, and validate it.

    Files utt2X that are there and are not of `data` stay, as long as they are of the same utterances.

    Raises:
        SoctkError: an id or a class is no word (`check_words`), the corpus is not valid, as `read` tells, or a file
            utt2X that is there is of other utterances.
    """
    check_words([*data.wav, *data.speaker.values(), *data.emotion.values(), *data.emotions], path)
    _refuse([*_inconsistencies(data), *_absent(data)], path)  # before anything is overwritten
    _refuse_files_of_others(path, data)
    for file, (attribute, _) in _TABLES.items():
        rows = sorted(getattr(data, attribute).items())
        if rows or file not in _OPTIONAL:
            _write_lines(path / file, [f"{key} {value}" for key, value in rows])
        else:
            (path / file).unlink(missing_ok=True)
    for name, values in data.extra.items():
        _write_lines(path / f"utt2{name}", [f"{key} {value}" for key, value in sorted(values.items())])
    _write_lines(path / "emotions", data.emotions)
    read(path, recordings=False)


def read(path: Path, recordings: bool = True) -> DataDir:
    """Read and validate a data directory.

    Args:
        path: the directory.
        recordings: whether the recordings have to be there; scoring does without.

    Raises:
        SoctkError: one message with everything that is wrong: files missing, malformed, unsorted or of different
            utterances, unknown emotions, speakers without sex or fold, text that is not UTF-8, recordings that are not
            there.
    """
    there = [file for file in (*_TABLES, "emotions") if (path / file).is_file()]
    missing = [file for file in (*_TABLES, "emotions") if file not in (*there, *_OPTIONAL)]
    if missing:
        raise SoctkError(f"not a data directory, it lacks {', '.join(missing)}", remedy=REMEDY, where=path)
    problems: list[str] = []
    columns = {
        attr: _read_table(path / file, parse, problems) if file in there else {}
        for file, (attr, parse) in _TABLES.items()
    }
    emotions = tuple((path / "emotions").read_text(**_ENCODING).split())
    others = sorted(file for file in path.glob("utt2*") if file.name not in _TABLES)
    extra = {file.name.removeprefix("utt2"): _read_table(file, str, problems) for file in others}
    data = DataDir(**columns, emotions=emotions, extra=extra, path=path)
    problems += _inconsistencies(data)
    if recordings:
        problems += _absent(data)
    _refuse(problems, path)
    return data


def write_kaldi(path: Path, data: DataDir) -> None:
    """Write a corpus as Kaldi's own scripts have it: without folds and classes, with spk2utt.

    Raises:
        SoctkError: the utterances, sorted, are not in the order of their speakers, which Kaldi's sorting needs.
    """
    if sorted(data.speaker) != sorted(data.speaker, key=lambda utt: (data.speaker[utt], utt)):
        raise SoctkError(
            "the utterances, sorted, are not in the order of their speakers, as Kaldi needs them",
            remedy="Join speaker and the rest of an utterance id by '-', as soctk-import does.",
            where=path,
        )
    for file, (attribute, _) in _TABLES.items():
        if file != "spk2fold" and getattr(data, attribute):
            _write_lines(path / file, [f"{key} {value}" for key, value in sorted(getattr(data, attribute).items())])
    utterances: dict[str, list[str]] = {}
    for utt in sorted(data.speaker):
        utterances.setdefault(data.speaker[utt], []).append(utt)
    _write_lines(path / "spk2utt", [" ".join([speaker, *utts]) for speaker, utts in utterances.items()])


def summary(data: DataDir) -> str:
    """Return the corpus in one line: utterances, hours, speakers, folds and the count of each emotion."""
    counts = Counter(data.emotion.values())
    classes = ", ".join(f"{emotion} {counts[emotion]}" for emotion in data.emotions)
    return (
        f"{len(data.wav)} utterances, {sum(data.seconds.values()) / 3600:.2f} h, {len(data.fold)} speakers, "
        f"{len(data.folds)} folds; {classes}"
    )


def check_words(words: Iterable[str], where: Path) -> None:
    """Check ids and classes.

    Raises:
        SoctkError: one holds white space, or what is not UTF-8.
    """
    words = sorted(set(words))
    split = [word for word in words if len(word.split()) != 1]
    if split:
        raise SoctkError(
            f"ids and classes with white space in them\n{listing(map(repr, split))}",
            remedy="A data directory separates its columns by it: write '_' instead.",
            where=where,
        )
    undecoded = [word for word in words if _UNDECODED.search(word)]
    if undecoded:
        raise SoctkError(
            f"ids and classes that are not UTF-8\n{listing(map(ascii, undecoded))}",
            remedy="Rename the files, or mend the table, that they are from.",
            where=where,
        )


def _refuse_files_of_others(path: Path, data: DataDir) -> None:
    own = {*_TABLES, *(f"utt2{name}" for name in data.extra)}
    kept = [file for file in sorted(path.glob("utt2*")) if file.name not in own]
    of_others = [file.name for file in kept if _read_table(file, str, []).keys() != data.wav.keys()]
    if of_others:
        raise SoctkError(
            f"there are files of other utterances in it: {', '.join(of_others)}",
            remedy="Remove them, or choose another directory.",
            where=path,
        )


def _refuse(problems: Collection[str], path: Path) -> None:
    if problems:
        raise SoctkError(f"not a valid data directory\n{listing(problems)}", remedy=REMEDY, where=path)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with atomic(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), **_ENCODING)


def _read_table(path: Path, parse: type, problems: list[str]) -> dict:
    table: dict = {}
    previous = ""
    for number, line in enumerate(path.read_text(**_ENCODING).removesuffix("\n").split("\n"), start=1):
        key, _, value = line.partition(" ")
        where = f"{path.name} line {number}"
        try:
            if not key or not value.strip():
                raise ValueError
            table[key] = parse(value.strip())
        except ValueError:
            problems.append(f"{where}: '{line}' is not a key, a space and {_a_value(parse)}")
        if key == previous:
            problems.append(f"{where}: {key} stands there twice")
        elif key < previous:
            problems.append(f"{where}: {key} comes after {previous}; sort with LC_ALL=C")
        previous = key
    if not table:
        problems.append(f"{path.name}: empty")
    return table


def _a_value(parse: type) -> str:
    return {Path: "a path", str: "a word", float: "a number of seconds", int: "a whole number"}[parse]


def _inconsistencies(data: DataDir) -> Iterable[str]:
    for attribute, file in (("speaker", "utt2spk"), ("emotion", "utt2emo"), ("seconds", "utt2dur")):
        yield from _key_mismatch("wav.scp", data.wav, file, getattr(data, attribute))
    for name, values in data.extra.items():
        if name in _KNOWN:
            yield f"utt2{name}: {_KNOWN[name]} says the {name}; rename it"
        yield from _key_mismatch("wav.scp", data.wav, f"utt2{name}", values)
        yield from _undecoded(f"utt2{name}", values.values())
    yield from _undecoded("wav.scp", data.wav)
    yield from _undecoded("utt2spk", data.speaker.values())
    yield from _undecoded("emotions", data.emotions)
    speakers = dict.fromkeys(data.speaker.values())
    yield from _key_mismatch("utt2spk", speakers, "spk2fold", data.fold)
    if data.gender:
        yield from _key_mismatch("utt2spk", speakers, "spk2gender", data.gender)
    for utt, speaker in data.speaker.items():
        if not utt.startswith(speaker):
            yield f"utt2spk: {utt} does not begin with its speaker {speaker}"
    for utt, emotion in data.emotion.items():
        if emotion not in data.emotions:
            yield f"utt2emo: {utt} is {emotion}, which the file emotions does not list"
    for utt, seconds in data.seconds.items():
        if not 0 < seconds < math.inf:
            yield f"utt2dur: {utt} lasts {seconds} s"
    for speaker, gender in data.gender.items():
        if gender not in ("m", "f"):
            yield f"spk2gender: {speaker} is '{gender}', neither m nor f"
    if data.folds != list(range(1, len(data.folds) + 1)):
        yield f"spk2fold: the folds are {data.folds}, not 1, 2, ..."
    for emotion in set(PREDICTION_COLUMNS).intersection(data.emotions):
        yield f"emotions: {emotion} is the name of a column of predictions.tsv; choose another"
    for emotion, count in Counter(data.emotions).items():
        if count > 1:
            yield f"emotions: {emotion} stands there {count} times"


def _undecoded(file: str, texts: Iterable[str]) -> Iterable[str]:
    for text in dict.fromkeys(texts):
        if _UNDECODED.search(text):
            yield f"{file}: {text!a} is not UTF-8"


def _absent(data: DataDir) -> Iterable[str]:
    for utt, path in data.wav.items():
        if str(path).endswith("|"):
            yield f"wav.scp: {utt} is a command; commands are not run, write the recordings to files"
        elif not path.is_file():
            yield f"wav.scp: {utt} is not there: {path}"


def _key_mismatch(file: str, keys: Mapping, other_file: str, other_keys: Mapping) -> Iterable[str]:
    for one, one_keys, two, two_keys in ((file, keys, other_file, other_keys), (other_file, other_keys, file, keys)):
        lacking = [key for key in one_keys if key not in two_keys]
        if lacking:
            yield f"{two}: lacks {len(lacking)} ids that {one} has, such as {lacking[0]}"
