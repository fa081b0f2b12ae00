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


def orders(strata: Strata, seed: int, epochs: Sequence[int]) -> list[np.ndarray]:
    """Return the rows on which some model trains in the order of each epoch, with strata and models spread evenly.

    The order of an epoch does not depend on the other epochs; several at once take little longer than one.

    Args:
        strata: the rows.
        seed: the seed of a model.
        epochs: epochs, from 1.
    """
    trained = np.flatnonzero(strata.fitted.any(1))
    _, own, counts = np.unique(strata.numbers[trained], return_inverse=True, return_counts=True)
    shuffled = [np.random.default_rng([seed % 2**64, epoch]).permutation(len(trained)) for epoch in epochs]
    starts = np.cumsum(counts) - counts
    places, pools = [], []
    for each in shuffled:
        by_stratum = np.argsort(own[each], kind="stable")
        ranks = np.empty(len(each))
        ranks[by_stratum] = np.arange(len(each)) - np.repeat(starts, counts)
        places.append(np.argsort((ranks + 0.5) / counts[own[each]], kind="stable"))
        pools.append(each[by_stratum])  # the rows of the first stratum, those of the second, and so on
    fitted = strata.fitted[trained]
    if (fitted == fitted[pools[0]][starts[own]]).all():  # rows of a stratum are alike
        return [trained[each[place]] for each, place in zip(shuffled, places, strict=True)]
    sequences = np.stack([own[each[place]] for each, place in zip(shuffled, places, strict=True)])
    return list(trained[_spread(sequences, np.stack(pools), counts, fitted)])


def _spread(sequences: np.ndarray, pools: np.ndarray, counts: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Return the rows `(Q, N)` of Q orders: each is the next row of a stratum, chosen so that models are spread evenly.

    The next row is chosen among the next `_CANDIDATES` of the stratum: with it, the number of rows of each model so far
    is closest to its share, in the sum of squares over the F models. All is done in integers, N times these numbers.

    Args:
        sequences: the stratum at each place, `(Q, N)`.
        pools: the rows of the strata in random order, one stratum after the other, `(Q, N)`.
        counts: the number of rows of each stratum, `(S,)`.
        fitted: whether each model trains on each row, `(N, F)`.
    """
    number, length = sequences.shape
    none = length  # the number of a row that is never chosen
    values = np.concatenate([fitted, fitted[:1] & False]).astype(np.int64)
    costs = length * values.sum(1)  # the squares of 0 and 1 are 0 and 1
    costs[none] = 2**62
    starts = np.cumsum(counts) - counts
    following = np.full((number, len(counts), counts.max() + _CANDIDATES + 1), none)
    for name, (start, count) in enumerate(zip(starts, counts, strict=True)):
        following[:, name, :count] = pools[:, start : start + count]
    windows = following[:, :, :_CANDIDATES].copy()
    taken = np.full((number, len(counts)), _CANDIDATES)
    shares = fitted.sum(0)
    excess, rows, every = np.zeros((number, len(shares)), dtype=np.int64), np.empty_like(sequences), np.arange(number)
    for place in range(length):
        stratum = sequences[:, place]
        window = windows[every, stratum]
        excess -= shares
        chosen = (2 * np.einsum("qcf,qf->qc", values[window], excess) + costs[window]).argmin(1)
        row = window[every, chosen]
        rows[:, place] = row
        excess += length * values[row]
        windows[every, stratum, chosen] = following[every, stratum, taken[every, stratum]]
        taken[every, stratum] += 1
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
