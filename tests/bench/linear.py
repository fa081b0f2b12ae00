"""Time and peak memory of the linear head on descriptors in full dimension, in three forms.

    .venv/bin/python tests/bench/linear.py            # 1,000 and 4,000 utterances
    .venv/bin/python tests/bench/linear.py 30000      # 30,000 utterances

`all numbers` fits the logistic regression without the precomputed inner products of soctk.training.coordinates;
`coordinates` fits it with them, in the space that the training utterances span; `projected` fits it on logarithms
projected to 128 dimensions (8,256 numbers), also in coordinates if there are fewer utterances than numbers. Each form
is fitted with three values of C and two inner splits. Descriptors are Gaussian around the means of 8 classes, D = 512.
Forms that need more than 16 GB are skipped.
"""

import multiprocessing
import resource
import time

import click
import numpy as np
from tabulate import tabulate
from timing import in_process_of_its_own
from torch import nn

from soctk.schema import LinearConfig
from soctk.training.blocks import Block, gram
from soctk.training.classes import Classes
from soctk.training.coordinates import make_coordinates
from soctk.training.linear import fit, predictions, scores

CLASSES = 8
FULL, PROJECTED = 512 * 513 // 2, 128 * 129 // 2
LIMIT = 16e9


def measure(form: str, utterances: int, dimensions: int, report: multiprocessing.Queue) -> None:
    """Put the seconds of a fit and the peak memory in GB into `report`."""
    generator = np.random.default_rng(0)
    labels = np.arange(utterances) % CLASSES
    means = 4 * dimensions**-0.5 * generator.standard_normal((CLASSES, dimensions), dtype=np.float32)
    descriptors = generator.standard_normal((utterances, dimensions), dtype=np.float32)
    for start in range(0, utterances, 1000):
        descriptors[start : start + 1000] += means[labels[start : start + 1000]]
    train = np.arange(utterances * 4 // 5)
    inner = [(train[::2], train[1::2]), (train[1::2], train[::2])]
    head = nn.Linear(dimensions, CLASSES)
    started = time.perf_counter()
    blocks = [Block(descriptors, None if form == "all numbers" else gram(descriptors))]
    candidates = LinearConfig(name="linear", C=[1.0, 3.0, 10.0], within_class_shrinkage=0.5)
    target = Classes("abcdefgh", labels)
    values = [make_coordinates(blocks, fitted).values for fitted, _ in inner]
    pairs = zip(inner, values, strict=True)
    found = [(scored, predictions(own, target, fitted, candidates)) for (fitted, scored), own in pairs]
    best = min(scores(target, found, candidates.C), key=lambda record: record["valid_loss"])["C"]
    fit(head, blocks, target, train, best, candidates)
    seconds = time.perf_counter() - started
    report.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6))


def bytes_needed(form: str, utterances: int, dimensions: int) -> float:
    descriptors = 4 * utterances * dimensions
    if form != "all numbers" and utterances < dimensions:
        return descriptors + 3 * 8 * utterances**2  # the inner products, their decomposition, coordinates
    return 2.5 * descriptors


@click.command()
@click.argument("counts", nargs=-1, type=int)
def main(counts: tuple[int, ...]) -> None:
    """Print a row for each form and number of utterances."""
    rows = []
    for utterances in counts or (1000, 4000):
        for form, dimensions in (("all numbers", FULL), ("coordinates", FULL), ("projected", PROJECTED)):
            needed = bytes_needed(form, utterances, dimensions)
            if needed > LIMIT:
                rows.append([utterances, form, "", f"{needed / 1e9:.0f} needed"])
                continue
            seconds, gigabytes = in_process_of_its_own(measure, form, utterances, dimensions)
            rows.append([utterances, form, f"{seconds:.1f}", f"{gigabytes:.1f}"])
    headers = ["utterances", "form", "s", "peak GB"]
    click.echo(tabulate(rows, headers, "github", disable_numparse=True))


if __name__ == "__main__":
    main()
