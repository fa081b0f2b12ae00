"""The batches of models that are trained together: each model's own, cut from one random order of the whole corpus.

In the order, the strata are spread evenly: where all have the same size, each run of S rows has one row of each of the
S strata. With the folds as strata, the models of different folds therefore meet almost the same rows at the same step:
with six equal folds and batches of 32, each model trains on four folds, and 8 rows of each of the six folds serve the
step of all models. Where validation rows are drawn at random, the models of a fold's rows differ from row to row; these
rows are spread evenly for each model too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_CANDIDATES = 16  # rows of a stratum among which the next one is chosen


@dataclass(frozen=True)
class Strata:
    """What the order of the rows of a corpus is stratified by.

    Attributes:
        numbers: the stratum of each row, `(N,)`.
        fitted: whether the model of each of F folds trains on each row, `(N, F)` bool. These are all folds of the
            corpus, so that the order does not depend on the models that are trained.
    """

    numbers: np.ndarray
    fitted: np.ndarray

    @classmethod
    def one(cls, rows: int) -> "Strata":
        """Return a single stratum of rows on which one model trains."""
        return cls(np.zeros(rows, dtype=int), np.ones((rows, 1), dtype=bool))


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


def order(strata: Strata, seed: int, epoch: int) -> np.ndarray:
    """Return the rows on which some model trains, in random order, with each stratum and each model spread evenly.

    Args:
        strata: the rows.
        seed: the seed of a model.
        epoch: the epoch, from 1.
    """
    shuffled = np.random.default_rng([seed % 2**64, epoch]).permutation(len(strata.numbers))
    shuffled = shuffled[strata.fitted[shuffled].any(1)]
    _, own, counts = np.unique(strata.numbers[shuffled], return_inverse=True, return_counts=True)
    by_stratum = np.argsort(own, kind="stable")
    starts = np.cumsum(counts) - counts
    ranks = np.empty(len(own))
    ranks[by_stratum] = np.arange(len(own)) - np.repeat(starts, counts)
    places = np.argsort((ranks + 0.5) / counts[own], kind="stable")
    pools = [shuffled[by_stratum[start : start + count]] for start, count in zip(starts, counts, strict=True)]
    if all((strata.fitted[pool] == strata.fitted[pool[:1]]).all() for pool in pools):
        return shuffled[places]
    return _spread(own[places], pools, strata.fitted)


def _spread(strata: np.ndarray, pools: Sequence[np.ndarray], fitted: np.ndarray) -> np.ndarray:
    """Take the next row of each of the strata in turn, such that each model meets its rows at an even rate.

    The next row is chosen among the next `_CANDIDATES` of its pool: with it, the number of rows of each model so far is
    closest to its share, in the sum of squares over models.

    Args:
        strata: the stratum of the row at each place.
        pools: the rows of each stratum, in random order.
        fitted: whether each model trains on each row, `(N, F)`.
    """
    mean = fitted[np.concatenate(pools)].mean(0)
    windows = [pool[:_CANDIDATES].copy() for pool in pools]
    following = [iter(pool[_CANDIDATES:].tolist()) for pool in pools]
    values = [fitted[window].astype(float) for window in windows]
    norms = [each.sum(1) for each in values]  # the squares of 0 and 1 are 0 and 1
    excess, rows = np.zeros(len(mean)), np.empty(len(strata), dtype=int)
    for place, stratum in enumerate(strata.tolist()):
        window, value, norm = windows[stratum], values[stratum], norms[stratum]
        excess -= mean
        chosen = (value @ (2 * excess) + norm).argmin()
        rows[place] = window[chosen]
        excess += value[chosen]
        row = next(following[stratum], None)
        if row is None:
            norm[chosen] = np.inf  # never chosen again
        else:
            window[chosen], value[chosen] = row, fitted[row]
            norm[chosen] = value[chosen].sum()
    return rows


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
