"""Speaker re-centring: every speaker's descriptors relative to that speaker's own mean, from unlabelled recordings.

Descriptors of second order are logarithms, in a flat space, so that their mean is the log-Euclidean mean. The speaker
is a large part of what descriptors differ in; taking the mean away takes out what all recordings of a speaker share.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Recentring:
    """What is taken away from the descriptors of each utterance: means of its speaker's, as weights on utterances.

    Speakers whose utterances are fitted on have their mean over all of these and their other utterances. Any other
    speaker s has m_s = (n x_s + r mu) / (n + r): x_s the mean over the n utterances enrolled, mu that over the means of
    the fitted speakers, r the relevance (maximum a posteriori adaptation, Reynolds et al. 2000); without utterances it
    is mu.

    Attributes:
        speakers: of each of N utterances.
        enrolled: for each utterance, whether it may serve to estimate the mean of a speaker who is not fitted on.
        relevance: r.
    """

    speakers: np.ndarray
    enrolled: np.ndarray
    relevance: float

    @classmethod
    def of(cls, speakers: Sequence[str], enrol: int | None, relevance: float, seed: int) -> "Recentring":
        """Enrol `enrol` utterances of each speaker, drawn at random since ids may tell emotions; None enrols all."""
        names, indices = np.unique(speakers, return_inverse=True)
        enrolled = np.zeros(len(indices), dtype=bool)
        random = np.random.default_rng(seed)
        for speaker in range(len(names)):
            own = np.flatnonzero(indices == speaker)
            enrolled[own if enrol is None else random.permutation(own)[:enrol]] = True
        return cls(indices, enrolled, relevance)

    def with_copies(self, count: int) -> "Recentring":
        """Return that of N utterances and `count` copies of each: of a speaker, those alike are another speaker's."""
        first = (self.speakers.max() + 1) * np.arange(1 + count)
        speakers = (self.speakers + first[:, None]).reshape(-1)
        return Recentring(speakers, np.tile(self.enrolled, 1 + count), self.relevance)

    def without_means(self, values: np.ndarray, fitted: Sequence[int]) -> np.ndarray:
        """Return values `(N, P)`, a row an utterance, less the means of their speakers."""
        return values - self.means(values, fitted)[self.speakers]

    def means(self, values: np.ndarray, fitted: Sequence[int]) -> np.ndarray:
        """Return the means `(speakers, P)` of values `(N, P)`, in their type."""
        return self._averages(fitted).astype(values.dtype) @ values

    def transposed(self, weights: np.ndarray, fitted: Sequence[int]) -> np.ndarray:
        """Return V with V values = W without_means(values), for weights W `(K, N)` on re-centred utterances."""
        per_speaker = np.zeros((len(weights), self.speakers.max() + 1))
        np.add.at(per_speaker.T, self.speakers, weights.T)
        return weights - per_speaker @ self._averages(fitted)

    def _averages(self, fitted: Sequence[int]) -> np.ndarray:
        """Return the weights `(speakers, N)` of utterances in the means of speakers."""
        own = self.speakers == np.arange(self.speakers.max() + 1)[:, None]
        known = own[:, fitted].any(1)
        of_all = own / own.sum(1, keepdims=True)
        prior = of_all[known].mean(0)
        count = (own & self.enrolled).sum(1, keepdims=True)
        strength = np.where(count > 0, count / np.maximum(count + self.relevance, 1e-12), 0)
        adapted = strength * (own & self.enrolled) / np.maximum(count, 1) + (1 - strength) * prior
        return np.where(known[:, None], of_all, adapted)
