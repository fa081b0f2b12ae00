"""The fits of the inner cross-validation that chooses C for the linear head; runs share equal fits."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

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
    """The predictions from the inner fits of several runs.

    Attributes:
        inputs: the corpus.
        config: the settings of the head.
        predictions: fit -> C -> predictions `(N, K)` for N utterances (linear.predictions).
    """

    inputs: TrainingData
    config: LinearConfig
    predictions: Mapping[InnerFit, dict[float, np.ndarray]]

    @classmethod
    def compute(
        cls, inputs: TrainingData, config: LinearConfig, runs: Sequence[tuple[Split, int]], nj: int, device: str
    ) -> "InnerFits":
        """Do each distinct inner fit of the runs once, for each C that its runs need.

        Under the protocol soctk the fit without folds k and l serves both: run k scores fold l with it, and run l
        scores fold k. Runs with different seeds share fits, unless the seed draws the utterances for re-centring.

        If the C with the lowest loss of a run is at the edge of the values, more values are fitted for this run
        (soctk.training.linear.beyond). The result of a run therefore does not depend on the other runs.

        Args:
            inputs: the corpus.
            config: the settings of the head.
            runs: the split and the seed of each run.
            nj: how many fits are done at a time.
            device: `cpu` or `cuda`; it determines how workers are started.
        """
        fits = cls(inputs, config, defaultdict(dict))
        while True:
            # Values that are fitted together are those of one run: each fit starts from the weights of the previous C.
            missing = dict.fromkeys(pair for split, seed in runs for pair in fits._evaluate(split, seed)[1])
            if not missing:
                return fits
            jobs = [partial(_fit, inputs, config, fit, values) for fit, values in missing]
            for fit, by_C in progress.track(parallel.run(jobs, nj, device), "choose C", "fit", len(jobs)):
                fits.predictions[fit].update(by_C)

    def records(self, split: Split, seed: int) -> list[dict[str, Any]]:
        """Return the records of a run (`linear.scores`), for the values of C in the settings and those beyond them."""
        return self._evaluate(split, seed)[0]

    def _evaluate(
        self, split: Split, seed: int
    ) -> tuple[list[dict[str, Any]], list[tuple[InnerFit, tuple[float, ...]]]]:
        """Return the records of a run, and the fits to do next, each with its values of C."""
        fits = [(_inner_fit(self.inputs, fitted, seed), scored) for fitted, scored in self.inputs.inner_splits(split)]
        values: list[float] = []
        records: list[dict[str, Any]] = []
        more = sorted(set(self.config.C))
        while more:
            missing = [(fit, tuple(more)) for fit, _ in fits if not self.predictions[fit].keys() >= set(more)]
            if missing:
                return records, missing
            values = sorted([*values, *more])
            pairs = [(scored, np.stack([self.predictions[fit][C] for C in values])) for fit, scored in fits]
            records = linear.scores(self.inputs.target, pairs, values)
            more = linear.beyond(records, self.config)
        return records, []


def _inner_fit(inputs: TrainingData, fitted: Sequence[int], seed: int) -> InnerFit:
    options = inputs.config.recentre
    is_drawn = options.by != "none" and options.enrol != "all"
    return InnerFit(seed if is_drawn else 0, tuple(fitted))


def _fit(
    inputs: TrainingData, config: LinearConfig, fit: InnerFit, values: tuple[float, ...]
) -> tuple[InnerFit, dict[float, np.ndarray]]:
    rows, recentring = inputs.with_copies(fit.fitted), inputs.recentring(fit.seed)
    config = config.model_copy(update={"C": list(values)})
    predicted = linear.predictions(
        inputs.blocks.values(), inputs.target, rows, config, inputs.copies, recentring, inputs.tested
    )
    return fit, dict(zip(values, predicted, strict=True))
