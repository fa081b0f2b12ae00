"""Functions that read and write EmoBox's metadata of a corpus (arXiv 2406.07162).

The files are NAME.jsonl, label_map.json and fold_K/NAME_{train,test}_fold_K.jsonl. A line of a .jsonl file is a JSON
object with key, dataset, wav, type, sample_rate (Hz), num_frame (samples), task, length (s), emo and channel. EmoBox
itself does not record speakers. soctk adds spk and gender to the files that it writes; EmoBox's code ignores them.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from soctk.corpus import audio, jsonl
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError, listing
from soctk.files import atomic

_TEST_FILE = re.compile(r"fold_(\d+)/.*_test_fold_\1\.jsonl")


def is_emobox(folder: Path) -> bool:
    """Return whether a folder holds EmoBox's metadata of a corpus."""
    return bool(_find_test_files(folder))


def read(folder: Path) -> list[dict[str, Any]]:
    """Return the JSON object of each utterance of a corpus.

    In `emo` the class from label_map.json replaces the label. Utterances in test files also get `fold`.

    Raises:
        SoctkError: a line is not a JSON object with a key, label_map.json is not a JSON object, or an utterance is in
            two test folds.
    """
    rows: dict[str, dict[str, Any]] = {}
    in_two_folds = []
    for fold, file in _find_test_files(folder).items():
        for key, row in _read_keyed(file):
            if key in rows:
                in_two_folds.append(f"{key}: folds {rows[key]['fold']} and {fold}")
            rows[key] = {**row, "fold": str(fold)}
    if in_two_folds:
        raise SoctkError(
            f"these utterances are in two test folds\n{listing(in_two_folds)}",
            remedy="Correct the files, so that each utterance is in one test fold.",
            where=folder,
        )
    for file in sorted(folder.glob("*.jsonl")):
        for key, row in _read_keyed(file):
            rows.setdefault(key, row)
    classes = _read_classes(folder / "label_map.json")
    return [{**row, "emo": classes.get(str(row.get("emo")), row.get("emo"))} for row in rows.values()]


def write(folder: Path, name: str, data: DataDir) -> None:
    """Write the metadata of a corpus into a folder.

    Args:
        folder: EmoBox's data/NAME.
        name: the name of the corpus.
        data: the corpus.

    Raises:
        SoctkError: a recording cannot be read.
    """
    infos = audio.check(data.wav, data.channel)
    rows = {utt: _make_row(name, data, utt, infos[utt]) for utt in data.utterances}
    jsonl.write(folder / f"{name}.jsonl", rows.values())
    for fold in data.folds:
        test = set(data.utterances_of([fold]))
        for part, utterances in (("train", rows.keys() - test), ("test", test)):
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


def _read_classes(path: Path) -> dict[str, Any]:
    """Return label -> class; empty if there is no label map."""
    classes = jsonl.parse_json(path.read_bytes()) if path.exists() else {}
    if not isinstance(classes, dict):
        raise SoctkError(
            "not a JSON object in UTF-8", remedy='Write it as {"LABEL": "CLASS"}, or remove the file.', where=path
        )
    return classes


def _find_test_files(folder: Path) -> dict[int, Path]:
    """Return fold -> its test file, sorted by fold."""
    matches = {
        file: _TEST_FILE.fullmatch(file.relative_to(folder).as_posix()) for file in folder.glob("fold_*/*.jsonl")
    }
    return dict(sorted((int(match[1]), file) for file, match in matches.items() if match))


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
        "channel": 1,
        "spk": speaker,
    }
    return row | ({"gender": data.gender[speaker]} if speaker in data.gender else {})
