"""The scores of experiments, computed from their predictions alone."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from soctk import progress
from soctk.corpus import datadir, independence
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError, printable
from soctk.scoring import leaks, metrics, predictions, recorded, scales, suspects
from soctk.scoring.intervals import Interval
from soctk.scoring.predictions import Predictions
from soctk.scoring.runs import RunDirectory
from soctk.scoring.scales import Scale
from soctk.scoring.subgroups import Gap, Subgroup, gaps, subgroups
from soctk.scoring.suspects import Suspects


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation; the standard deviation of a single value is NaN."""

    mean: float
    sd: float


@dataclass(frozen=True)
class ExperimentScores:
    """The scores of one experiment.

    Attributes:
        name: the experiment's directory, relative to the scored directory, in printable characters; for one of several
            tests of a published partition followed by `/` and the name of the test.
        test: the name of the test, if the corpus has a published partition with several; else empty.
        is_recentred: whether the experiment uses unlabelled recordings of the test speakers (soctk.training.recentre).
            If so, its scores are not comparable with those of experiments without such recordings.
        predictions: the scored predictions.
        data: the corpus; None if its data directory is not available.
        shared_recordings: a sentence about recordings in both training and test data (soctk.scoring.leaks); or empty.
        speaker_overlap: why test speakers, or sound of test utterances, may be in the training data
            (soctk.corpus.independence); empty if they are not.
        scale: the metrics of the experiment.
        runs: a row for each fold and seed: fold, seed, utterances, and a column for each score (scale.columns).
        pooled: score -> value over the utterances of all folds together, averaged over seeds, and its interval over
            speakers (ECE has none).
        per_class: precision, recall and F1 (in %) of each class over all folds, averaged over seeds, and its number of
            utterances; without rows for dimensions.
        confusion: number of utterances of each class (rows) classified as each class (columns), averaged over seeds;
            empty for dimensions.
        subgroups: the scores of subgroups of the utterances.
        gaps: the differences between the subgroups with the highest and the lowest score.
    """

    name: str
    test: str
    is_recentred: bool
    predictions: Predictions
    data: DataDir | None
    shared_recordings: str
    speaker_overlap: str
    scale: Scale
    runs: pd.DataFrame
    pooled: Mapping[str, Interval]
    per_class: pd.DataFrame
    confusion: pd.DataFrame
    subgroups: list[Subgroup]
    gaps: list[Gap]

    @cached_property
    def folds(self) -> pd.DataFrame:
        """A row for each fold, indexed by fold: utterances, and each metric averaged over seeds."""
        return self.runs.groupby("fold")[["utterances", *self.scale.columns]].mean().astype({"utterances": int})

    @property
    def seeds(self) -> list[int]:
        """The seeds, sorted."""
        return self.predictions.seeds

    @property
    def corpus(self) -> Path | None:
        """The data directory, without links; None if it is not available."""
        return self.data.path.resolve() if self.data is not None and self.data.path is not None else None

    @cached_property
    def suspects(self) -> Suspects:
        """The likely wrong labels; not for dimensions."""
        return suspects.find(self.predictions)

    @property
    def protocol(self) -> str:
        """How validation utterances were chosen (soctk.corpus.splits); "unknown" without a config.yaml."""
        return self.predictions.settings.get("protocol", "unknown")

    @property
    def head(self) -> str:
        """The name of the classifier; "unknown" without a config.yaml, "chosen" if a nested choice has several."""
        default = "chosen" if self.nested_choice else "unknown"
        return self.predictions.settings.get("head", {}).get("name", default)

    @property
    def nested_choice(self) -> dict[str, list[str]]:
        """Point of a sweep -> the runs that chose it, for the experiment of a nested choice; empty for others."""
        return recorded.nested_choice(self.predictions.settings)

    def missing_classes(self) -> dict[int, list[str]]:
        """Return fold -> the classes without test utterances in this fold, for the folds that lack classes.

        UA and macro-F1 of such a fold are means over its other classes.
        """
        if not self.predictions.emotions:
            return {}
        tested, missing = self.predictions.utterances, {}
        for fold in self.predictions.folds:
            occurring = set(tested["ref"][tested["fold"] == fold].unique())
            missing[fold] = [name for i, name in enumerate(self.predictions.emotions) if i not in occurring]
        return {fold: names for fold, names in missing.items() if names}

    def over_folds(self) -> dict[str, Spread]:
        """Return the spread of each metric over folds, after averaging over seeds."""
        return _measure_spread(self.folds, self.scale.columns)

    def over_seeds(self) -> dict[str, Spread]:
        """Return the spread of each metric over seeds, after averaging over folds."""
        columns = self.scale.columns
        return _measure_spread(self.runs.groupby("seed")[list(columns)].mean(), columns)

    def as_dict(self) -> dict[str, Any]:
        """Return all scores as values that JSON can represent; NaN becomes None."""
        settings = self.predictions.settings
        return _as_json(
            {
                "protocol": self.protocol,
                "test": self.test,
                "is_recentred": self.is_recentred,
                "speaker_overlap": self.speaker_overlap,
                "head": self.head,
                "nested_choice": self.nested_choice,
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
                "missing_classes": self.missing_classes(),
                "subgroups": [
                    {**vars(group), "scores": {metric: i._asdict() for metric, i in group.scores.items()}}
                    for group in self.subgroups
                ],
                "gaps": [{**vars(gap), "difference": gap.difference._asdict()} for gap in self.gaps],
            }
        )


