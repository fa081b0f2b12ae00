"""Speaker re-centring: descriptors minus the mean of their speaker, estimated from unlabelled recordings.

Speakers account for much of the variance of descriptors; subtracting the speaker's mean removes the part that all
recordings of the speaker share. The mean of matrix logarithms is the log-Euclidean mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Recentring:
    """Computes the mean descriptor of each speaker, and subtracts it from the speaker's utterances.

    The mean of a training speaker is taken over all of the speaker's utterances. The mean of another speaker s is
    m_s = (n x_s + r mu) / (n + r), where x_s is the mean over the speaker's n enrolled utterances, mu is the mean of
    the training speakers' means, and r is the relevance (maximum a posteriori adaptation, Reynolds et al. 2000). With
    n = 0, m_s = mu.

    Attributes:
        speakers: the index of the speaker of each utterance, `(N,)`.
        enrolled: whether each utterance contributes to the mean of its speaker, `(N,)`; not used for training speakers.
        relevance: the relevance r.
        num_prior: the means of this many speakers, from the first, give mu if they are training speakers; None for all.
    """

    speakers: np.ndarray
    enrolled: np.ndarray
    relevance: float
    num_prior: int | None = None

    @classmethod
    def of(cls, speakers: Sequence[str], enrol: int | None, relevance: float, seed: int) -> "Recentring":
        """Enrol utterances of each speaker.

        Args:
            speakers: the speaker of each utterance.
            enrol: how many utterances of each speaker to draw; None for all. The draw is random, because the order of
                ids could reveal emotions.
            relevance: the relevance r.
            seed: the seed of the draw.
        """
        names, indices = np.unique(speakers, return_inverse=True)
        enrolled = np.zeros(len(indices), dtype=bool)
        random = np.random.default_rng(seed)
        for speaker in range(len(names)):
            own = np.flatnonzero(indices == speaker)
            enrolled[own if enrol is None else random.permutation(own)[:enrol]] = True
        return cls(indices, enrolled, relevance)

    def with_copies(self, count: int, augmented: int = 0) -> "Recentring":
        """Return the re-centring of N utterances and all their copies; each copy of a speaker is a new speaker.

        Copies at another speed have another mean, so each speed of a speaker counts as a separate speaker; so do
        augmented copies. Speakers are tested without augmentation, so mu is a mean over the other copies.

        Args:
            count: the number of copies of each utterance at other speeds.
            augmented: the number of augmented copies of each utterance, after those.
        """
        copies, size = 1 + count + augmented, self.speakers.max() + 1
        speakers = (self.speakers + size * np.arange(copies)[:, None]).reshape(-1)
        return Recentring(speakers, np.tile(self.enrolled, copies), self.relevance, (1 + count) * size)

    def without_means(self, values: np.ndarray, fitted: Sequence[int]) -> np.ndarray:
        """Return values `(N, P)` minus the means of their speakers.

        Args:
            values: one row per utterance.
            fitted: the training utterances; their speakers are the training speakers.
        """
        return values - self.means(values, fitted)[self.speakers]

    def means(self, values: np.ndarray, fitted: Sequence[int]) -> np.ndarray:
        """Return the means `(speakers, P)` of values `(N, P)`, in the dtype of the values."""
        return self._averages(fitted).astype(values.dtype) @ values

    def prior(self, fitted: Sequence[int]) -> np.ndarray:
        """Return the weights `(1, N)` on the N utterances that give mu: the mean of the means of training speakers."""
        is_training = np.isin(np.arange(self.speakers.max() + 1), self.speakers[list(fitted)])
        return self._mean_of_prior(self._averages(fitted), is_training)[None]

    def transposed(self, weights: np.ndarray, fitted: Sequence[int]) -> np.ndarray:
        """Return V `(K, N)` such that V @ values = W @ without_means(values), for weights W `(K, N)`."""
        per_speaker = np.zeros((len(weights), self.speakers.max() + 1))
        np.add.at(per_speaker.T, self.speakers, weights.T)
        return weights - per_speaker @ self._averages(fitted)

    def _averages(self, fitted: Sequence[int]) -> np.ndarray:
        """Return the weights `(speakers, N)` on the N utterances that give the mean of each speaker."""
        own = self.speakers == np.arange(self.speakers.max() + 1)[:, None]
        is_training = own[:, fitted].any(1)
        mean = own / own.sum(1, keepdims=True)
        prior = self._mean_of_prior(mean, is_training)
        count = (own & self.enrolled).sum(1, keepdims=True)
        strength = np.where(count > 0, count / np.maximum(count + self.relevance, 1e-12), 0)
        adapted = strength * (own & self.enrolled) / np.maximum(count, 1) + (1 - strength) * prior
        return np.where(is_training[:, None], mean, adapted)

    def _mean_of_prior(self, rows: np.ndarray, is_training: np.ndarray) -> np.ndarray:
        """Return the mean of the rows, one for each speaker, that give mu."""
        return rows[: self.num_prior][is_training[: self.num_prior]].mean(0)
