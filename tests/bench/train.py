"""Time, WA and memory of training: our preset `paper` and the SOC authors' trainer, on the same features.

    .venv/bin/python tests/bench/train.py DATA STORE --reference DIR --layer 6

DATA is the data directory of RAVDESS, STORE a feature store, DIR a checkout of the authors' code (github
secret-code-source/SOC). Both train all folds with the same frames (layer-normalised float32), width d, batch size,
epochs, patience, and 20% of the utterances at random for validation. Each is timed in a process of its own, from the
features on the disk to the predictions; ours uses all cores. WA is in %, the mean over folds; GB is the peak
resident memory.
"""

import importlib
import json
import multiprocessing
import re
import resource
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch
from tabulate import tabulate
from timing import in_process_of_its_own

from soctk import config
from soctk.corpus import datadir, splits
from soctk.features.store import FeatureStore
from soctk.scoring.score import score
from soctk.training.experiment import Experiment
from soctk.training.frames import Frames
from soctk.training.inputs import Features

CONF = Path(__file__).resolve().parents[2] / "conf"


def export(data: Path, store: Path, layer: int, out: Path) -> None:
    """Write the input of the authors' trainer: an .npy file per utterance, and JSON lines for each fold."""
    corpus = datadir.read(data)
    frames = Frames.of(FeatureStore.open(store), corpus.utterances, [layer]).layer_normalised()
    (out / "features").mkdir()
    for utt, rows in zip(corpus.utterances, frames.block[:, 0].split(frames.lengths), strict=True):
        np.save(out / "features" / f"{utt}.npy", rows.numpy())
    for fold in corpus.folds:
        split = splits.split(corpus, fold, "soctk", seed=0)
        (out / f"fold_{fold}").mkdir()
        for part, utterances in (("train", split.train + split.valid), ("test", split.test)):
            lines = [json.dumps({"key": utt, "emo": corpus.emotion[utt]}) for utt in sorted(utterances)]
            (out / f"fold_{fold}" / f"corpus_{part}_fold_{fold}.jsonl").write_text("\n".join(lines) + "\n")


def theirs(reference: Path, data: Path, exported: Path, d: int, epochs: int, seed: int, device: str, report) -> None:
    """Put the seconds and the WA of the authors' trainer into `report`."""
    sys.path.insert(0, str(reference))
    emotions = datadir.read(data).emotions
    frames = np.load(next((exported / "features").glob("*.npy")), mmap_mode="r")
    settings = {
        "seed": seed,
        "device": device,
        "label_map": {emotion: i for i, emotion in enumerate(emotions)},
        "base_dir": str(exported),
        "feature_dir": str(exported / "features"),
        "file_prefix": "corpus",
        "output_dir": str(exported / "out"),
        "num_folds": len(datadir.read(data).folds),
        "input_dim": frames.shape[1],
        "spd_dim": d,
        "batch_size": 32,
        "epochs": epochs,
        "lr": 1e-4,
    }
    trainer = importlib.import_module("soc_ser.trainer")
    started = time.perf_counter()
    summary = trainer.train_from_config(settings)
    report.put((time.perf_counter() - started, 100 * summary["average"]["WA"], _gigabytes()))


def ours(
    data: Path, store: Path, layer: int, out: Path, d: int, epochs: int, seed: int, device: str, stream: bool, report
) -> None:
    """Put the seconds and the WA of our preset `paper` into `report`."""
    overrides = [f"pooling.d={d}", f"train.epochs={epochs}", "train.batch_size=32", f"frames.layers=[{layer}]"]
    overrides += ["frames.speeds=[]", "frames.augment=[]"]  # the authors' trainer has no copies
    settings = config.load([CONF, CONF / "preset" / "paper"], "soc", "mlp", "emobox", overrides)
    started = time.perf_counter()
    corpus = datadir.read(data)
    features = Features(FeatureStore.open(store), corpus.utterances, device, **({"max_bytes": 0} if stream else {}))
    Experiment(settings, corpus, features, out / "exp", device).run(corpus.folds, [seed], multiprocessing.cpu_count())
    seconds = time.perf_counter() - started
    (scores,) = score([out])
    report.put((seconds, scores.over_folds()["WA"].mean, _gigabytes()))


def _gigabytes() -> float:
    """Return the peak resident memory in GB of this process or its largest finished worker, whichever is larger."""
    # For this process, ru_maxrss may be the peak of its parent process, so VmHWM is read instead.
    (own,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return max(int(own), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1e6


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--reference", type=click.Path(path_type=Path), help="A checkout of the authors' code.")
@click.option("--layer", type=int, required=True, help="A hidden state in STORE.")
@click.option("--d", default=8, show_default=True)
@click.option("--epochs", default=100, show_default=True)
@click.option("--seeds", default=1, show_default=True, help="Number of seeds, from 1.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--stream", is_flag=True, help="Make soctk read each batch of frames from the store.")
def main(
    data: Path,
    store: Path,
    reference: Path | None,
    layer: int,
    d: int,
    epochs: int,
    seeds: int,
    device: str,
    stream: bool,
) -> None:
    """Print seconds, WA and memory of both trainers."""
    results: dict[str, list[tuple[float, float, float]]] = {"authors'": [], "soctk": []}
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "exported"
        exported.mkdir()
        export(data, store, layer, exported)
        for seed in range(1, seeds + 1):
            if reference:
                arguments = (reference.resolve(), data, exported, d, epochs, seed, device)
                results["authors'"].append(in_process_of_its_own(theirs, *arguments))
            out = Path(folder) / f"seed{seed}"
            arguments = (data, store, layer, out, d, epochs, seed, device, stream)
            results["soctk"].append(in_process_of_its_own(ours, *arguments))
    rows = []
    for name, runs in results.items():
        if runs:
            seconds, accuracies, gigabytes = np.array(runs).T
            spread = f" ± {accuracies.std(ddof=1):.2f}" if len(runs) > 1 else ""
            rows.append(
                [name, f"{np.median(seconds):.1f}", f"{accuracies.mean():.2f}{spread}", f"{gigabytes.max():.1f}"]
            )
    click.echo(tabulate(rows, ["trainer", "s", "WA", "GB"], "github", disable_numparse=True))
    if reference:
        ratios = [theirs[0] / ours[0] for theirs, ours in zip(results["authors'"], results["soctk"], strict=True)]
        click.echo(f"authors' / soctk: {np.median(ratios):.2f} (torch {torch.__version__})")


if __name__ == "__main__":
    main()
