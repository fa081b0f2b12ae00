"""Predictions for disturbed test recordings (soctk-robustness): their place, and their scores beside the clean ones."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from soctk.corpus import disturbance
from soctk.corpus.disturbance import CLEAN, Condition, of_folder
from soctk.errors import SoctkError
from soctk.mappings import read_yaml
from soctk.scoring import prediction_file, scales
from soctk.scoring.intervals import Interval
from soctk.scoring.predictions import Predictions
from soctk.scoring.runs import RunDirectory
from soctk.scoring.score import ExperimentScores

FOLDER = "robustness"
_RUN = "run"


@dataclass(frozen=True)
class Answers:
    """The directory with the predictions of one run under one condition; it appears when it is complete.

    The file has another name than the predictions of a run, so that soctk-score does not take it for a run.

    Attributes:
        run: the run.
        condition: the condition.
    """

    run: RunDirectory
    condition: Condition

    @property
    def path(self) -> Path:
        """`EXPERIMENT/robustness/CONDITION/foldK/seedS`."""
        return self.run.experiment / FOLDER / self.condition.folder / str(self.run)

    @property
    def predictions(self) -> Path:
        """The predictions (soctk.scoring.prediction_file)."""
        return self.path / "answers.tsv"

    @property
    def config(self) -> Path:
        """What the predictions were made from: the model of the run, and the condition."""
        return self.path / "config.yaml"

    def settings(self, noise_digest: str = "") -> dict[str, object]:
        """Return what determines the predictions, for config.yaml."""
        own = {"noise": noise_digest} if self.condition.kind == disturbance.OWN_NOISE else {}
        return {"condition": self.condition.name, "version": disturbance.VERSION, _RUN: version(self.run), **own}

    def check(self, noise_digest: str | None = None) -> None:
        """Check that existing predictions were made by this version of the run and of the condition.

        Args:
            noise_digest: the digest of the noise recordings; None if it is not compared.

        Raises:
            SoctkError: they were not.
        """
        stored = read_yaml(self.config)
        expected = self.settings(stored.get("noise", "") if noise_digest is None else noise_digest)
        reasons = {
            _RUN: f"{self.run} was trained again since",
            "version": "another version of soctk made them",
            "noise": "the recordings in --noise are other ones",
            "condition": "they are of another condition",
        }
        different = {key: reason for key, reason in reasons.items() if stored.get(key) != expected.get(key)}
        if different:
            outdated = self.run.experiment / FOLDER if _RUN in different else self.path.parents[1]
            raise SoctkError(
                f"these predictions do not belong to the present runs: {'; '.join(different.values())}",
                remedy=f"Remove {outdated}, and run soctk-robustness again.",
                where=self.path,
            )


def version(run: RunDirectory) -> str:
    """Return the digest of a run: of its weights and its predictions."""
    parts = [_digest(path, path.stat().st_mtime_ns) for path in (run.weights, run.predictions) if path.is_file()]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


@cache
def _digest(path: Path, modified: int) -> str:
    """Return the digest of a file; it is cached for all conditions, until the file is modified."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Row:
    """The scores under one condition.

    Attributes:
        condition: the condition.
        scores: the key of a score -> its value over all utterances, averaged over seeds, and its interval.
        changes: the key of a score -> its value minus that of `clean`, and the interval of this paired difference.
    """

    condition: Condition
    scores: Mapping[str, Interval]
    changes: Mapping[str, Interval]


@dataclass(frozen=True)
class Robustness:
    """The scores of an experiment, or of one of its tests, under all conditions that were tested.

    Attributes:
        experiment: the experiment.
        folds: the folds that were tested.
        rows: a row for each condition, `clean` first.
    """

    experiment: ExperimentScores
    folds: Sequence[int]
    rows: Sequence[Row]

    @property
    def main(self) -> list[str]:
        """The keys of the main scores: WA, or CCC of each dimension."""
        scale = self.experiment.scale
        return [scales.key(scale.compared[0], part) for part in scale.parts]


