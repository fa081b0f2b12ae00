"""CCC, Pearson's correlation and RMSE as functions of sums over speakers, with intervals over speakers."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.stats import t as student

from soctk.scoring import metrics
from soctk.scoring.intervals import FEWEST_SPEAKERS, LEVEL, Interval
from soctk.scoring.predictions import Predictions

# Correlations are at most this far from 0 before Fisher's transformation, which is infinite at 1.
_LARGEST_CORRELATION = 1 - 1e-12


@dataclass(frozen=True)
class Moments:
    """A metric of one dimension, as a function of sums over S speakers, averaged over M seeds.

    Attributes:
        sums: `(M, S, 6)`, the sums of metrics.moments over the utterances of each speaker.
        metric: a key of metrics.DIMENSIONAL.
    """

    sums: np.ndarray
    metric: str

    @property
    def speakers(self) -> int:
        """S, the number of speakers."""
        return self.sums.shape[1]

    def value(self) -> float:
        """Return the metric over all speakers."""
        return float(self._measure(self.sums.sum(1)).mean())

    def interval(self) -> Interval:
        """Return the metric v and its 95% interval over speakers.

        The standard error e is that of the jackknife over speakers (Ratios.standard_error), of a function g of the
        metric; q is the quantile of Student's t (Ratios.quantile). The interval is from g^-1(g(v) - q e) to
        g^-1(g(v) + q e). For CCC and correlations g is Fisher's atanh, for RMSE the logarithm.
        """
        value = self.value()
        if self.speakers < FEWEST_SPEAKERS or math.isnan(value):
            return Interval(value, math.nan, math.nan)
        forward, backward = _TRANSFORMS[self.metric]
        changes = forward(self.without_each()) - forward(np.array(value))
        margin = quantile(self.sums) * _standard_error(changes)
        low, high = (float(backward(forward(np.array(value)) + side * margin)) for side in (-1, 1))
        return Interval(value, low, high)

    def without_each(self) -> np.ndarray:
        """Return the metric without one of the speakers, `(S,)`."""
        return self._measure(self.sums.sum(1, keepdims=True) - self.sums).mean(0)

    def minus(self, other: "Moments") -> "Difference":
        """Return this metric minus that of another system on the same utterances."""
        return Difference(self, other)

    def among(self, rows: np.ndarray, speakers: int) -> "Moments":
        """See intervals.Statistic.among."""
        sums = np.zeros((len(self.sums), speakers, self.sums.shape[2]))
        sums[:, rows] = self.sums
        return replace(self, sums=sums)

    def exchanged(self, other: "Moments", signs: np.ndarray) -> np.ndarray:
        """See intervals.Statistic.exchanged."""
        pairs = math.lcm(len(self.sums), len(other.sums))  # each seed of a system equally often
        first, second = (np.tile(system.sums, (pairs // len(system.sums), 1, 1)) for system in (self, other))
        middle = (first + second).sum(1) / 2
        change = np.tensordot(signs, (first - second) / 2, axes=(1, 1))
        return (self._measure(middle + change) - self._measure(middle - change)).mean(-1)

    def _measure(self, sums: np.ndarray) -> np.ndarray:
        return metrics.DIMENSIONAL[self.metric](sums)


@dataclass(frozen=True)
class Difference:
    """The difference of a metric between two systems on the same utterances."""

    first: Moments
    second: Moments

    def value(self) -> float:
        """Return the metric of the first system minus that of the second one."""
        return self.first.value() - self.second.value()

    def interval(self) -> Interval:
        """Return the difference v and its 95% interval over speakers: v ± q e, with e and q as in Moments.interval."""
        value = self.value()
        if self.first.speakers < FEWEST_SPEAKERS or math.isnan(value):
            return Interval(value, math.nan, math.nan)
        changes = self.first.without_each() - self.second.without_each() - value
        margin = quantile(self.first.sums) * _standard_error(changes)
        return Interval(value, value - margin, value + margin)


def quantile(sums: np.ndarray) -> float:
    """Return the 97.5% quantile of Student's t for sums `(M, S, 6)` (see intervals.Ratios.quantile)."""
    counts = sums[0, :, 0]
    effective = float(counts.sum() ** 2 / (counts**2).sum())
    return float(student.ppf((1 + LEVEL) / 2, max(1.0, effective - 1)))


def moments(
    predictions: Predictions, name: str, codes: np.ndarray | None = None, values: int = 1
) -> Iterator[np.ndarray]:
    """Yield the sums over speakers on one dimension for each value of an attribute, `(M, S, 6)` for M seeds.

    Args:
        predictions: the predictions of an experiment.
        name: the dimension.
        codes: the value of the attribute for each row of `predictions.table`, as an index below `values`; by default
            all rows have the value 0.
        values: the number of values of the attribute.
    """
    table = predictions.table
    speaker, names = predictions.speakers
    keys = speaker if codes is None else codes * len(names) + speaker
    pairs, pair = np.unique(keys, return_inverse=True)
    seeds, seed = np.unique(table["seed"].to_numpy(), return_inverse=True)
    reference, predicted = (table[f"{kind}_{name}"].to_numpy() for kind in ("ref", "hyp"))
    centre = reference.mean()  # the metrics do not depend on it, but the sums are more precise
    terms = metrics.moments(reference - centre, predicted - centre)
    cell = seed * len(pairs) + pair
    sums = np.stack([np.bincount(cell, column, len(seeds) * len(pairs)) for column in terms.T], axis=1)
    by_seed = sums.reshape(len(seeds), len(pairs), -1)
    for start, stop in pairwise(np.searchsorted(pairs, np.arange(values + 1) * len(names))):
        yield by_seed[:, start:stop]


def _standard_error(changes: np.ndarray) -> float:
    """Return the jackknife standard error for the changes of a statistic without each of the speakers, `(S,)`."""
    return math.sqrt((len(changes) - 1) / len(changes) * float(changes @ changes))


def _fisher(values: np.ndarray) -> np.ndarray:
    return np.arctanh(np.clip(values, -_LARGEST_CORRELATION, _LARGEST_CORRELATION))


def _logarithm(values: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(values, 1e-12))


Function = Callable[[np.ndarray], np.ndarray]
_TRANSFORMS: dict[str, tuple[Function, Function]] = {
    "CCC": (_fisher, np.tanh),
    "r": (_fisher, np.tanh),
    "RMSE": (_logarithm, np.exp),
}