def score(exps: Iterable[Path], data: Path | None = None) -> list[ExperimentScores]:
    """Score every `EXPERIMENT/foldK/seedS/predictions.tsv` below the directories `exps`, at any depth.

    Args:
        exps: the directories; an experiment below two of them is scored once.
        data: the data directory of all experiments; by default each experiment's own, if it still exists.

    Raises:
        SoctkError: a directory contains no predictions, two experiments have the same name, or the predictions of an
            experiment are malformed, incomplete, inconsistent or leaking (soctk.scoring.predictions).
    """
    experiments: dict[Path, tuple[str, list[RunDirectory]]] = {}
    for exp in exps:
        for path, runs in predictions.find(exp).items():
            experiments.setdefault(path, (_derive_name(path, exp), runs))
    _check_names_differ({path: name for path, (name, _) in experiments.items()})
    corpora: dict[Path, DataDir] = {}
    scores: list[ExperimentScores] = []
    for number, (name, runs) in enumerate(experiments.values(), start=1):
        with progress.step(f"score experiment {number} of {len(experiments)}"):
            scores += _score_experiment(name, predictions.read(runs), data, corpora)
    return scores


def _derive_name(path: Path, exp: Path) -> str:
    exp = exp.resolve()
    is_below = path != exp and path.is_relative_to(exp)
    return printable(path.relative_to(exp).as_posix() if is_below else path.name)


def _check_names_differ(names: Mapping[Path, str]) -> None:
    first: dict[str, Path] = {}
    for path, name in names.items():
        other = first.setdefault(name, path)
        if other != path:
            raise SoctkError(
                f"two experiments have the name {name}; the other is {other}",
                remedy="Rename one, or give a directory that contains both.",
                where=path,
            )


def _read_corpus(scored: Predictions, given: Path | None, corpora: dict[Path, DataDir]) -> DataDir | None:
    """Return the corpus of the predictions, after checking that they agree; None if it is not available.

    `corpora` caches the data directories, so that each is read once.
    """
    path = predictions.data_directory(scored, given)
    if path is None:
        return None
    if path not in corpora:
        corpora[path] = datadir.read(path, recordings=False)
    predictions.check_against(scored, corpora[path])
    return corpora[path]


def _score_experiment(
    name: str, scored: Predictions, given: Path | None, corpora: dict[Path, DataDir]
) -> Iterator[ExperimentScores]:
    """Yield the scores of an experiment, for each test of a published partition if there are several."""
    data = _read_corpus(scored, given, corpora)
    shared_recordings = leaks.check(scored, data) if data else ""
    for test, part in scored.by_test().items():
        yield _score_part(f"{name}/{test}" if test else name, test, part, data, shared_recordings)


def _score_part(
    name: str, test: str, scored: Predictions, data: DataDir | None, shared_recordings: str
) -> ExperimentScores:
    table = scored.table
    runs = [
        {"fold": table["fold"].iloc[rows[0]], "seed": table["seed"].iloc[rows[0]], "utterances": len(rows)}
        | scales.measure(scored, np.asarray(rows))
        for rows in table.groupby(["fold", "seed"]).indices.values()
    ]
    per_class, confusion = _classes(scored)
    overlaps = [recorded.speaker_overlap(scored.settings, test)]
    overlaps += [independence.describe_shared_sound(data, test)] if data else []
    return ExperimentScores(
        name=name,
        test=test,
        is_recentred=recorded.is_recentred(scored.settings),
        predictions=scored,
        data=data,
        shared_recordings=shared_recordings,
        speaker_overlap="; ".join(filter(None, overlaps)),
        scale=scales.scale(scored),
        runs=pd.DataFrame(runs).sort_values(["fold", "seed"], ignore_index=True),
        pooled=_pool(scored),
        per_class=per_class,
        confusion=confusion,
        subgroups=subgroups(scored, data),
        gaps=gaps(scored, data),
    )


def _pool(scored: Predictions) -> dict[str, Interval]:
    """Return score -> value over all utterances, averaged over seeds, and its interval over speakers."""
    (group,) = scales.groups(scored)
    pooled = {name: statistic.interval() for name, statistic in group.statistics.items()}
    others = [name for name in scales.scale(scored).columns if name not in pooled]
    rows_of_seeds = scored.table.groupby("seed").indices.values() if others else []
    by_seed = [scales.measure(scored, np.asarray(rows)) for rows in rows_of_seeds]
    return pooled | {
        name: Interval(float(np.mean([scores[name] for scores in by_seed])), math.nan, math.nan) for name in others
    }


def _classes(scored: Predictions) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the scores of each class, and the confusion matrix, averaged over seeds."""
    if not scored.emotions:
        return pd.DataFrame(), pd.DataFrame()
    table = scored.table
    reference, hypothesis = table["ref"].to_numpy(), table["hyp"].to_numpy()
    by_seed = [
        metrics.per_class(reference[rows], hypothesis[rows], scored.emotions)
        for rows in table.groupby("seed").indices.values()
    ]
    per_class = sum(by_seed[1:], start=by_seed[0]) / len(by_seed)
    return per_class, metrics.confusion(reference, hypothesis, scored.emotions) / len(scored.seeds)


def _measure_spread(table: pd.DataFrame, columns: Iterable[str]) -> dict[str, Spread]:
    return {name: Spread(table[name].mean(), table[name].std(ddof=1)) for name in columns}


def _as_json(value: Any) -> Any:
    """Return a value as JSON can represent it; NaN and infinity become None, other types and keys become text."""
    if isinstance(value, Mapping):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
