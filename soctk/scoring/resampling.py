"""Confidence intervals and significance tests over speakers: speakers, not utterances, are the random sample.

WA, UA, macro-F1 and their differences between two systems are weighted sums of ratios, and the numerators and
denominators of these ratios are sums over speakers. A resample of the speakers therefore costs two small matrix
products, and thousands of resamples take milliseconds for any number of utterances.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from soctk.scoring import metrics
from soctk.scoring.predictions import Predictions

LEVEL = 0.95
RESAMPLES = 2000
PERMUTATIONS = 10_000
# With fewer speakers the bootstrap-t interval is unreliable, so its bounds are NaN.
FEWEST_SPEAKERS = 5
PERCENT = (0.0, 100.0)
# Distance from an observed count of 0 or 1 to the exact 97.5% upper bound of the Poisson mean (Garwood 1936): half the
# 97.5% quantile of chi-squared with 2 or 4 degrees of freedom, minus the count.
NEVER_SEEN, SEEN_ONCE = 3.6889, 4.5716


class Interval(NamedTuple):
    """A value and the bounds of its 95% interval; the bounds are NaN with fewer than FEWEST_SPEAKERS speakers."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Counts:
    """The counts of S speakers from which the scores are computed, averaged over seeds.

    Attributes:
        confusion: `(S, K, K)`, the number of utterances of class i that were classified as class j.
        log_loss: `(S,)`, the sum over utterances of -ln of the posterior of the reference class.
    """

    confusion: np.ndarray
    log_loss: np.ndarray

    def of_speakers(self, chosen: np.ndarray) -> "Counts":
        """Return the counts of some speakers; `chosen` is a boolean or integer index."""
        return Counts(self.confusion[chosen], self.log_loss[chosen])


