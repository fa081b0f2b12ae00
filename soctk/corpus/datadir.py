"""Kaldi data directories: sorted text files with an id and its value on each line."""

import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from soctk.corpus.consistency import find_inconsistencies, find_missing_recordings
from soctk.corpus.content import DEV, DIMENSION_TABLES, DIVISIONS, EXTRA, TABLES, TRAIN, DataDir, Table
from soctk.corpus.kaldi_files import read_lines, read_table, split_words, write_lines, write_table
from soctk.errors import SoctkError, listing, plural

__all__ = [
    "REMEDY",
    "DataDir",
    "check_channel",
    "read",
    "read_duplicates",
    "summary",
    "write",
]

REMEDY = "Run the recipe's stage 0 again, or correct the files named here."

# Optional files beside the tables.
_CHANNEL = "channel"
_DUPLICATES = "duplicates"
# Exists while the other files are written. The directory is not replaced as a whole, because a recipe logs into it.
_UNFINISHED = "unfinished"


def read(path: Path, recordings: bool = True) -> DataDir:
    """Read and validate a data directory.

    Args:
        path: the directory.
        recordings: whether to check that the recordings exist; scoring does not need them.

    Raises:
        SoctkError: the directory has faults; one message lists all. Faults are files that are missing, malformed or
            unsorted or have other utterances, ids and classes that are not one word in UTF-8, names that look alike,
            unknown emotions, speakers without fold, more or less than one of spk2fold, utt2split and utt2fold, segments
            without a valid start and end, and missing recordings. Or `write` has not finished.
    """
    if (path / _UNFINISHED).exists():
        raise SoctkError(
            "the data directory is incomplete: a process is writing it, or was stopped while it wrote",
            remedy="If no process writes it, run the recipe's stage 0 (or soctk-import) again: it writes all files.",
            where=path,
        )
    return _read(path, recordings)


def _read(path: Path, recordings: bool) -> DataDir:
    is_labelled = any((path / name).is_file() for name in DIMENSION_TABLES)
    required = [name for name, table in TABLES.items() if not table.is_optional]
    required += [] if is_labelled and not (path / "utt2emo").exists() else ["utt2emo", "emotions"]
    missing = [name for name in required if not (path / name).is_file()]
    if not any((path / name).is_file() for name in DIVISIONS):
        missing.append(" or ".join(DIVISIONS))
    if missing:
        raise SoctkError(f"not a data directory: it has no {', '.join(missing)}", remedy=REMEDY, where=path)
    problems: list[str] = []
    columns = {
        table.attribute: _read_table(path / name, table, problems) if (path / name).is_file() else {}
        for name, table in TABLES.items()
    }
    dimensions = {
        table.attribute: _read_table(path / name, table, problems)
        for name, table in DIMENSION_TABLES.items()
        if (path / name).is_file()
    }
    lines = read_lines(path / "emotions") if (path / "emotions").is_file() else []
    emotions = tuple(word for line in lines for word in split_words(line))
    known = {*TABLES, *DIMENSION_TABLES}
    extra_files = sorted(file for file in path.glob("utt2*") if file.name not in known and file.is_file())
    extra = {file.name.removeprefix("utt2"): _read_table(file, EXTRA, problems) for file in extra_files}
    data = DataDir(
        **columns,
        emotions=emotions,
        dimensions=dimensions,
        extra=extra,
        channel=read_channel(path),
        duplicates=read_known_copies(path),
        path=path,
    )
    problems += find_inconsistencies(data)
    if recordings:
        problems += find_missing_recordings(data)
    _raise_if_any(problems, path)
    return data


def write(path: Path, data: DataDir) -> None:
    """Validate a corpus and write it as a data directory; each file is sorted (C locale).

    If the process is killed, `read` gives the old corpus or the new one, or refuses a mixture of their files. Existing
    files utt2X whose property `data` lacks are kept if they have the same utterances.

    Raises:
        SoctkError: the corpus is invalid (see `read`), or an existing file utt2X has other utterances. Then nothing is
            written.
    """
    check_channel(data.channel, path)
    _raise_if_any([*find_inconsistencies(data), *find_missing_recordings(data)], path)
    _check_kept_files(path, data)
    write_lines(path / _UNFINISHED, [])
    for name, table in TABLES.items():
        values = getattr(data, table.attribute)
        if values or not table.is_optional:
            write_table(path / name, {key: table.format(value) for key, value in values.items()})
        else:
            (path / name).unlink(missing_ok=True)
    for name, table in DIMENSION_TABLES.items():
        if table.attribute in data.dimensions:
            write_table(path / name, data.dimensions[table.attribute])
        else:
            (path / name).unlink(missing_ok=True)
    for name, values in data.extra.items():
        write_table(path / f"utt2{name}", values)
    _write_optional(path / "emotions", data.emotions)
    _write_optional(path / _CHANNEL, [data.channel] if data.channel != "1" else [])
    _write_optional(path / _DUPLICATES, sorted(" ".join(sorted(group)) for group in data.duplicates))
    _read(path, recordings=False)
    (path / _UNFINISHED).unlink()


def summary(data: DataDir) -> str:
    """Return the corpus in one line: utterances, hours, speakers, folds or parts, and the count of each emotion."""
    counts = Counter(data.emotion.values())
    labels = [", ".join(f"{emotion} {counts[emotion]}" for emotion in data.emotions)] if data.emotions else []
    for name, numbers in data.dimensions.items():
        labels.append(f"{name} {min(numbers.values()):g} to {max(numbers.values()):g}")
    source = f" in {plural(len(data.wav), 'recording')}" if data.segments else ""
    if data.split:
        sizes = Counter(data.split.values())
        division = ", ".join(f"{part} {sizes[part]}" for part in (TRAIN, DEV, *data.tests) if sizes[part])
    else:
        division = plural(len(data.folds), "fold")
    return (
        f"{plural(len(data.speaker), 'utterance')}{source}, {sum(data.seconds.values()) / 3600:.2f} h, "
        f"{_count_speakers(data)}, {division}; {'; '.join(labels)}"
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


def _count_speakers(data: DataDir) -> str:
    known = len(set(data.speaker.values())) - len(data.unknown)
    if not data.unknown:
        return plural(known, "speaker")
    unknown = "unknown speakers" if not known else f"{plural(len(data.unknown), 'utterance')} of unknown speakers"
    return f"{plural(known, 'speaker')} and {unknown}" if known else unknown


def read_channel(path: Path) -> str:
    """Return the channel that a data directory uses; 1 without the file `channel`.

    Raises:
        SoctkError: the file does not contain a channel.
    """
    file = path / _CHANNEL
    return check_channel(" ".join(read_lines(file)), file) if file.is_file() else "1"


def read_known_copies(path: Path) -> frozenset[frozenset[str]]:
    """Return the groups in the file `duplicates` of a data directory; none without this file.

    Raises:
        SoctkError: `read_duplicates` raises it.
    """
    return frozenset(read_duplicates(path / _DUPLICATES)) if (path / _DUPLICATES).is_file() else frozenset()


def _check_kept_files(path: Path, data: DataDir) -> None:
    """Check that files utt2X that `write` would keep have the utterances of the corpus."""
    written = {*TABLES, *DIMENSION_TABLES, *(f"utt2{name}" for name in data.extra)}
    kept = [file for file in sorted(path.glob("utt2*")) if file.name not in written]
    stale = [file.name for file in kept if _read_table(file, EXTRA, []).keys() != data.speaker.keys()]
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


def _read_table(path: Path, table: Table, problems: list[str]) -> dict[str, Any]:
    return read_table(path, table.parse, table.type_name, problems)
