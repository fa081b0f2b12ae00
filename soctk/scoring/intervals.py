"""95% intervals over speakers: speakers, not utterances, are the random sample.

WA, UA, macro-F1 and their differences between two systems are weighted sums of ratios, and the numerators and
denominators of these ratios are sums over speakers. Time and memory are proportional to the number of speakers.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.stats import t as student

from soctk.scoring.metrics import SMALLEST_POSTERIOR

LEVEL = 0.95
_LARGEST_LOSS = -math.log(SMALLEST_POSTERIOR)
# With fewer speakers their variation is hardly known, so the bounds of an interval are NaN.
FEWEST_SPEAKERS = 5


class Interval(NamedTuple):
    """A value and the bounds of its 95% interval; the bounds are NaN if there is no interval."""

    value: float
    low: float
    high: float


class Statistic(Protocol):
    """A statistic over speakers: of one system, or the difference of two systems."""

    @property
    def speakers(self) -> int:
        """S, the number of speakers."""

    def value(self) -> float:
        """Return the value over all speakers."""

    def interval(self) -> Interval:
        """Return the value and its 95% interval over speakers."""

    def minus(self, other: Any) -> Any:
        """Return this statistic minus that of another system with the same speakers, in the same order."""

    def among(self, rows: np.ndarray, speakers: int) -> Any:
        """Return the same statistic over more speakers, of whom only those at `rows (S,)` have utterances."""

    def exchanged(self, other: Any, signs: np.ndarray) -> np.ndarray:
        """Return the difference of two systems after each exchange of the results of speakers, `(B,)`.

        Args:
            other: the same statistic of the other system.
            signs: 1 for each speaker whose results stay, and -1 for each whose results are exchanged, `(B, S)`.
        """


@dataclass(frozen=True)
class Ratios:
    """The statistic sum_c weights_c A_c / B_c, where A_c and B_c are sums over S speakers.

    Attributes:
        numerators: `(S, C)`, the terms of A_c.
        denominators: `(S, C)`, the terms of B_c.
        weights: `(C,)`.
        steps: the change of the statistic by one answer (in all seeds), separately for each class, `(K,)` for any K.
        largest: the largest possible value of the statistic. If it is finite, the statistic is a percentage.
        is_difference: whether the statistic is the difference of two systems.
    """

    numerators: np.ndarray
    denominators: np.ndarray
    weights: np.ndarray
    steps: np.ndarray
    largest: float = math.inf
    is_difference: bool = False

    @property
    def speakers(self) -> int:
        """S, the number of speakers."""
        return len(self.numerators)

    def value(self) -> float:
        """Return the value of the statistic over all speakers."""
        value = divide(self.numerators.sum(0), self.denominators.sum(0)) @ self.weights
        return min(float(value), self.largest)  # rounding can give 100.00000000000001%

    def standard_error(self) -> float:
        """Return the jackknife standard error over speakers (Quenouille 1956, Tukey 1958).

        It compares the statistic with its values without one of the speakers. Without a speaker who has many of the
        utterances, the statistic changes most; so the error is right also if speakers have very different numbers of
        utterances. A class that a single speaker has does not contribute: nothing shows how it varies.
        """
        numerator, denominator = self.numerators.sum(0), self.denominators.sum(0)
        residuals = self.numerators - divide(numerator, denominator) * self.denominators
        changes = divide(residuals, denominator - self.denominators) @ self.weights
        speakers = len(changes)
        return math.sqrt((speakers - 1) / speakers * float(changes @ changes))

    def quantile(self) -> float:
        """Return the 97.5% quantile of Student's t with N - 1 degrees of freedom, N the effective number of speakers.

        N = 1 / sum_i s_i^2, where s_i is the share of speaker i in the utterances, averaged over classes (Kish 1965).
        If all speakers have the same number of utterances, N is the number of speakers.
        """
        shares = divide(self.denominators, self.denominators.sum(0)) @ np.abs(self.weights)
        effective = float(shares.sum() ** 2 / (shares**2).sum())
        return float(student.ppf((1 + LEVEL) / 2, max(1.0, effective - 1)))

    def interval(self) -> Interval:
        """Return the value v of the statistic and its 95% interval over speakers.

        With the standard error e and the quantile q of Student's t, the interval is

        - for a percentage: Wilson's interval (1927) for a share of n answers, where n is chosen such that its standard
          error is e, and is at most the number of utterances. It stays between 0 and 100, and has a positive width if
          all answers are right;
        - for a difference of two systems: v ± q sqrt(e^2 + 2 u^2), where u is the effect of one answer. So the interval
          has a positive width if all answers are equal (Bonett & Price 2012, for independent utterances);
        - for the log-loss, whose distribution is skewed: from v / f to v f with f = exp(q e / v), that is, v ± q e on a
          logarithmic scale. If v is less than u (1 nat in one utterance), it is the interval of a difference, from 0.
          No bound exceeds the largest log-loss, -ln of the smallest posterior.

        tests/bench/interval_coverage.py simulates how often these intervals contain the true value.
        """
        value = self.value()
        if len(self.numerators) < FEWEST_SPEAKERS:
            return Interval(value, math.nan, math.nan)
        error, quantile = self.standard_error(), self.quantile()
        margin = quantile * math.hypot(error, math.sqrt(2) * self.steps.max())
        if self.is_difference:
            return Interval(value, max(value - margin, -self.largest), min(value + margin, self.largest))
        if self.largest < math.inf:
            return self._wilson(value, error, quantile)
        if value < self.steps.max():
            return Interval(value, 0.0, min(value + margin, _LARGEST_LOSS))
        distance = quantile * error / value  # on the logarithmic scale; too large for exp if it exceeds 709
        largest = max(value, _LARGEST_LOSS)
        return Interval(value, value * math.exp(-distance), value * math.exp(min(distance, math.log(largest / value))))

    def minus(self, other: "Ratios") -> "Ratios":
        """Return this statistic minus another one of the same speakers, in the same order; classes may differ."""
        return Ratios(
            np.concatenate([self.numerators, other.numerators], axis=1),
            np.concatenate([self.denominators, other.denominators], axis=1),
            np.concatenate([self.weights, -other.weights]),
            np.concatenate([self.steps, other.steps]),
            self.largest,
            is_difference=True,
        )

    def among(self, rows: np.ndarray, speakers: int) -> "Ratios":
        """See Statistic.among."""
        numerators, denominators = np.zeros((2, speakers, len(self.weights)))
        numerators[rows], denominators[rows] = self.numerators, self.denominators
        return replace(self, numerators=numerators, denominators=denominators)

    def exchanged(self, other: "Ratios", signs: np.ndarray) -> np.ndarray:
        """See Statistic.exchanged."""
        columns = math.lcm(len(self.weights), len(other.weights))
        weights = np.tile(self.weights, columns // len(self.weights)) * len(self.weights) / columns
        middles, changes = [], []
        for part in ("numerators", "denominators"):
            first, second = (np.tile(getattr(system, part), columns // len(system.weights)) for system in (self, other))
            middles.append((first + second).sum(0) / 2)
            changes.append(signs @ (first - second) / 2)
        first, second = (
            divide(middles[0] + side * changes[0], middles[1] + side * changes[1]) @ weights for side in (1, -1)
        )
        return first - second

    def _wilson(self, value: float, error: float, quantile: float) -> Interval:
        """Return Wilson's interval: the shares whose distance from `value` is at most `quantile` standard errors."""
        share = value / self.largest
        utterances = self.largest / float(self.steps.mean())
        variance = (error / self.largest) ** 2
        answers = min(utterances, share * (1 - share) / variance) if variance > 0 else utterances
        prior = quantile**2 / answers
        middle = (share + prior / 2) / (1 + prior)
        margin = math.sqrt(prior * max(0.0, share * (1 - share)) + prior**2 / 4) / (1 + prior)
        low, high = (self.largest * min(max(bound, 0.0), 1.0) for bound in (middle - margin, middle + margin))
        return Interval(value, min(low, value), max(high, value))


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return numerator / denominator, and 0 where the denominator is 0 (up to rounding)."""
    return numerator / np.where(denominator > 1e-9, denominator, np.inf)