@dataclass(frozen=True)
class Ratios:
    """The statistic sum_k weights_k A_k / B_k, where A_k and B_k are sums over S speakers.

    Attributes:
        numerators: `(S, K)`, the terms of A_k.
        denominators: `(S, K)`, the terms of B_k.
        weights: `(K,)`.
        bounds: the smallest and the largest possible value of the statistic.
        is_difference: whether the statistic is the difference of two systems.
    """

    numerators: np.ndarray
    denominators: np.ndarray
    weights: np.ndarray
    bounds: tuple[float, float] = (-math.inf, math.inf)
    is_difference: bool = False

    def value(self) -> float:
        """Return the value of the statistic over all speakers."""
        return float(self._evaluate(np.ones((1, len(self.numerators))))[0][0])

    def interval(self) -> Interval:
        """Return the value v of the statistic and its 95% bootstrap-t interval over speakers (Efron 1981).

        The interval is [v - e q(0.975), v - e q(0.025)]. Here e is the standard error of the linearised statistic, and
        q(.) are the quantiles of t = (v* - v) / e*, with v* and e* the same quantities in resamples of the speakers.

        For a difference of two systems it is the symmetric interval [v - e q, v + e q] with the 0.95 quantile q of |t|
        (Hall 1988). If only a few answers differ and all favour one system by chance, equal-tailed quantiles would
        exclude any advantage of the other system.

        In simulations with 20 speakers, percentile intervals contain the true value in 90% of the samples, these
        intervals in 95%, also if almost all answers are correct. They are too narrow only if one speaker in dozens
        makes most of the errors: a sample may lack such a speaker, and then no method can know of these errors.
        """
        speakers = len(self.numerators)
        (value,), (error,) = self._evaluate(np.ones((1, speakers)))
        if speakers < FEWEST_SPEAKERS:
            return Interval(float(value), np.nan, np.nan)
        low, high = self._estimate_quantiles(value, error)
        bounds = np.clip([value - high, value - low], *self.bounds)
        return Interval(float(value), *bounds.tolist())

    def _estimate_quantiles(self, value: float, error: float) -> tuple[float, float]:
        """Return the lower and the upper quantile of e t (e and t as in `interval`).

        A resample of identical speakers has e* = 0, so t is infinite. Such resamples occur if errors are so rare that a
        sample of speakers can contain none. Then e t is replaced by the exact bound for a rare event: 4.57 e, as if the
        event had been observed once, and at least 3.69 utterances. If all speakers of the sample are identical, this
        bound alone gives the interval.
        """
        utterance = _divide(np.abs(self.weights), self.denominators.sum(0)).max()
        rare_event = max(SEEN_ONCE * error, NEVER_SEEN * utterance)
        negligible = 1e-9 * max(1.0, abs(value))
        if error < negligible:
            return -rare_event, rare_event
        values, errors = self._evaluate(_draw_resamples(len(self.numerators)))
        deviations = values - value
        scaled = np.where(np.abs(deviations) > negligible, np.sign(deviations) * rare_event, 0)
        np.divide(error * deviations, errors, out=scaled, where=errors > negligible)
        if self.is_difference:
            high = np.quantile(np.abs(scaled), LEVEL)
            return -high, high
        low, high = np.quantile(scaled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return low, high

    def minus(self, other: "Ratios") -> "Ratios":
        """Return this statistic minus another one of the same speakers, in the same order."""
        return Ratios(
            np.concatenate([self.numerators, other.numerators], axis=1),
            np.concatenate([self.denominators, other.denominators], axis=1),
            np.concatenate([self.weights, -other.weights]),
            (self.bounds[0] - other.bounds[1], self.bounds[1] - other.bounds[0]),
            is_difference=True,
        )

    def _evaluate(self, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the value and the standard error of the statistic in B resamples of the speakers.

        Args:
            draws: how many times each resample contains each speaker, `(B, S)`.

        Returns:
            Values `(B,)` and standard errors `(B,)`.
        """
        speakers = len(self.numerators)
        numerators, denominators = draws @ self.numerators, draws @ self.denominators
        # If a resample has no utterances of a class, the class keeps its ratio over all speakers.
        whole = _divide(self.numerators.sum(0), self.denominators.sum(0))
        ratios = np.broadcast_to(whole, numerators.shape).copy()
        np.divide(numerators, denominators, out=ratios, where=denominators > 0)
        slopes = _divide(self.weights, denominators)
        influence = slopes @ self.numerators.T - (slopes * ratios) @ self.denominators.T
        variance = (draws * influence**2).sum(1) * speakers / max(1, speakers - 1)
        return ratios @ self.weights, np.sqrt(variance)


def count(predictions: Predictions, codes: np.ndarray | None = None, values: int = 1) -> list[Counts]:
    """Count the answers of each speaker, separately for each value of an attribute.

    Args:
        predictions: the predictions of an experiment.
        codes: the value of the attribute for each row of `predictions.table`, as an index below `values`; by default
            all rows have the value 0.
        values: the number of values of the attribute.

    Returns:
        The counts for each value. All of them have the speakers of the predictions, in the same order.
    """
    table, classes = predictions.table, len(predictions.emotions)
    speaker, names = predictions.speakers
    codes = np.zeros(len(table), dtype=int) if codes is None else codes
    shape = (values, len(names), classes, classes)
    reference, hypothesis = table["ref"].to_numpy(), table["hyp"].to_numpy()
    cells = np.ravel_multi_index((codes, speaker, reference, hypothesis), shape)
    confusion = np.bincount(cells, minlength=np.prod(shape)).reshape(shape)
    losses = metrics.log_losses(reference, predictions.posteriors)
    rows = np.ravel_multi_index((codes, speaker), shape[:2])
    log_loss = np.bincount(rows, losses, minlength=values * len(names)).reshape(shape[:2])
    seeds = len(predictions.seeds)
    return [Counts(confusion[value] / seeds, log_loss[value] / seeds) for value in range(values)]


def accuracy(counts: Counts) -> Ratios:
    """Return WA, the share of correct answers, in %."""
    right = np.trace(counts.confusion, axis1=1, axis2=2)
    return Ratios(right[:, None], counts.confusion.sum((1, 2))[:, None], np.array([100.0]), PERCENT)


def mean_recall(counts: Counts) -> Ratios:
    """Return UA, the mean recall over classes, in %."""
    right = np.diagonal(counts.confusion, axis1=1, axis2=2)
    return Ratios(right, counts.confusion.sum(2), 100 * _weigh_classes(counts), PERCENT)


def macro_f1(counts: Counts) -> Ratios:
    """Return macro-F1 in %, the mean over classes of F1 = 2 TP / (references + hypotheses of the class)."""
    right = np.diagonal(counts.confusion, axis1=1, axis2=2)
    both = counts.confusion.sum(2) + counts.confusion.sum(1)
    # F1 = TP / (half the sum): so denominators are numbers of utterances, as _estimate_quantiles requires.
    return Ratios(right, both / 2, 100 * _weigh_classes(counts), PERCENT)


def log_loss(counts: Counts) -> Ratios:
    """Return the mean log-loss in nats."""
    return Ratios(counts.log_loss[:, None], counts.confusion.sum((1, 2))[:, None], np.ones(1), (0, math.inf))


STATISTICS: dict[str, Callable[[Counts], Ratios]] = {
    "WA": accuracy,
    "UA": mean_recall,
    "F1": macro_f1,
    "log_loss": log_loss,
}


def permutation_test(first: Ratios, second: Ratios) -> float:
    """Test whether a statistic differs between two systems on the same speakers; return the two-sided p value.

    Under the null hypothesis the results of the two systems for a speaker are exchangeable. The test exchanges all
    results of a speaker together: in all 2^S ways if these are at most PERMUTATIONS, otherwise in PERMUTATIONS ways, of
    which all but one are random (p value by Phipson & Smyth 2010).
    """
    signs = _make_signs(len(first.numerators))
    half = [(getattr(first, part) - getattr(second, part)) / 2 for part in ("numerators", "denominators")]
    middle = [(getattr(first, part) + getattr(second, part)).sum(0) / 2 for part in ("numerators", "denominators")]
    changes = [signs @ part for part in half]
    one, other = (
        _divide(middle[0] + side * changes[0], middle[1] + side * changes[1]) @ first.weights for side in (1, -1)
    )
    differences = np.abs(one - other)
    return float(np.mean(differences >= differences[0] - 1e-9))


def holm(p_values: ArrayLike) -> np.ndarray:
    """Return p values `(N,)` corrected for N tests (Holm 1979)."""
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values)
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


@cache
def _draw_resamples(speakers: int) -> np.ndarray:
    generator = np.random.default_rng(speakers)
    return generator.multinomial(speakers, np.full(speakers, 1 / speakers), size=RESAMPLES).astype(float)


@cache
def _make_signs(speakers: int) -> np.ndarray:
    """Return rows of S signs, the first all 1: all 2^S rows if these are at most PERMUTATIONS, else random rows."""
    if 2**speakers <= PERMUTATIONS:
        return 1.0 - 2 * (np.arange(2**speakers)[:, None] >> np.arange(speakers) & 1)
    signs = np.random.default_rng(speakers).choice([-1.0, 1.0], size=(PERMUTATIONS, speakers))
    signs[0] = 1
    return signs


def _weigh_classes(counts: Counts) -> np.ndarray:
    """Return 1/K for each of the K classes with references, and 0 for the other classes."""
    occurs = counts.confusion.sum((0, 2)) > 0
    return occurs / max(1, occurs.sum())


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return numerator / denominator, and 0 where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    return np.divide(numerator, denominator, out=np.zeros(denominator.shape), where=denominator > 0)
