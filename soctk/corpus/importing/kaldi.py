"""Kaldi's data directories: wav.scp, segments, utt2spk, spk2gender, and labels in a file such as utt2emo or text."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from soctk.corpus.annotations import parse_distribution
from soctk.corpus.importing import commands
from soctk.corpus.importing.rows import VOTES
from soctk.corpus.kaldi_files import read_lines, split_words
from soctk.errors import SoctkError, listing, plural
from soctk.schema import DIMENSIONS

# Column -> the field that gives it, which has the name of a file.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "utterance": ("utterance",),
    "path": ("wav.scp",),
    "speaker": ("utt2spk",),
    "emotion": ("utt2emo",),
    "sex": ("spk2gender",),
    "recording": ("recording",),
    "start": ("start",),
    "end": ("end",),
    "split": ("utt2split",),
    "fold": ("spk2fold",),
    "utterance_fold": ("utt2fold",),
    **{dimension: (f"utt2{dimension}",) for dimension in DIMENSIONS},
    "distribution": ("utt2dist",),
}

# Files with facts about the features or the sound, which soctk measures itself; and files that give columns.
_NOT_KEPT = {"utt2dur", "utt2num_frames", "utt2uniq"}.union(*COLUMNS.values())

_UTTERANCES, _RECORDINGS, _SEGMENTS, _CLASSES = "utt2spk", "wav.scp", "segments", "emotions"
_WHOLE = -1  # the end of a segment that reaches to the end of its recording
_FIX = "Run Kaldi's utils/fix_data_dir.sh, or correct the files."


def is_kaldi(path: Path) -> bool:
    """Return whether a path is a folder with wav.scp."""
    return (path / _RECORDINGS).is_file()


def check(path: Path) -> None:
    """Check that a folder is a data directory of Kaldi.

    Raises:
        SoctkError: it is not.
    """
    for name in (_RECORDINGS, _UTTERANCES):
        if not (path / name).is_file():
            raise SoctkError(f"not a data directory of Kaldi: it has no {name}", remedy="Check the path.", where=path)


def read(path: Path, tell: Callable[[str], object]) -> list[dict[str, Any]]:
    """Return a record for each utterance, sorted: its id, its recording, start and end, and the value in each utt2X.

    The fields have the names of the files. `spk2gender` and other files spk2X give the value of the utterance's
    speaker. A value that a file lacks is missing.

    Args:
        path: a data directory.
        tell: is called with lines for the user.

    Raises:
        SoctkError: a file is missing or malformed, an utterance has no recording, or a recording is a command that
            cannot be replaced by a file.
    """
    check(path)
    speakers = _read_table(path / _UTTERANCES)
    recordings = _find_files(path / _RECORDINGS, tell)
    segments = _read_segments(path / _SEGMENTS) if (path / _SEGMENTS).is_file() else {}
    place_of = {utt: segments.get(utt) if segments else (utt, "", "") for utt in speakers}
    lacking = [utt for utt, place in place_of.items() if place is None or place[0] not in recordings]
    if lacking:
        raise SoctkError(
            f"{len(lacking)} of {plural(len(speakers), 'utterance')} have no recording\n{listing(lacking)}",
            remedy=_FIX,
            where=path / (_SEGMENTS if segments else _RECORDINGS),
        )
    used = {recording for recording, _, _ in filter(None, place_of.values())}
    _tell_unused(("recording is", "recordings are"), recordings, used, path, tell)
    by_utterance = {file.name: _read_table(file) for file in sorted(path.glob("utt2*")) if file.is_file()}
    if (path / "text").is_file():
        by_utterance["text"] = _read_table(path / "text")
    for name, values in by_utterance.items():
        _tell_unused((f"id of {name} is", f"ids of {name} are"), values, speakers, path, tell)
    if "utt2dist" in by_utterance:
        classes = list(read_classes(path))
        by_utterance["utt2dist"] = {
            utt: _name_shares(text, classes, path / "utt2dist") for utt, text in by_utterance["utt2dist"].items()
        }
    by_speaker = {
        file.name: _read_table(file) for file in sorted(path.glob("spk2*")) if file.name != "spk2utt" and file.is_file()
    }
    records = []
    for utt, speaker in sorted(speakers.items()):
        recording, start, end = place_of[utt] or ("", "", "")
        record = {"utterance": utt, _RECORDINGS: recordings[recording]}
        record |= {"recording": recording, "start": start, "end": end} if segments else {}
        record |= {name: values.get(utt, "") for name, values in by_utterance.items()}
        record |= {name: values.get(speaker, "") for name, values in by_speaker.items()}
        records.append(record)
    return records


def _tell_unused(
    one_or_many: tuple[str, str],
    found: Collection[str],
    used: Collection[str],
    path: Path,
    tell: Callable[[str], object],
) -> None:
    unused = [name for name in found if name not in used]
    if unused:
        tell(f"Note: {path}: {plural(len(unused), *one_or_many)} in no utterance of {_UTTERANCES}, such as {unused[0]}")


def is_property(field: str) -> bool:
    """Return whether a field that gives no column is a property utt2X of the utterances."""
    return field.startswith("utt2") and field not in _NOT_KEPT


def read_classes(path: Path) -> dict[str, str]:
    """Return the classes in the file `emotions`, in its order, as a label map; empty without this file."""
    if not (path / _CLASSES).is_file():
        return {}
    return {word: word for line in read_lines(path / _CLASSES) for word in split_words(line)}


def _name_shares(text: str, classes: Sequence[str], where: Path) -> str:
    """Return the classes with their probabilities, with rows.VOTES between them.

    Raises:
        SoctkError: these are not as many probabilities as classes.
    """
    try:
        shares = parse_distribution(text)
        return VOTES.join(f"{name}{VOTES}{share}" for name, share in zip(classes, shares, strict=True))
    except ValueError as error:
        raise SoctkError(
            f"'{text}' is not a probability for each class in the file {_CLASSES}: {', '.join(classes) or 'none'}",
            remedy="Correct these files, or remove utt2dist.",
            where=where,
        ) from error


def _read_table(path: Path) -> dict[str, str]:
    """Return id -> the rest of its line.

    Raises:
        SoctkError: an id has no value, or occurs twice.
    """
    pairs = [(line.split(maxsplit=1), number) for number, line in enumerate(read_lines(path), start=1) if line]
    problems = []
    if path.name != "text":  # a transcript may be empty
        problems += [f"line {number}: {words[0]} has no value" for words, number in pairs if len(words) == 1]
    counts = Counter(words[0] for words, _ in pairs)
    problems += [f"{name} is given {count} times" for name, count in counts.items() if count > 1]
    if problems:
        raise SoctkError(f"malformed\n{listing(problems)}", remedy=_FIX, where=path)
    return {words[0]: words[1] if len(words) > 1 else "" for words, _ in pairs}


def _read_segments(path: Path) -> dict[str, tuple[str, str, str]]:
    """Return utterance -> recording, start and end in seconds; an empty end is the end of the recording.

    Raises:
        SoctkError: a line is malformed.
    """
    segments: dict[str, tuple[str, str, str]] = {}
    problems = []
    for utt, text in _read_table(path).items():
        words = text.split()
        try:
            recording, start, end = words
            segments[utt] = (recording, start, "" if float(end) == _WHOLE else end)
            float(start)
        except ValueError:
            problems.append(f"{utt}: '{text}' is not a recording, its start and its end in seconds")
    if problems:
        raise SoctkError(f"malformed\n{listing(problems)}", remedy=_FIX, where=path)
    return segments


def _find_files(path: Path, tell: Callable[[str], object]) -> dict[str, str]:
    """Return recording -> path; commands that only decode a file are replaced by this file.

    Raises:
        SoctkError: a recording is another command.
    """
    files, problems, replaced = {}, [], []
    for recording, entry in _read_table(path).items():
        try:
            files[recording] = commands.find_file(entry)
        except commands.NotAFile as reason:
            problems.append(f"{recording}: {reason}: {entry}")
        else:
            replaced += [recording] if commands.is_command(entry) else []
    if problems:
        raise SoctkError(
            f"soctk runs no commands, and cannot replace those of {plural(len(problems), 'recording')} by files\n"
            f"{listing(problems)}",
            remedy="Write these recordings to files, such as with Kaldi's wav-copy, and name the files in wav.scp.",
            where=path,
        )
    if replaced:
        tell(f"Note: {path}: {plural(len(replaced), 'command')} replaced by the file it decodes, such as {replaced[0]}")
    return files
