"""WA, UA, macro-F1 and log-loss as ratios of sums over speakers, which intervals and tests need."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from soctk.scoring import metrics
from soctk.scoring.intervals import Ratios
from soctk.scoring.predictions import Predictions


@dataclass(frozen=True)
class Counts:
    """The counts of S speakers, K classes and M seeds, from which the scores are computed.

    Attributes:
        references: `(S, K)`, the number of utterances of each class.
        right: `(M, S, K)`, the number of utterances of each class that were classified correctly.
        answers: `(M, S, K)`, the number of utterances that were classified as each class.
        log_loss: `(S,)`, the sum over utterances of -ln of the posterior of the reference class, averaged over seeds.
        annotated: for distributions, cross_entropy and JSD -> their sums over utterances, averaged over seeds, `(S,)`.
    """

    references: np.ndarray
    right: np.ndarray
    answers: np.ndarray
    log_loss: np.ndarray
    annotated: Mapping[str, np.ndarray] = field(default_factory=dict)


def count(predictions: Predictions, codes: np.ndarray | None = None, values: int = 1) -> Iterator[Counts]:
    """Count the answers of each speaker, separately for each value of an attribute.

    Memory is proportional to the number of utterances, times classes and seeds, for any number of speakers and values.

    Args:
        predictions: the predictions of an experiment.
        codes: the value of the attribute for each row of `predictions.table`, as an index below `values`; by default
            all rows have the value 0.
        values: the number of values of the attribute.

    Yields:
        The counts for each value, of the speakers that have utterances with this value, sorted.
    """
    table = predictions.table
    speaker, names = predictions.speakers
    keys = speaker if codes is None else codes * len(names) + speaker
    pairs, pair = np.unique(keys, return_inverse=True)  # the pairs of value and speaker that occur, and each row's pair
    seeds, seed = np.unique(table["seed"].to_numpy(), return_inverse=True)
    shape = (len(seeds), len(pairs), len(predictions.emotions))
    reference, hypothesis = table["ref"].to_numpy(), table["hyp"].to_numpy()
    right = reference == hypothesis
    references, answers = (_tally((seed, pair, chosen), shape) for chosen in (reference, hypothesis))
    correct = _tally((seed[right], pair[right], reference[right]), shape)
    losses = {"log_loss": metrics.log_losses(reference, predictions.posteriors)}
    if predictions.shares.size:
        losses |= metrics.annotated(predictions.shares, predictions.posteriors)
    means = {name: np.bincount(pair, values, minlength=len(pairs)) / len(seeds) for name, values in losses.items()}
    log_loss = means.pop("log_loss")
    bounds = np.searchsorted(pairs, np.arange(values + 1) * len(names))
    for start, stop in pairwise(bounds):
        part = slice(start, stop)
        annotated = {name: sums[part] for name, sums in means.items()}
        yield Counts(references[0, part], correct[:, part], answers[:, part], log_loss[part], annotated)


def accuracy(counts: Counts) -> Ratios:
    """Return WA, the share of correct answers, in %; the mean over seeds."""
    utterances = counts.references.sum(1, keepdims=True)
    right = counts.right.mean(0).sum(1, keepdims=True)
    return Ratios(right, utterances, np.array([100.0]), 100 / utterances.sum(0), largest=100)


def mean_recall(counts: Counts) -> Ratios:
    """Return UA, the mean recall over the classes with references, in %; the mean over seeds."""
    occurs = counts.references.sum(0) > 0
    references, weights = counts.references[:, occurs], np.full(occurs.sum(), 100 / occurs.sum())
    return Ratios(counts.right.mean(0)[:, occurs], references, weights, weights / references.sum(0), largest=100)


def macro_f1(counts: Counts) -> Ratios:
    """Return macro-F1 in %: the mean over seeds and over the classes with references of F1.

    F1 = TP / (half the sum of references and answers of the class). Its ratios are those of each class and seed.
    """
    occurs = counts.references.sum(0) > 0
    references, seeds = counts.references[:, occurs], len(counts.right)
    right, answers = (
        part[:, :, occurs].transpose(1, 0, 2).reshape(len(references), -1) for part in (counts.right, counts.answers)
    )
    weights = np.full(right.shape[1], 100 / right.shape[1])
    steps = 100 / occurs.sum() / references.sum(0)
    return Ratios(right, (np.tile(references, seeds) + answers) / 2, weights, steps, largest=100)


def log_loss(counts: Counts) -> Ratios:
    """Return the mean log-loss in nats; the mean over seeds."""
    return _mean(counts.log_loss, counts)


def cross_entropy(counts: Counts) -> Ratios:
    """Return the mean cross-entropy with the annotators' distributions, in nats; the mean over seeds."""
    return _mean(counts.annotated["cross_entropy"], counts)


def divergence(counts: Counts) -> Ratios:
    """Return the mean Jensen-Shannon divergence from the annotators' distributions, in bits; the mean over seeds."""
    return _mean(counts.annotated["JSD"], counts)


STATISTICS: dict[str, Callable[[Counts], Ratios]] = {
    "WA": accuracy,
    "UA": mean_recall,
    "F1": macro_f1,
    "log_loss": log_loss,
}
# For annotators' distributions, besides STATISTICS.
DISTRIBUTION_STATISTICS = {"cross_entropy": cross_entropy, "JSD": divergence}


def _mean(sums: np.ndarray, counts: Counts) -> Ratios:
    """Return the mean over utterances of a loss, given its sums over the utterances of each speaker, `(S,)`."""
    utterances = counts.references.sum(1, keepdims=True)
    return Ratios(sums[:, None], utterances, np.ones(1), 1 / utterances.sum(0))


def _tally(indices: tuple[np.ndarray, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of a shape that has in each cell how often its index occurs among the indices."""
    return np.bincount(np.ravel_multi_index(indices, shape), minlength=np.prod(shape)).reshape(shape)
