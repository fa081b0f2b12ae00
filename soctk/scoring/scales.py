"""What predictions are scored by: the metrics of classes, of distributions over classes, or of dimensions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from soctk.scoring import dimensions, metrics
from soctk.scoring.dimensions import Moments
from soctk.scoring.intervals import Statistic
from soctk.scoring.predictions import Predictions
from soctk.scoring.statistics import DISTRIBUTION_STATISTICS, STATISTICS, count


@dataclass(frozen=True)
class Scale:
    """The metrics of an experiment.

    Attributes:
        parts: the dimensions, each of which has all metrics; for classes one part without a name.
        compared: the metrics by which experiments are compared.
        others: the other metrics.
    """

    parts: tuple[str, ...]
    compared: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics of a part."""
        return (*self.compared, *self.others)

    @property
    def columns(self) -> tuple[str, ...]:
        """The keys of all scores."""
        return tuple(key(metric, part) for part in self.parts for metric in self.metrics)

    @property
    def main(self) -> str:
        """The key of the score that stands for the experiment where there is room for one."""
        return key(self.compared[0], self.parts[0])


@dataclass(frozen=True)
class Group:
    """The statistics of some utterances.

    Attributes:
        utterances: their number.
        speakers: the number of their speakers.
        statistics: the key of a score -> its statistic over these speakers.
    """

    utterances: int
    speakers: int
    statistics: Mapping[str, Statistic]


def key(metric: str, part: str) -> str:
    """Return the key of a score in tables and scores.json, such as WA or CCC_arousal."""
    return f"{metric}_{part}" if part else metric


def scale(predictions: Predictions) -> Scale:
    """Return the metrics of predictions."""
    if predictions.dimensions:
        return Scale(predictions.dimensions, tuple(metrics.DIMENSIONAL), ())
    distributed = tuple(DISTRIBUTION_STATISTICS) if predictions.shares.size else ()
    return Scale(("",), metrics.METRICS, ("log_loss", "ECE", *distributed))


def measure(predictions: Predictions, rows: np.ndarray) -> dict[str, float]:
    """Return all scores of some rows of `predictions.table`, without intervals."""
    table = predictions.table
    if predictions.dimensions:
        scores: dict[str, float] = {}
        for name in predictions.dimensions:
            reference, predicted = (table[f"{kind}_{name}"].to_numpy()[rows] for kind in ("ref", "hyp"))
            scores |= {key(metric, name): value for metric, value in metrics.dimensional(reference, predicted).items()}
        return scores
    reference, posteriors = table["ref"].to_numpy()[rows], predictions.posteriors[rows]
    scores = metrics.accuracies(reference, table["hyp"].to_numpy()[rows])
    scores |= metrics.probabilistic(reference, posteriors)
    if predictions.shares.size:
        means = metrics.annotated(predictions.shares[rows], posteriors)
        scores |= {name: float(values.mean()) for name, values in means.items()}
    return scores


def groups(predictions: Predictions, codes: np.ndarray | None = None, values: int = 1) -> Iterator[Group]:
    """Yield the statistics for each value of an attribute.

    Args:
        predictions: the predictions of an experiment.
        codes: the value of the attribute for each row of `predictions.table`, as an index below `values`; by default
            all rows have the value 0.
        values: the number of values of the attribute.
    """
    if predictions.dimensions:
        by_name = [dimensions.moments(predictions, name, codes, values) for name in predictions.dimensions]
        for parts in zip(*by_name, strict=True):
            of_group: dict[str, Statistic] = {
                key(metric, name): Moments(sums, metric)
                for name, sums in zip(predictions.dimensions, parts, strict=True)
                for metric in metrics.DIMENSIONAL
            }
            yield Group(int(parts[0][0, :, 0].sum()), parts[0].shape[1], of_group)
        return
    functions = STATISTICS | (DISTRIBUTION_STATISTICS if predictions.shares.size else {})
    for counts in count(predictions, codes, values):
        of_classes: dict[str, Statistic] = {name: statistic(counts) for name, statistic in functions.items()}
        yield Group(int(counts.references.sum()), len(counts.references), of_classes)
