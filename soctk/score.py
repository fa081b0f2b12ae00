"""Metrics from predictions alone: WA, UA and macro-F1, a fold, a seed, and over them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from sklearn.metrics import accuracy_score, f1_score, recall_score

from soctk.config import read_yaml
from soctk.errors import SoctkError

METRICS = ("WA", "UA", "F1")
_COLUMNS = ["utt", "spk", "ref", "hyp"]
_RUN = re.compile(r"fold(\d+)/seed(\d+)/predictions\.tsv")


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation; the latter is NaN of a single value."""

    mean: float
    sd: float


@dataclass(frozen=True)
class ExperimentScores:
    """The scores of one experiment.

    Attributes:
        name: its directory, relative to the one that was scored.
        protocol: how validation utterances were chosen, from its config.yaml; "unknown" without one.
        runs: a row for each fold and seed: fold, seed, utterances, WA, UA, F1 (in %).
    """

    name: str
    protocol: str
    runs: pd.DataFrame

    @property
    def folds(self) -> pd.DataFrame:
        """A row a fold, indexed by it: utterances, and each metric averaged over seeds."""
        return self.runs.groupby("fold")[["utterances", *METRICS]].mean().astype({"utterances": int})

    @property
    def seeds(self) -> list[int]:
        """The seeds, sorted."""
        return sorted(self.runs["seed"].unique().tolist())

    def over_folds(self) -> dict[str, Spread]:
        """Return each metric's spread over folds, a fold's value being its mean over seeds."""
        return _spread(self.folds)

    def over_seeds(self) -> dict[str, Spread]:
        """Return each metric's spread over seeds, a seed's value being its mean over folds."""
        return _spread(self.runs.groupby("seed")[list(METRICS)].mean())


def metrics(predictions: pd.DataFrame) -> dict[str, float]:
    """Return the metrics, in %, of a table with the columns ref and hyp.

    WA is accuracy over utterances; UA the mean of the recalls of the classes that occur in ref; F1 the mean of the
    F1 scores of those classes. They are EmoBox's definitions (arXiv 2406.07162).
    """
    reference, hypothesis = predictions["ref"], predictions["hyp"]
    classes = {"labels": sorted(reference.unique()), "average": "macro", "zero_division": 0}
    return {
        "WA": 100 * accuracy_score(reference, hypothesis),
        "UA": 100 * recall_score(reference, hypothesis, **classes),
        "F1": 100 * f1_score(reference, hypothesis, **classes),
    }


def score(exp: Path) -> list[ExperimentScores]:
    """Score every `EXPERIMENT/foldK/seedS/predictions.tsv` below `exp`, at any depth.

    Raises:
        SoctkError: there is none, one is malformed, the seeds of an experiment cover different folds, or an utterance
            is tested in two folds.
    """
    runs: dict[Path, dict[tuple[int, int], Path]] = {}
    for path in sorted(exp.rglob("predictions.tsv")):
        match = _RUN.search(path.as_posix())
        if match and "fold" in path.parts[-3]:
            runs.setdefault(path.parents[2], {})[int(match[1]), int(match[2])] = path
    if not runs:
        raise SoctkError(
            "no EXPERIMENT/foldK/seedS/predictions.tsv below it",
            remedy="Train first (stage 2, soctk-train).",
            where=exp,
        )
    return [_score_experiment(path, exp, files) for path, files in runs.items()]


def read_predictions(path: Path) -> pd.DataFrame:
    """Read a predictions.tsv: utt, spk, ref, hyp, and a posterior column for each emotion.

    Raises:
        SoctkError: it is no such table, an utterance stands there twice, or a class has no posterior column.
    """
    remedy = "Remove the run's directory and train it again."
    try:
        table = pd.read_csv(path, sep="\t", dtype=dict.fromkeys(_COLUMNS, str), keep_default_na=False)
    except (OSError, ValueError) as error:
        raise SoctkError(f"not a table ({error})", remedy=remedy, where=path) from error
    if list(table.columns[:4]) != _COLUMNS or table.empty:
        raise SoctkError(f"the columns are not {', '.join(_COLUMNS)} and the emotions", remedy=remedy, where=path)
    unknown = (set(table["ref"]) | set(table["hyp"])) - set(table.columns[4:])
    if unknown:
        raise SoctkError(f"no posterior column for {', '.join(sorted(unknown))}", remedy=remedy, where=path)
    twice = table["utt"][table["utt"].duplicated()]
    if len(twice):
        raise SoctkError(
            f"{len(twice)} utterances stand there twice, such as {twice.iloc[0]}", remedy=remedy, where=path
        )
    return table


def _score_experiment(path: Path, exp: Path, files: Mapping[tuple[int, int], Path]) -> ExperimentScores:
    tables = {run: read_predictions(file) for run, file in files.items()}
    _check_runs_fit_together(path, tables)
    runs = [
        {"fold": fold, "seed": seed, "utterances": len(table), **metrics(table)}
        for (fold, seed), table in tables.items()
    ]
    config = next(iter(files.values())).with_name("config.yaml")
    protocol = read_yaml(config).get("protocol", "unknown") if config.exists() else "unknown"
    name = path.relative_to(exp).as_posix() if path != exp else path.resolve().name
    return ExperimentScores(name, protocol, pd.DataFrame(runs).sort_values(["fold", "seed"], ignore_index=True))


def _check_runs_fit_together(path: Path, tables: Mapping[tuple[int, int], pd.DataFrame]) -> None:
    folds_of: dict[int, set[int]] = {}
    for fold, seed in tables:
        folds_of.setdefault(seed, set()).add(fold)
    if len({frozenset(folds) for folds in folds_of.values()}) > 1:
        described = "; ".join(f"seed {seed} has folds {sorted(folds)}" for seed, folds in sorted(folds_of.items()))
        raise SoctkError(
            f"its seeds cover different folds, so their means do not compare: {described}",
            remedy="Train the missing ones (stage 2 with the same --folds and --seeds), or remove the others.",
            where=path,
        )
    for seed in folds_of:
        fold_of: dict[str, int] = {}
        for (fold, its_seed), table in tables.items():
            if its_seed != seed:
                continue
            for utt in table["utt"]:
                if utt in fold_of:
                    raise SoctkError(
                        f"{utt} is tested in folds {fold_of[utt]} and {fold}",
                        remedy="Folds must be disjoint: remove the experiment and train it again.",
                        where=path,
                    )
                fold_of[utt] = fold


def _spread(table: pd.DataFrame) -> dict[str, Spread]:
    return {metric: Spread(table[metric].mean(), table[metric].std(ddof=1)) for metric in METRICS}
