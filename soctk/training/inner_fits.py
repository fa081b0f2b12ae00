"""The fits of the inner cross-validation that chooses a candidate and C for the linear head; runs share equal fits."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from soctk import parallel, progress
from soctk.corpus.splits import Split
from soctk.schema import LinearConfig
from soctk.training import linear
from soctk.training.candidates import Candidate
from soctk.training.coordinates import values_of_each
from soctk.training.training_data import TrainingData


class InnerFit(NamedTuple):
    """An inner fit, by the seed and the utterances that determine its result.

    Attributes:
        seed: the seed that draws utterances for re-centring; 0 if no utterances are drawn.
        fitted: the indices of the utterances to fit on.
    """

    seed: int
    fitted: tuple[int, ...]


class Chosen(NamedTuple):
    """The choice of a run: a candidate (soctk.training.candidates), and the C of the head."""

    candidate: Candidate
    C: float


# Values of C to fit together for one candidate; each fit starts from the weights of the previous C.
Path = tuple[Candidate, tuple[float, ...]]


@dataclass(frozen=True)
class InnerFits:
    """The predictions from the inner fits of several runs.

    Attributes:
        inputs: the corpus.
        config: the settings of the head.
        predictions: fit -> (candidate, C) -> predictions `(N, K)` for N utterances (linear.predictions).
    """

    inputs: TrainingData
    config: LinearConfig
    predictions: Mapping[InnerFit, dict[tuple[Candidate, float], np.ndarray]]

    @classmethod
    def compute(
        cls, inputs: TrainingData, config: LinearConfig, runs: Sequence[tuple[Split, int]], nj: int, device: str
    ) -> "InnerFits":
        """Do each distinct inner fit of the runs once, for each candidate and each C that its runs need.

        Under the protocol soctk the fit without folds k and l serves both: run k scores fold l with it, and run l
        scores fold k. Runs with different seeds share fits, unless the seed draws the utterances for re-centring.

        If the C with the lowest loss of a run and a candidate is at the edge of the values, more values are fitted for
        this run (soctk.training.linear.beyond). The result of a run therefore does not depend on the other runs.

        Args:
            inputs: the corpus.
            config: the settings of the head.
            runs: the split and the seed of each run.
            nj: how many fits are done at a time.
            device: `cpu` or `cuda`; it determines how workers are started.
        """
        fits = cls(inputs, config, defaultdict(dict))
        while missing := fits._missing(runs):
            jobs = [partial(_fit, inputs, config, fit, list(paths)) for fit, paths in missing.items()]
            for fit, predicted in progress.track(parallel.run(jobs, nj, device), "choose C", "fit", len(jobs)):
                fits.predictions[fit].update(predicted)
        return fits

    def records(self, split: Split, seed: int) -> list[dict[str, Any]]:
        """Return the records of a run, for each candidate and for the values of C in the settings and beyond them.

        A record has C and the validation scores (`linear.scores`), and the keys of its candidate (Candidate.record) if
        there are several.
        """
        pairs = self._scored(split, seed)
        is_choice = len(self.inputs.candidates) > 1
        return [{**(candidate.record() if is_choice else {}), **record} for candidate, record in pairs]

    def choose(self, split: Split, seed: int) -> Chosen:
        """Return the candidate and the C of a run with the lowest validation loss; of equal ones, the first record."""
        candidate, record = min(self._scored(split, seed), key=lambda pair: pair[1]["valid_loss"])
        return Chosen(candidate, record["C"])

    def _scored(self, split: Split, seed: int) -> list[tuple[Candidate, dict[str, Any]]]:
        candidates = self.inputs.candidates
        return [(candidate, record) for candidate in candidates for record in self._evaluate(candidate, split, seed)[0]]

    def _missing(self, runs: Sequence[tuple[Split, int]]) -> dict[InnerFit, dict[Path, None]]:
        """Return the fits to do next, each with its paths; a path is that of one run."""
        missing: dict[InnerFit, dict[Path, None]] = defaultdict(dict)
        for split, seed in runs:
            for candidate in self.inputs.candidates:
                _, fits, values = self._evaluate(candidate, split, seed)
                for fit in fits:
                    missing[fit][candidate, values] = None
        return missing

    def _evaluate(
        self, candidate: Candidate, split: Split, seed: int
    ) -> tuple[list[dict[str, Any]], list[InnerFit], tuple[float, ...]]:
        """Return the records of a run for a candidate; and the fits to do next, with their values of C."""
        fits = [(_inner_fit(self.inputs, fitted, seed), scored) for fitted, scored in self.inputs.inner_splits(split)]
        values: list[float] = []
        records: list[dict[str, Any]] = []
        more = sorted(set(self.config.C))
        while more:
            needed = {(candidate, C) for C in more}
            missing = [fit for fit, _ in fits if not self.predictions[fit].keys() >= needed]
            if missing:
                return records, missing, tuple(more)
            values = sorted([*values, *more])
            pairs = [(scored, np.stack([self.predictions[fit][candidate, C] for C in values])) for fit, scored in fits]
            records = linear.scores(self.inputs.target, pairs, values)
            more = linear.beyond(records, self.config)
        return records, [], ()


def _inner_fit(inputs: TrainingData, fitted: Sequence[int], seed: int) -> InnerFit:
    options = inputs.config.recentre
    is_drawn = options.by != "none" and options.enrol != "all"
    return InnerFit(seed if is_drawn else 0, tuple(fitted))


def _fit(
    inputs: TrainingData, config: LinearConfig, fit: InnerFit, paths: Sequence[Path]
) -> tuple[InnerFit, dict[tuple[Candidate, float], np.ndarray]]:
    rows, recentring = inputs.with_copies(fit.fitted), inputs.recentring(fit.seed)
    candidates = list(dict.fromkeys(candidate for candidate, _ in paths))
    predicted: dict[tuple[Candidate, float], np.ndarray] = {}
    with threadpool_limits(1):
        each = values_of_each(inputs.blocks, [candidate.keys for candidate in candidates], rows, recentring)
        for candidate, values in zip(candidates, each, strict=True):
            for Cs in [Cs for other, Cs in paths if other == candidate]:
                path = config.model_copy(update={"C": list(Cs)})
                by_C = linear.predictions(
                    values, inputs.target, rows, path, inputs.copies, inputs.tested, inputs.device
                )
                predicted |= {(candidate, C): own for C, own in zip(Cs, by_C, strict=True)}
    return fit, predicted
