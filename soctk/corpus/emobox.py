"""Functions that read and write EmoBox's metadata of a corpus (arXiv 2406.07162).

The files are NAME.jsonl, label_map.json and fold_K/NAME_{train,test}_fold_K.jsonl. A line of a .jsonl file is a JSON
object with key, dataset, wav, type, sample_rate (Hz), num_frame (samples), task, length (s), emo and channel. EmoBox
itself does not record speakers. soctk adds spk and gender to the files that it writes; EmoBox's code ignores them.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from soctk.corpus import audio, jsonl
from soctk.corpus.content import DEV
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError, listing, plural
from soctk.files import atomic
from soctk.mappings import read_json

_FOLD_FILE = re.compile(r"fold_(\d+)/.*_(train|valid|dev|test)_fold_\1\.jsonl")
_LABEL_MAPS = ("label_map.json", "label_dict.json")  # EmoBox uses the second name for one corpus


def is_emobox(folder: Path) -> bool:
    """Return whether a folder holds EmoBox's metadata of a corpus."""
    return bool(_find_fold_files(folder))


def read(folder: Path, tell: Callable[[str], object] = lambda line: None) -> list[dict[str, Any]]:
    """Return the JSON object of each utterance of a corpus.

    In `emo` the class from label_map.json replaces the label. Each utterance also gets `fold`: the fold that tests it,
    or nothing. If there is one fold, it is a partition, and `fold` is "train", "valid", "dev" or "test".

    Args:
        folder: EmoBox's data/NAME.
        tell: is called with a line for each fact that the user should know.

    Raises:
        SoctkError: a line is not a JSON object with a key, the label map is not a JSON object, an utterance is in two
            test folds, or two lines with the same key contradict each other or are in the same file.
    """
    files = _find_fold_files(folder)
    is_partition = len({fold for fold, _ in files.values()}) == 1
    rows: dict[str, dict[str, Any]] = {}
    fold_of: dict[str, str] = {}
    problems = []
    for file in [*sorted(folder.glob("*.jsonl")), *files]:
        fold, part = files.get(file, (0, ""))
        seen = set()
        for key, row in _read_keyed(file):
            other = rows.setdefault(key, row)
            problems += [f"{key}: twice in {file.relative_to(folder)}"] if key in seen else []
            problems += [
                f"{key}: {name} {other.get(name)} and {row.get(name)} in {file.relative_to(folder)}"
                for name in ("wav", "emo")
                if other.get(name) != row.get(name)
            ]
            seen.add(key)
            if part == "test" or (part and is_partition):
                value = part if is_partition else str(fold)
                problems += [f"{key}: folds {fold_of[key]} and {value}"] if fold_of.get(key, value) != value else []
                fold_of[key] = value
    if problems:
        raise SoctkError(
            f"these utterances are given twice, in two folds, or with contradictions\n{listing(problems)}",
            remedy="Correct the files, so that each utterance is in one test fold, and the same in all files.",
            where=folder,
        )
    others = [file for file in folder.glob("fold_*/*.jsonl") if file not in files]
    if others:
        tell(
            f"Note: {folder}: {plural(len(others), 'file is', 'files are')} not read, such as "
            f"{others[0].relative_to(folder)}: their names are not fold_K/NAME_PART_fold_K.jsonl"
        )
    channels = Counter(str(row["channel"]) for row in rows.values() if row.get("channel") not in (None, 1, "1"))
    for channel, count in sorted(channels.items()):
        tell(
            f"Note: {folder}: {plural(count, 'utterance')} with channel {channel}; soctk uses the channel of the "
            "option --channel"
        )
    classes = _read_classes(folder)
    labels = Counter(str(row.get("emo")) for row in rows.values()) if classes else Counter[str]()
    unmapped = {label: n for label, n in labels.items() if label not in classes and label not in classes.values()}
    if unmapped:
        counts = ", ".join(f"{label} ({n})" for label, n in sorted(unmapped.items()))
        tell(f"Note: {folder}: its label map lacks these labels, which stay as they are: {counts}")
    return [
        {**row, "emo": classes.get(str(row.get("emo")), row.get("emo")), "fold": fold_of.get(key)}
        for key, row in rows.items()
    ]


def write(folder: Path, name: str, data: DataDir) -> None:
    """Write the metadata of a corpus into a folder.

    Args:
        folder: EmoBox's data/NAME.
        name: the name of the corpus.
        data: the corpus.

    Raises:
        SoctkError: a recording cannot be read, or the corpus has segments or no emotions.
    """
    if data.segments:
        raise SoctkError(
            "the utterances are segments, and EmoBox's metadata describe whole recordings",
            remedy="Cut the segments into files of their own (such as with Kaldi's extract-segments), or export to "
            "Kaldi.",
            where=data.path,
        )
    if not data.emotion:
        raise SoctkError(
            "the corpus has no emotions, and EmoBox's metadata need them",
            remedy="Export it in another format (soctk-export --format kaldi).",
            where=data.path,
        )
    infos = audio.check(data.clips, data.channel)
    rows = {utt: _make_row(name, data, utt, infos[utt]) for utt in data.utterances}
    jsonl.write(folder / f"{name}.jsonl", rows.values())
    for fold in data.folds:
        test, valid = set(data.utterances_of([fold])), set(data.part(DEV))
        parts = {"train": rows.keys() - test - valid, "valid": valid, "test": test}
        for part, utterances in parts.items():
            if part == "valid" and not valid:
                continue
            file = folder / f"fold_{fold}" / f"{name}_{part}_fold_{fold}.jsonl"
            jsonl.write(file, (rows[utt] for utt in sorted(utterances)))
    with atomic(folder / "label_map.json") as temporary:
        temporary.write_text(json.dumps({emotion: emotion for emotion in data.emotions}, indent=4), encoding="utf-8")


def _read_keyed(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, row in enumerate(jsonl.read(path), start=1):
        if not isinstance(row.get("key"), str):
            raise SoctkError(
                f"the 'key' of line {number} is missing or not text",
                remedy="Write the utterance's name as its 'key'.",
                where=path,
            )
        yield row["key"], row


def _read_classes(folder: Path) -> dict[str, Any]:
    """Return label -> class; empty if there is no label map."""
    maps = {name: read_json(folder / name) for name in _LABEL_MAPS if (folder / name).exists()}
    first, *others = maps.values() or [{}]
    if any(other != first for other in others):
        raise SoctkError(f"{' and '.join(maps)} differ", remedy="Remove one of them.", where=folder)
    return first


def _find_fold_files(folder: Path) -> dict[Path, tuple[int, str]]:
    """Return the files of the folds -> their fold and part, sorted by fold."""
    matches = {
        file: _FOLD_FILE.fullmatch(file.relative_to(folder).as_posix()) for file in folder.glob("fold_*/*.jsonl")
    }
    found = {file: (int(match[1]), match[2]) for file, match in matches.items() if match}
    return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))


def _make_row(name: str, data: DataDir, utt: str, info: audio.AudioInfo) -> dict[str, Any]:
    speaker = data.speaker[utt]
    row = {
        "key": utt,
        "dataset": name,
        "wav": str(data.wav[utt]),
        "type": "raw",
        "sample_rate": info.sample_rate,
        "num_frame": round(info.seconds * info.sample_rate),
        "task": "category",
        "length": info.seconds,
        "emo": data.emotion[utt],
        "channel": int(data.channel) if data.channel.isdigit() else 1,
        "spk": speaker,
    }
    return row | ({"gender": data.gender[speaker]} if speaker in data.gender else {})
