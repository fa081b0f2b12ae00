"""The fits of the inner cross-validation that chooses C for the linear head; runs share equal fits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from soctk import parallel, progress
from soctk.corpus.splits import Split
from soctk.schema import LinearConfig
from soctk.training import linear
from soctk.training.training_data import TrainingData


class InnerFit(NamedTuple):
    """An inner fit, by the seed and the utterances that determine its result.

    Attributes:
        seed: the seed that draws utterances for re-centring; 0 if no utterances are drawn.
        fitted: the indices of the utterances to fit on.
    """

    seed: int
    fitted: tuple[int, ...]


@dataclass(frozen=True)
class InnerFits:
    """The posteriors from the inner fits of several runs.

    Attributes:
        inputs: the corpus.
        posteriors: fit -> posteriors `(C, N, K)`, for N utterances and K classes, averaged over the copies of
            each utterance.
    """

    inputs: TrainingData
    posteriors: Mapping[InnerFit, np.ndarray]

    @classmethod
    def compute(
        cls, inputs: TrainingData, config: LinearConfig, runs: Iterable[tuple[int, int]], nj: int, device: str
    ) -> "InnerFits":
        """Do each distinct inner fit of the runs once.

        Under the protocol soctk the fit without folds k and l serves both: run k scores fold l with it, and run l
        scores fold k. Runs with different seeds share fits, unless the seed draws the utterances for re-centring.

        Args:
            inputs: the corpus.
            config: the settings of the head.
            runs: the (fold, seed) of each run.
            nj: how many fits are done at a time.
            device: `cpu` or `cuda`; it determines how workers are started.
        """
        fits = {
            _inner_fit(inputs, fitted, seed): None
            for fold, seed in runs
            for fitted, _ in inputs.inner_splits(inputs.split(fold, seed))
        }
        jobs = [partial(_fit, inputs, config, fit) for fit in fits]
        results = progress.track(parallel.run(jobs, nj, device), "choose C", "fit", len(jobs))
        return cls(inputs, dict(results))

    def for_run(self, split: Split, seed: int) -> list[tuple[list[int], np.ndarray]]:
        """Return pairs for `linear.scores`: validation utterances, and the posteriors of a fit on other utterances."""
        return [
            (scored, self.posteriors[_inner_fit(self.inputs, fitted, seed)])
            for fitted, scored in self.inputs.inner_splits(split)
        ]


def _inner_fit(inputs: TrainingData, fitted: Sequence[int], seed: int) -> InnerFit:
    options = inputs.config.recentre
    is_drawn = options.by != "none" and options.enrol != "all"
    return InnerFit(seed if is_drawn else 0, tuple(fitted))


def _fit(inputs: TrainingData, config: LinearConfig, fit: InnerFit) -> tuple[InnerFit, np.ndarray]:
    rows, classes = inputs.with_copies(fit.fitted), len(inputs.data.emotions)
    posteriors = linear.posteriors(inputs.blocks, inputs.labels, rows, config, classes, inputs.recentring(fit.seed))
    by_copy = posteriors.reshape(len(posteriors), -1, len(inputs.data.utterances), classes)
    return fit, by_copy.mean(1)
