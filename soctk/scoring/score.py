"""The scores of experiments, from their predictions alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from soctk.corpus import datadir
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.scoring import metrics, predictions
from soctk.scoring.metrics import METRICS
from soctk.scoring.predictions import Predictions
from soctk.scoring.resampling import STATISTICS, Interval, count
from soctk.scoring.subgroups import Slice, slices

# What a run is scored by; the first three in %.
COLUMNS = (*METRICS, "log_loss", "ECE")


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation; the latter is NaN of a single value."""

    mean: float
    sd: float


# Stands behind the name of an experiment whose predictions take unlabelled recordings of the test speakers.
RECENTRED = "†"


@dataclass(frozen=True)
class ExperimentScores:
    """The scores of one experiment.

    Attributes:
        name: its directory, relative to the one that was scored.
        predictions: what was scored.
        data: the corpus, where its data directory is at hand.
        runs: a row for each fold and seed: fold, seed, utterances, WA, UA, F1 (in %), log_loss (nats), ECE (in %).
        pooled: by metric, the value over all utterances, averaged over seeds, and its interval over speakers.
        per_class: precision, recall, F1 (in %) and utterances of each class, all folds and seeds together.
        confusion: utterances of each class (rows) taken for each (columns), averaged over seeds.
        slices: the scores of parts of the utterances.
    """

    name: str
    predictions: Predictions
    data: DataDir | None
    runs: pd.DataFrame
    pooled: Mapping[str, Interval]
    per_class: pd.DataFrame
    confusion: pd.DataFrame
    slices: list[Slice]

    @property
    def folds(self) -> pd.DataFrame:
        """A row a fold, indexed by it: utterances, and each metric averaged over seeds."""
        return self.runs.groupby("fold")[["utterances", *COLUMNS]].mean().astype({"utterances": int})

    @property
    def seeds(self) -> list[int]:
        """The seeds, sorted."""
        return self.predictions.seeds

    @property
    def protocol(self) -> str:
        """How validation utterances were chosen; "unknown" without a config.yaml."""
        return self.predictions.settings.get("protocol", "unknown")

    @property
    def head(self) -> str:
        """The classifier's name; "unknown" without a config.yaml."""
        return self.predictions.settings.get("head", {}).get("name", "unknown")

    def over_folds(self) -> dict[str, Spread]:
        """Return each metric's spread over folds, a fold's value being its mean over seeds."""
        return _spread(self.folds)

    def over_seeds(self) -> dict[str, Spread]:
        """Return each metric's spread over seeds, a seed's value being its mean over folds."""
        return _spread(self.runs.groupby("seed")[list(COLUMNS)].mean())

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it, NaN as None."""
        settings = self.predictions.settings
        return _without_nan(
            {
                "protocol": self.protocol,
                "head": self.head,
                "features": settings.get("features"),
                "pooling": settings.get("pooling"),
                "made_with": self.predictions.made_with,
                "seeds_left_out": self.predictions.left_out,
                "runs": self.runs.to_dict("records"),
                "over_folds": {metric: vars(spread) for metric, spread in self.over_folds().items()},
                "over_seeds": {metric: vars(spread) for metric, spread in self.over_seeds().items()},
                "pooled": {metric: interval._asdict() for metric, interval in self.pooled.items()},
                "per_class": self.per_class.to_dict("index"),
                "confusion": self.confusion.to_dict("index"),
                "slices": [
                    {**vars(part), "scores": {metric: i._asdict() for metric, i in part.scores.items()}}
                    for part in self.slices
                ],
            }
        )


def score(exps: Iterable[Path], data: Path | None = None) -> list[ExperimentScores]:
    """Score every `EXPERIMENT/foldK/seedS/predictions.tsv` below the directories `exps`, at any depth.

    Args:
        exps: the directories; an experiment below two of them is scored once.
        data: the data directory of all of them; by default each experiment's own, where it still is.

    Raises:
        SoctkError: there is none below one of them, two experiments have the same name, or the predictions of one are
            malformed, incomplete, inconsistent or leaking (soctk.scoring.predictions).
    """
    found: dict[Path, tuple[str, Mapping]] = {}
    for exp in exps:
        for path, runs in predictions.find(exp).items():
            found.setdefault(path, (_name(path, exp), runs))
    _check_names_differ(found)
    corpora: dict[Path, DataDir] = {}
    return [
        _score_experiment(name, predictions.read(path, runs), data, corpora) for path, (name, runs) in found.items()
    ]


def _name(path: Path, exp: Path) -> str:
    exp = exp.resolve()
    is_below = path != exp and path.is_relative_to(exp)
    return path.relative_to(exp).as_posix() if is_below else path.name


def _check_names_differ(found: Mapping[Path, tuple[str, Mapping]]) -> None:
    first: dict[str, Path] = {}
    for path, (name, _) in found.items():
        if first.setdefault(name, path) != path:
            raise SoctkError(
                f"two experiments are called {name}, the other is {first[name]}",
                remedy="Rename one, or give a directory that both are below.",
                where=path,
            )


def _checked_corpus(found: Predictions, given: Path | None, corpora: dict[Path, DataDir]) -> DataDir | None:
    """Return the corpus that the predictions are of and agree with, each read once; None if it is not at hand."""
    path = predictions.data_directory(found, given)
    if path is None:
        return None
    if path not in corpora:
        corpora[path] = datadir.read(path, recordings=False)
    predictions.check_against(found, corpora[path])
    return corpora[path]


def _score_experiment(
    name: str, found: Predictions, given: Path | None, corpora: dict[Path, DataDir]
) -> ExperimentScores:
    data = _checked_corpus(found, given, corpora)
    table, posteriors = found.table, found.posteriors
    reference, hypothesis = table["ref"].to_numpy(), table["hyp"].to_numpy()
    runs = [
        {"fold": fold, "seed": seed, "utterances": len(rows)}
        | metrics.accuracies(reference[rows], hypothesis[rows])
        | metrics.probabilistic(reference[rows], posteriors[rows])
        for (fold, seed), rows in table.groupby(["fold", "seed"]).indices.items()
    ]
    (counts,) = count(found)
    return ExperimentScores(
        name=name if found.settings.get("recentre", {}).get("by", "none") == "none" else f"{name} {RECENTRED}",
        predictions=found,
        data=data,
        runs=pd.DataFrame(runs).sort_values(["fold", "seed"], ignore_index=True),
        pooled={metric: statistic(counts).interval() for metric, statistic in STATISTICS.items()},
        per_class=metrics.per_class(reference, hypothesis, found.emotions).assign(
            utterances=lambda table: table["utterances"] // len(found.seeds)
        ),
        confusion=metrics.confusion(reference, hypothesis, found.emotions) / len(found.seeds),
        slices=slices(found, data),
    )


def _spread(table: pd.DataFrame) -> dict[str, Spread]:
    return {metric: Spread(table[metric].mean(), table[metric].std(ddof=1)) for metric in COLUMNS}


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    if hasattr(value, "item"):  # a number of numpy
        value = value.item()
    return None if value != value else value
