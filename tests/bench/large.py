"""Seconds and memory of what reads a whole corpus: data directory, index of a feature store, splits."""

import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np

from soctk.corpus import datadir, duplicates, splits
from soctk.corpus.datadir import DataDir
from soctk.features import index
from soctk.features.index import Entry

EMOTIONS = tuple("ABCDEFGH")
FRAMES = 150
EACH = 50  # utterances of a shard


def write_corpus(root: Path, utterances: int, speakers: int) -> None:
    """Write a data directory with empty recordings, and the index of a feature store."""
    random = np.random.default_rng(0)
    names = [f"spk{speaker:05}" for speaker in random.integers(0, speakers, utterances)]
    ids = [f"{name}-{number:07}" for number, name in enumerate(names)]
    wav = {utt: root / "wav" / f"{utt}.wav" for utt in ids}
    (root / "wav").mkdir()
    for path in wav.values():
        path.touch()
    data = DataDir(
        wav=wav,
        speaker=dict(zip(ids, names, strict=True)),
        emotion={utt: EMOTIONS[number % len(EMOTIONS)] for number, utt in enumerate(ids)},
        seconds=dict.fromkeys(ids, 4.0),
        gender={name: "mf"[int(name[3:]) % 2] for name in names},
        fold={name: int(name[3:]) % 5 + 1 for name in names},
        emotions=EMOTIONS,
    )
    datadir.write(root / "data", data)
    shards = [root / f"shard-{number:016x}.safetensors" for number in range(utterances // EACH + 1)]
    entries = {utt: Entry(shards[number // EACH], FRAMES, f"{number:064x}") for number, utt in enumerate(ids)}
    index.write(root, entries)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print the seconds of the block, and the memory of the process at its peak."""
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    print(f"{what}: {seconds:.1f} s, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB at the peak")


@click.command(context_settings={"show_default": True})
@click.option("--utterances", default=300_000)
@click.option("--speakers", default=2_000)
def main(utterances: int, speakers: int) -> None:
    """Print the figures of a generated corpus with 8 classes."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_corpus(root, utterances, speakers)
        with timed("read and validate the data directory"):
            data = datadir.read(root / "data")
        with timed("read the index of the store"):
            stored = index.read(root)
        recordings = {utt: entry.recording for utt, entry in stored.items()}
        for protocol in ("soctk", "emobox"):
            with timed(f"split fold 1, protocol {protocol}"):
                split = splits.split(data, 1, protocol, 1)
        with timed("inner splits"):
            splits.inner_splits(data, split, "soctk")
        with timed("compare the recordings of all splits"):
            duplicates.check_splits(data, recordings, "soctk", data.folds, [1])


if __name__ == "__main__":
    main()
