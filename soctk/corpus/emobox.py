"""EmoBox's metadata (arXiv 2406.07162): NAME.jsonl, label_map.json, fold_K/NAME_{train,test}_fold_K.jsonl.

A line is a JSON object with key, dataset, wav, type, sample_rate (Hz), num_frame (samples), task, length (s), emo and
channel. EmoBox does not say who speaks; what is written here has spk and gender too, which its own code ignores.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from soctk.corpus import audio
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError, listing
from soctk.files import atomic

_TEST = re.compile(r"fold_(\d+)/.*_test_fold_\1\.jsonl")


def is_one(folder: Path) -> bool:
    """Return whether a folder is EmoBox's metadata of a corpus."""
    return bool(_test_files(folder))


def read(folder: Path) -> list[dict[str, Any]]:
    """Return the utterances of a corpus, each as its line has it, with the class for `emo` and the test `fold` besides.

    Raises:
        SoctkError: a line is no JSON object with a key, label_map.json is none, or an utterance is tested in two folds.
    """
    rows: dict[str, dict[str, Any]] = {}
    twice = []
    for fold, file in _test_files(folder).items():
        for key, row in _read_keyed(file):
            if key in rows:
                twice.append(f"{key}: folds {rows[key]['fold']} and {fold}")
            rows[key] = {**row, "fold": str(fold)}
    if twice:
        raise SoctkError(
            f"utterances are tested in two folds\n{listing(twice)}", remedy="Mend the files.", where=folder
        )
    for file in sorted(folder.glob("*.jsonl")):
        for key, row in _read_keyed(file):
            rows.setdefault(key, row)
    classes = _read_classes(folder / "label_map.json")
    return [{**row, "emo": classes.get(str(row.get("emo")), row.get("emo"))} for row in rows.values()]


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file with one JSON object a line.

    Raises:
        SoctkError: a line is not one.
    """
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        row = _parsed(line)
        if not isinstance(row, dict):
            raise SoctkError(f"line {number} is not a JSON object in UTF-8", remedy="Mend the file.", where=path)
        rows.append(row)
    return rows


def write(folder: Path, name: str, data: DataDir) -> None:
    """Write the metadata of a corpus called `name` into `folder`.

    Raises:
        SoctkError: a recording cannot be read.
    """
    infos = audio.check(data.wav)
    rows = {utt: _row(name, data, utt, infos[utt]) for utt in data.utterances}
    _write_jsonl(folder / f"{name}.jsonl", rows.values())
    for fold in data.folds:
        test = set(data.utterances_of([fold]))
        for part, utterances in (("train", rows.keys() - test), ("test", test)):
            file = folder / f"fold_{fold}" / f"{name}_{part}_fold_{fold}.jsonl"
            _write_jsonl(file, (rows[utt] for utt in sorted(utterances)))
    with atomic(folder / "label_map.json") as temporary:
        temporary.write_text(json.dumps({emotion: emotion for emotion in data.emotions}, indent=4), encoding="utf-8")


def _read_keyed(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, row in enumerate(read_jsonl(path), start=1):
        if not isinstance(row.get("key"), str):
            raise SoctkError(f"line {number} has no key, the utterance's name", remedy="Mend the file.", where=path)
        yield row["key"], row


def _read_classes(path: Path) -> dict[str, Any]:
    """Return label -> class; nothing where there is no label map."""
    classes = _parsed(path.read_bytes()) if path.exists() else {}
    if not isinstance(classes, dict):
        raise SoctkError(
            "not a JSON object in UTF-8", remedy='Write it as {"LABEL": "CLASS"}, or remove it.', where=path
        )
    return classes


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text.decode("utf-8-sig"))
    except ValueError:
        return None


def _test_files(folder: Path) -> dict[int, Path]:
    matches = {file: _TEST.fullmatch(file.relative_to(folder).as_posix()) for file in folder.glob("fold_*/*.jsonl")}
    return dict(sorted((int(match[1]), file) for file, match in matches.items() if match))


def _row(name: str, data: DataDir, utt: str, info: audio.AudioInfo) -> dict[str, Any]:
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
    return row | ({"gender": data.gender[speaker]} if data.gender else {})


def _write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with atomic(path) as temporary:
        temporary.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