def runs(
    experiments: Iterable[ExperimentScores], folds: Collection[int] = (), seeds: Collection[int] = ()
) -> list[RunDirectory]:
    """Return the runs of experiments.

    Args:
        experiments: the experiments; several tests of one experiment have the same runs.
        folds: the folds of the runs; by default all.
        seeds: the seeds of the runs; by default all.

    Raises:
        SoctkError: an experiment has no run of one of the folds or seeds.
    """
    found = []
    for path, predictions in {e.predictions.path: e.predictions for e in experiments}.items():
        for option, chosen, known in (("--folds", folds, predictions.folds), ("--seeds", seeds, predictions.seeds)):
            unknown = sorted(set(chosen) - set(known))
            if unknown:
                raise SoctkError(
                    f"the experiment has no finished runs with {option} {' '.join(map(str, unknown))}",
                    remedy=f"Choose from {' '.join(map(str, known))}.",
                    where=path,
                )
        for fold in sorted(folds) or predictions.folds:
            found += [RunDirectory(path, fold, seed) for seed in sorted(seeds) or predictions.seeds]
    return found


def conditions(experiment: Path) -> list[Condition]:
    """Return the conditions that have predictions of at least one run, in the order of tables."""
    folder = experiment / FOLDER
    found = [of_folder(path.name) for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted((condition for condition in found if condition), key=lambda condition: condition.place)


def read(experiment: ExperimentScores, folds: Collection[int] = (), seeds: Collection[int] = ()) -> Robustness | None:
    """Return the scores under each condition that has predictions of all runs; None if `clean` has not.

    Args:
        experiment: the experiment.
        folds: the folds to score; by default all.
        seeds: the seeds to score; by default all.

    Raises:
        SoctkError: predictions are damaged, or do not belong to the runs as they are now.
    """
    clean, tested = _chosen(experiment.predictions, folds, seeds), runs([experiment], folds, seeds)
    statistics = {}
    for condition in conditions(clean.path):
        if all(Answers(run, condition).path.is_dir() for run in tested):
            (group,) = scales.groups(_with_answers(clean, tested, condition))
            statistics[condition] = group.statistics
    reference = statistics.get(Condition(CLEAN))
    if reference is None:
        return None
    rows = [
        Row(
            condition,
            {key: statistic.interval() for key, statistic in of_condition.items()},
            {key: statistic.minus(reference[key]).interval() for key, statistic in of_condition.items()},
        )
        for condition, of_condition in statistics.items()
    ]
    return Robustness(experiment, clean.folds, rows)


def _chosen(predictions: Predictions, folds: Collection[int], seeds: Collection[int]) -> Predictions:
    """Return the predictions of some folds and seeds; of all where none are given."""
    is_chosen = np.ones(len(predictions.table), bool)
    for column, values in (("fold", folds), ("seed", seeds)):
        if values:
            is_chosen &= predictions.table[column].isin(values).to_numpy()
    return replace(
        predictions,
        table=predictions.table[is_chosen].reset_index(drop=True),
        posteriors=predictions.posteriors[is_chosen],
        shares=predictions.shares[is_chosen],
    )


def _with_answers(clean: Predictions, runs: Sequence[RunDirectory], condition: Condition) -> Predictions:
    """Return the predictions of runs for the disturbed recordings."""
    table, posteriors = clean.table.copy(), clean.posteriors.copy()
    labels = [column for column in table.columns if column == "spk" or column.startswith("ref")]
    for run in runs:
        answers = Answers(run, condition)
        answers.check()
        found = prediction_file.read_run(answers.predictions)
        rows = np.flatnonzero((table["fold"] == run.fold) & (table["seed"] == run.seed))
        places = found.table.set_index("utt").index.get_indexer(pd.Index(table["utt"].iloc[rows]))
        if (places < 0).any() or not np.array_equal(
            found.table[labels].to_numpy()[places], table[labels].to_numpy()[rows]
        ):
            raise SoctkError(
                "its utterances, speakers or labels are not those of the run",
                remedy="Remove its directory, and run soctk-robustness again.",
                where=answers.predictions,
            )
        for column in table.columns[table.columns.str.startswith("hyp")]:
            table.loc[rows, column] = found.table[column].to_numpy()[places]
        posteriors[rows] = found.posteriors[places]
    if clean.emotions:
        posteriors /= posteriors.sum(axis=1, keepdims=True)
    return replace(clean, table=table, posteriors=posteriors)
