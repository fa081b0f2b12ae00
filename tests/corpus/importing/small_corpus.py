"""A corpus of 18 recordings and its labels, for the tests of importing."""

from pathlib import Path

import numpy as np
import soundfile

from soctk.corpus.datadir import DataDir

SPEAKERS = {"ann": "f", "bob": "m", "cleo": "f"}
EMOTIONS = ("calm", "angry", "sad")


def write_recordings(root: Path) -> None:
    """Write 3 speakers x 3 emotions x 2 takes of 0.1 s, named ann/ann_calm_1.wav."""
    for row in make_rows():
        path = root / row["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.ones(1600) / 2, 16000)


def make_rows() -> list[dict[str, str]]:
    """Return the labels of these recordings."""
    return [
        {"path": f"{speaker}/{speaker}_{emotion}_{take}.wav", "emotion": emotion, "speaker": speaker, "sex": sex}
        for speaker, sex in SPEAKERS.items()
        for emotion in EMOTIONS
        for take in (1, 2)
    ]


def write_csv(path: Path, rows: list[dict[str, str]], separator: str = ",") -> Path:
    lines = [rows[0].keys(), *(row.values() for row in rows)]
    path.write_text("".join(separator.join(line) + "\n" for line in lines))
    return path


def assert_is_corpus(data: DataDir, recordings: Path) -> None:
    """Check utterances, ids, labels, durations and the number of folds against the table of `make_rows`."""
    assert len(data.wav) == 18
    assert data.wav["ann-calm_1"] == recordings / "ann" / "ann_calm_1.wav"
    assert (data.speaker["ann-calm_1"], data.emotion["ann-calm_1"], data.seconds["ann-calm_1"]) == ("ann", "calm", 0.1)
    assert len(data.folds) == 3


def write_audformat_recordings(folder: Path) -> None:
    """Write the recordings of the database of golden/make_audformat.py: a tone in each second, by emotion."""
    (folder / "audio").mkdir(parents=True)
    for number, speaker in enumerate(("ann", "bob", "cid", "dan", "eve", "fay")):
        noise = np.random.default_rng(number).normal(size=4 * 16000)
        tones = [np.sin(np.arange(16000) * step) * np.linspace(0.2, 1, 16000) for step in (0.1, 0.4, 0.1, 0.4)]
        soundfile.write(folder / "audio" / f"{speaker}.wav", 0.1 * noise + 0.4 * np.concatenate(tones), 16000)
