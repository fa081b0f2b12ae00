"""Metrics from predictions alone: WA, UA and macro-F1, a fold, a seed, and over them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from sklearn.metrics import accuracy_score, f1_score, recall_score

from soctk.config import read_yaml
from soctk.datadir import PREDICTION_COLUMNS
from soctk.errors import SoctkError

METRICS = ("WA", "UA", "F1")
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
        head: the classifier's name, likewise.
        made_with: versions, commit and device of its runs, from their config.yaml, each combination once.
        runs: a row for each fold and seed: fold, seed, utterances, WA, UA, F1 (in %).
        left_out: seeds that lack folds which other seeds have, so that their means would not compare.
    """

    name: str
    protocol: str
    head: str
    made_with: list[str]
    runs: pd.DataFrame
    left_out: list[int]

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
        SoctkError: there is none, one is malformed, no seed of an experiment has all its folds, its runs are of
            different protocols, or an utterance is tested in two folds.
    """
    runs: dict[Path, dict[tuple[int, int], Path]] = {}
    for path in sorted(exp.rglob("predictions.tsv")):
        match = _RUN.fullmatch("/".join(path.parts[-3:]))
        if match:
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
        table = pd.read_csv(path, sep="\t", dtype=dict.fromkeys(PREDICTION_COLUMNS, str), keep_default_na=False)
    except (OSError, ValueError) as error:
        raise SoctkError(f"not a table ({error})", remedy=remedy, where=path) from error
    if tuple(table.columns[:4]) != PREDICTION_COLUMNS or table.empty:
        raise SoctkError(
            f"the columns are not {', '.join(PREDICTION_COLUMNS)} and the emotions", remedy=remedy, where=path
        )
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
    left_out = _incomplete_seeds(path, files)
    tables = {run: read_predictions(file) for run, file in files.items() if run[1] not in left_out}
    for seed in {seed for _, seed in tables}:
        _check_folds_are_disjoint(path, {fold: table for (fold, its), table in tables.items() if its == seed})
    runs = [
        {"fold": fold, "seed": seed, "utterances": len(table), **metrics(table)}
        for (fold, seed), table in tables.items()
    ]
    configs = [files[run].with_name("config.yaml") for run in tables]
    settings = [read_yaml(config) for config in configs if config.exists()]
    protocol = _the_one(path, "protocols", {config.get("protocol", "unknown") for config in settings})
    head = _the_one(path, "heads", {config.get("head", {}).get("name", "unknown") for config in settings})
    made_with = {", ".join(f"{k} {v}" for k, v in c["made_with"].items()) for c in settings if "made_with" in c}
    is_below = path != exp and path.is_relative_to(exp)
    name = path.relative_to(exp).as_posix() if is_below else path.resolve().name
    table = pd.DataFrame(runs).sort_values(["fold", "seed"], ignore_index=True)
    return ExperimentScores(name, protocol, head, sorted(made_with), table, left_out)


def _the_one(path: Path, what: str, values: set[str]) -> str:
    """Return the value that all runs of an experiment have; "unknown" where none has a config.yaml."""
    if len(values) > 1:
        raise SoctkError(
            f"its runs are of different {what}: {', '.join(sorted(values))}",
            remedy="Keep them in experiments of their own (--tag).",
            where=path,
        )
    return values.pop() if values else "unknown"


def _incomplete_seeds(path: Path, runs: Iterable[tuple[int, int]]) -> list[int]:
    folds_of: dict[int, set[int]] = {}
    for fold, seed in runs:
        folds_of.setdefault(seed, set()).add(fold)
    folds = set.union(*folds_of.values())
    incomplete = sorted(seed for seed in folds_of if folds_of[seed] != folds)
    if len(incomplete) == len(folds_of):
        described = "; ".join(f"seed {seed} has folds {sorted(folds_of[seed])}" for seed in incomplete)
        raise SoctkError(
            f"no seed has all the folds: {described}",
            remedy="Train the missing ones (stage 2 with the same --folds and --seeds), or remove the others.",
            where=path,
        )
    return incomplete


def _check_folds_are_disjoint(path: Path, tables: Mapping[int, pd.DataFrame]) -> None:
    fold_of: dict[str, int] = {}
    for fold, table in tables.items():
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
