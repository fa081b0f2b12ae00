"""Significance tests between two systems on the same utterances."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from soctk.scoring.intervals import Statistic

PERMUTATIONS = 10_000
# Exchanges are drawn in blocks of at most this many signs (16 MB).
_BLOCK = 2_000_000


def permutation_tests(pairs: Sequence[tuple[Statistic, Statistic]]) -> list[float]:
    """Test whether a statistic differs between two systems, for several pairs; return the two-sided p values.

    Under the null hypothesis the results of the two systems for a speaker are exchangeable. The test exchanges all
    results of a speaker together: in all 2^S ways if these are at most PERMUTATIONS, otherwise in PERMUTATIONS ways, of
    which all but one are random (p value by Phipson & Smyth 2010). All pairs get the same exchanges.

    Two systems with M and N seeds make lcm(M, N) pairs of seeds, each seed of a system equally often. A speaker's
    results are exchanged in all of them together.

    Args:
        pairs: the statistics of two systems with the same S speakers and K classes, in the same order.
    """
    if not pairs:
        return []
    as_large = np.zeros(len(pairs), dtype=int)
    observed = [abs(one.value() - other.value()) for one, other in pairs]
    exchanges = 0
    for signs in _draw_signs(pairs[0][0].speakers):
        exchanges += len(signs)
        for i, (one, other) in enumerate(pairs):
            as_large[i] += (np.abs(one.exchanged(other, signs)) >= observed[i] - 1e-9).sum()
    return (as_large / exchanges).tolist()


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """Return the two-sided p value of McNemar's exact test.

    Args:
        one: whether the first system classifies each utterance correctly, bool `(N,)`.
        other: the same for the second system.
    """
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    return binomtest(only_one, only_one + only_other).pvalue if only_one + only_other else 1.0


def holm(p_values: ArrayLike) -> np.ndarray:
    """Return p values `(N,)` corrected for N tests (Holm 1979)."""
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values)
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


def _draw_signs(speakers: int) -> Iterator[np.ndarray]:
    """Yield rows of S signs in blocks, the first row all 1: all 2^S rows if these are at most PERMUTATIONS."""
    rows = max(1, _BLOCK // speakers)
    if speakers <= math.log2(PERMUTATIONS):
        yield 1.0 - 2 * (np.arange(2**speakers)[:, None] >> np.arange(speakers) & 1)
        return
    generator = np.random.default_rng(speakers)
    for start in range(0, PERMUTATIONS, rows):
        count = min(rows, PERMUTATIONS - start)
        signs = 1.0 - 2 * generator.integers(0, 2, size=(count, speakers), dtype=np.int8)
        if start == 0:
            signs[0] = 1
        yield signs
