"""The time of a sweep over settings of the training loop: points at the same time, and one after the other.

    .venv/bin/python tests/bench/sweep.py DATA STORE --layer 6

The preset `paper` with several learning rates and weight decays, all folds, one seed. Both ways take turns.
"""

import itertools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import torch
from tabulate import tabulate

from soctk.corpus import datadir
from soctk.features.store import FeatureStore
from soctk.training.experiment import Experiment, run_together
from soctk.training.inputs import Features
from soctk.training.settings import resolve


def seconds_of_both(experiments: Sequence[Experiment], folds: Sequence[int], nj: int) -> tuple[float, float]:
    """Return the seconds of experiments at the same time, and one after the other, with one seed."""
    started = time.perf_counter()
    run_together(experiments, folds, [1], nj)
    middle = time.perf_counter()
    for experiment in experiments:
        replace(experiment, path=experiment.path.parent / "alone" / experiment.path.name).run(folds, [1], nj)
    return middle - started, time.perf_counter() - middle


@click.command(context_settings={"show_default": True})
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("store", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--layer", required=True, type=int)
@click.option("--pooling", default="soc")
@click.option("--points", default="2 4 8", help="The numbers of points.")
@click.option("--epochs", default=20)
@click.option("--rounds", default=3)
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu")
def main(data: Path, store: Path, layer: int, pooling: str, points: str, epochs: int, rounds: int, device: str) -> None:
    """Print the seconds of both ways, and the median of their ratios."""
    corpus, nj = datadir.read(data), multiprocessing.cpu_count()
    features = Features(FeatureStore.open(store), corpus.utterances, device)
    grid = list(itertools.product([3e-4, 1e-3, 3e-3, 1e-4], [0.01, 0.1]))
    rows = []
    for count in map(int, points.split()):
        together, alone = [], []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                experiments = []
                for lr, decay in grid[:count]:
                    values = [f"train.lr={lr}", f"train.weight_decay={decay}", f"train.epochs={epochs}"]
                    options = {"pooling": pooling, "head": "mlp", "layers": [layer]}
                    config = resolve(
                        preset="paper", utterances=len(corpus.utterances), overrides=values, protocol="soctk", **options
                    )
                    path = Path(folder) / f"{lr} {decay}"
                    experiments.append(Experiment(config, corpus, features, path, device))
                one, other = seconds_of_both(experiments, corpus.folds, nj)
                together.append(one)
                alone.append(other)
        ratio = statistics.median(one / other for one, other in zip(alone, together, strict=True))
        rows.append((count, f"{statistics.median(together):.1f}", f"{statistics.median(alone):.1f}", f"{ratio:.2f}"))
    print(tabulate(rows, ["points", "at the same time, s", "one after the other, s", "times as fast"], "github"))


if __name__ == "__main__":
    main()
