"""The batches of models that are trained together: each model's own, cut from one random order of the whole corpus.

In the order, the strata are spread evenly: where all have the same size n, each run of S rows has one row of each of
the S strata. With the folds as strata, the models of different folds therefore meet almost the same rows at the same
step: with six equal folds and batches of 32, each model trains on four folds, and 8 rows of each of the six folds
serve the step of all models.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Batch:
    """The batches of the same size of M models, at one step.

    Attributes:
        step: the number of the step in the epoch, from 0.
        models: the numbers of the models, in rising order.
        rows: the rows `(M, B)` of each model.
        start: how many rows of the epoch each of the models has seen before.
    """

    step: int
    models: tuple[int, ...]
    rows: np.ndarray
    start: int


def order(strata: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Return the numbers of all rows in random order, with each stratum spread evenly.

    Args:
        strata: the stratum of each row, `(N,)`.
        seed: the seed of a model.
        epoch: the epoch, from 1.
    """
    shuffled = np.random.default_rng([seed % 2**64, epoch]).permutation(len(strata))
    _, own, counts = np.unique(strata[shuffled], return_inverse=True, return_counts=True)
    by_stratum = np.argsort(own, kind="stable")
    ranks = np.empty(len(own))
    ranks[by_stratum] = np.arange(len(own)) - np.repeat(np.cumsum(counts) - counts, counts)
    return shuffled[np.argsort((ranks + 0.5) / counts[own], kind="stable")]


def cut(count: int, size: int) -> list[tuple[int, int]]:
    """Return the start and the end of each batch of `size` rows. A last batch of one row joins the batch before it.

    Batch norm cannot be trained on a batch of one.
    """
    starts = list(range(0, count, size))
    if count % size == 1 and len(starts) > 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], count], strict=True))


def batches(orders: Sequence[np.ndarray], size: int) -> Iterator[Batch]:
    """Yield the batches of an epoch, step by step; the models whose batches have equal sizes are together.

    Args:
        orders: the training rows of each model, in the order of the epoch.
        size: the number of rows of a batch; the last ones may differ.
    """
    cuts = [cut(len(own), size) for own in orders]
    for step in range(max(map(len, cuts))):
        by_size: dict[int, list[int]] = {}
        for model, own in enumerate(cuts):
            if step < len(own):
                by_size.setdefault(own[step][1] - own[step][0], []).append(model)
        for count, models in by_size.items():
            start = step * size
            rows = np.stack([orders[model][start : start + count] for model in models])
            yield Batch(step, tuple(models), rows, start)
