"""Time of all steps on a corpus of ESD's size, except for encoding and training.

    .venv/bin/python tests/bench/scale.py            # 35,000 utterances
    .venv/bin/python tests/bench/scale.py 3500       # 3,500 utterances

Recordings are hard links to 10 files of 0.05 s, in the folders of ESD. The features of an utterance are 3 frames of 8
numbers. Predictions are drawn at random.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import pandas as pd
import soundfile
import torch
from tabulate import tabulate

from soctk.corpus import datadir, emobox, folds, importing, splits
from soctk.features.store import FeatureStore

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "egs" / "esd"
EMOTIONS = ("Neutral", "Angry", "Happy", "Sad", "Surprise")
PER_SHARD = 200
SETTINGS = {"upstream": "test", "hidden_size": 8, "layers": [0], "dtype": "float16"}


def make_corpus(root: Path, takes: int) -> None:
    """Write 20 speakers x 5 emotions x `takes` recordings."""
    generator = np.random.default_rng(0)
    sounds = [root / f"sound{i}.wav" for i in range(10)]
    for path in sounds:
        soundfile.write(path, generator.normal(0, 0.1, 800), 16000)
    for speaker in range(1, 21):
        for index, emotion in enumerate(EMOTIONS):
            folder = root / "ESD" / f"{speaker:04}" / emotion
            folder.mkdir(parents=True)
            for number in range(350 * index + 1, 350 * index + takes + 1):
                (folder / f"{speaker:04}_{number:06}.wav").hardlink_to(sounds[number % 10])


def fill_store(path: Path, data: datadir.DataDir) -> None:
    """Write the shards of a store with three frames of each utterance."""
    store = FeatureStore.create(path, SETTINGS)
    utterances = data.utterances
    for start in range(0, len(utterances), PER_SHARD):
        frames = {utt: torch.zeros(1, 3, 8, dtype=torch.float16) for utt in utterances[start : start + PER_SHARD]}
        store.write_shard(frames, dict.fromkeys(frames, "digest"))


def predict_at_random(exp: Path, data: datadir.DataDir) -> None:
    """Write the predictions of five folds with three seeds."""
    generator = np.random.default_rng(0)
    for fold in data.folds:
        test = data.utterances_of([fold])
        for seed in (1, 2, 3):
            posteriors = generator.dirichlet(np.ones(len(EMOTIONS)), len(test))
            columns = {
                "utt": test,
                "spk": [data.speaker[utt] for utt in test],
                "ref": [data.emotion[utt] for utt in test],
                "hyp": [EMOTIONS[i] for i in posteriors.argmax(1)],
            }
            path = exp / "random" / f"fold{fold}" / f"seed{seed}" / "predictions.tsv"
            path.parent.mkdir(parents=True)
            table = pd.DataFrame(columns | dict(zip(EMOTIONS, posteriors.T.round(6), strict=True)))
            table.to_csv(path, sep="\t", index=False)


@click.command()
@click.argument("utterances", type=int, default=35000)
def main(utterances: int) -> None:
    """Print the seconds of each step."""
    rows = []

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        rows.append([step, f"{time.perf_counter() - started:.2f}"])

    with TemporaryDirectory() as folder:
        root = Path(folder)
        make_corpus(root, utterances // 100)
        with timed("stage 0 of egs/esd, which decodes every recording"):
            options = ["--folds", "conf/folds/all.yaml", *(["--partial"] if utterances < 35000 else [])]
            command = [sys.executable, "local/prepare.py", root / "ESD", root / "data", *options]
            subprocess.run(command, cwd=RECIPE, check=True, stdout=subprocess.DEVNULL)
        with timed("read and validate the data directory"):
            data = datadir.read(root / "data")
        with timed("make folds, balanced by class and sex"):
            folds.assign(data.speaker, data.emotion, data.gender, 5)
        with timed("split one fold, protocol soctk"):
            splits.split(data, 1, "soctk", 1)
        shutil.rmtree(root / "data")
        with timed("soctk-import by file names, which decodes every recording"):
            rows_of_table = importing.read([root / "ESD"], "{speaker}/{emotion}/{speaker}_{n}.wav")
            datadir.write(
                root / "imported", importing.build_corpus(rows_of_table, root / "ESD", {}, root / "folds.yaml")
            )
        with timed("soctk-export to EmoBox's format, which decodes every recording"):
            emobox.write(root / "emobox", "esd", data)
        fill_store(root / "feats", data)
        with timed("make the store's index from the headers of its shards"):
            FeatureStore.create(root / "feats", SETTINGS).finish()
        with timed("open the store by its index"):
            store = FeatureStore.open(root / "feats")
        with timed("load all frames"):
            store.load(data.utterances)
        predict_at_random(root / "exp", data)
        with timed("soctk-score of 5 folds x 3 seeds"):
            command = [Path(sys.executable).with_name("soctk-score"), root / "exp"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    click.echo(f"{utterances:,} utterances\n")
    click.echo(tabulate(rows, ["step", "s"], "github", colalign=("left", "right"), disable_numparse=True))


if __name__ == "__main__":
    main()
