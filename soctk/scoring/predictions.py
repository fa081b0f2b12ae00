"""The predictions of an experiment: read from its runs, and checked to be whole, consistent and free of leaks."""

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ValidationError

from soctk.config import OF_ONE_RUN
from soctk.corpus import recordings
from soctk.corpus.datadir import PREDICTION_COLUMNS, DataDir
from soctk.errors import SoctkError, listing
from soctk.mappings import differences, read_yaml

_RUN = re.compile(r"fold(\d+)/seed(\d+)/predictions\.tsv")
_KEY = ("utt", "spk", "ref")
_AGAIN = "Remove the run's directory and train it again."
# Posteriors are written with six decimals; what is further off than that is no posterior.
_ROUNDING = 1e-4


class _Recorded(BaseModel):
    """What reports read of a run's config.yaml, each part if it is there; soctk.config has what the settings mean."""

    class _Features(BaseModel, strict=True):
        upstream: str = ""
        layers: list[int] = []
        num_layers: int = 0
        speeds: list[float] = []

    class _Frames(BaseModel, strict=True):
        layers: Literal["all"] | list[int] = "all"
        speeds: Literal["all"] | list[float] = "all"

    class _Head(BaseModel, strict=True):
        name: str = ""

    class _Recentre(BaseModel, strict=True):
        by: str = ""

    protocol: str = ""
    features: _Features = _Features()
    frames: _Frames = _Frames()
    pooling: dict[str, Any] = {}
    recentre: _Recentre = _Recentre()
    head: _Head = _Head()
    made_with: dict[str, Any] = {}
    made_from: dict[str, str] = {}


@dataclass(frozen=True)
class Predictions:
    """All predictions of one experiment: a row for each utterance, fold and seed.

    Attributes:
        path: the experiment's directory.
        emotions: the classes, in the order of the posterior columns.
        table: the columns fold, seed, utt, spk, and ref and hyp as indices of `emotions`.
        posteriors: `(len(table), len(emotions))`; each row adds up to 1.
        settings: the config.yaml that its runs share, less what is of one run; empty without one.
        made_with: versions, commit and device of the runs, each combination once.
        made_from: the data directory (`data`) and the feature store (`features`) that the runs name, if they do.
        left_out: seeds that lack folds which other seeds have, so that their means would not compare.
    """

    path: Path
    emotions: tuple[str, ...]
    table: pd.DataFrame
    posteriors: np.ndarray
    settings: Mapping[str, Any]
    made_with: list[str]
    made_from: Mapping[str, Path]
    left_out: list[int]

    @property
    def folds(self) -> list[int]:
        """The folds, sorted."""
        return sorted(self.table["fold"].unique().tolist())

    @property
    def seeds(self) -> list[int]:
        """The seeds, sorted."""
        return sorted(self.table["seed"].unique().tolist())

    @cached_property
    def speakers(self) -> tuple[np.ndarray, list[str]]:
        """For each row the index of its speaker in the sorted speakers, and these."""
        codes, names = pd.factorize(self.table["spk"], sort=True)
        return codes, list(names)

    @cached_property
    def utterances(self) -> pd.DataFrame:
        """A row an utterance: fold, utt, spk and ref, sorted by fold and utt."""
        first = self.table[self.table["seed"] == self.seeds[0]]
        return first[["fold", *_KEY]].sort_values(["fold", "utt"], ignore_index=True)


def find(exp: Path) -> dict[Path, dict[tuple[int, int], Path]]:
    """Return the runs below `exp`, at any depth: experiment -> (fold, seed) -> predictions.tsv.

    Links are followed; an experiment that is there more than once, by links, is found once.

    Raises:
        SoctkError: there is none.
    """
    runs: dict[Path, dict[tuple[int, int], Path]] = {}
    for path in recordings.below(exp.resolve()):
        match = _RUN.fullmatch("/".join(path.parts[-3:]))
        if match:
            runs.setdefault(path.parents[2], {})[int(match[1]), int(match[2])] = path
    if not runs:
        raise SoctkError(
            "no EXPERIMENT/foldK/seedS/predictions.tsv below it",
            remedy="Train first (stage 2, soctk-train).",
            where=exp,
        )
    # The last of each is kept, and that is the experiment itself where it is not a link alone that leads to it.
    ways = {experiment.resolve(): experiment for experiment in sorted(runs, key=lambda way: way == way.resolve())}
    return {experiment: runs[experiment] for experiment in sorted(ways.values())}


def read(path: Path, runs: Mapping[tuple[int, int], Path]) -> Predictions:
    """Read the runs, (fold, seed) -> predictions.tsv, of the experiment at `path`, and check them.

    Raises:
        SoctkError: a file is malformed; the runs are of different settings or emotions; no seed has all the folds; an
            utterance is tested in two folds or is missing from a seed; a speaker is tested in two folds, and so has
            trained for each of them.
    """
    left_out = _incomplete_seeds(path, runs)
    files = {run: file for run, file in sorted(runs.items()) if run[1] not in left_out}
    tables = {run: read_run(file) for run, file in files.items()}
    emotions = _emotions(path, tables)
    _check_seeds_agree(path, tables)
    first = next(iter(files))[1]
    _check_folds_are_disjoint(path, {fold: table for (fold, seed), table in tables.items() if seed == first})
    settings, made_with, made_from = _configurations(path, files)
    table = pd.concat(
        [_indexed(tables.pop(run), emotions).assign(fold=run[0], seed=run[1]) for run in files], ignore_index=True
    )
    posteriors = table[list(emotions)].to_numpy()
    return Predictions(
        path=path,
        emotions=emotions,
        table=table[["fold", "seed", *PREDICTION_COLUMNS]],
        posteriors=posteriors / posteriors.sum(axis=1, keepdims=True),
        settings=settings,
        made_with=made_with,
        made_from=made_from,
        left_out=left_out,
    )


def read_run(path: Path) -> pd.DataFrame:
    """Read a predictions.tsv: utt, spk, ref, hyp, and a posterior column for each emotion.

    Raises:
        SoctkError: it is no such table, an utterance stands there twice, a class has no posterior column, a row's
            posteriors are none, or its hyp is not the class of the highest.
    """
    try:
        text = dict.fromkeys(PREDICTION_COLUMNS, str)
        table = pd.read_csv(path, sep="\t", dtype=text, keep_default_na=False, quoting=csv.QUOTE_NONE)
    except (OSError, ValueError) as error:
        raise SoctkError(f"not a table ({error})", remedy=_AGAIN, where=path) from error
    emotions = list(table.columns[4:])
    if tuple(table.columns[:4]) != PREDICTION_COLUMNS or table.empty:
        raise SoctkError(
            f"the columns are not {', '.join(PREDICTION_COLUMNS)} and the emotions", remedy=_AGAIN, where=path
        )
    unknown = {*table["ref"].unique(), *table["hyp"].unique()}.difference(emotions)
    if unknown:
        raise SoctkError(f"no posterior column for {', '.join(sorted(unknown))}", remedy=_AGAIN, where=path)
    twice = table["utt"][table["utt"].duplicated()]
    if len(twice):
        raise SoctkError(
            f"{len(twice)} utterances stand there twice, such as {twice.iloc[0]}", remedy=_AGAIN, where=path
        )
    _check_posteriors(path, table, emotions)
    return table


def check_against(predictions: Predictions, data: DataDir) -> None:
    """Hold the predictions against the corpus that they are of.

    Raises:
        SoctkError: it has other labels, speakers or folds than the one trained on; a fold lacks utterances of its
            speakers, or tests a speaker who trains for it.
    """
    if "data" in predictions.settings and predictions.settings["data"] != data.checksum():
        raise SoctkError(
            f"{data.path} has other labels, speakers or folds than the data directory it was trained on",
            remedy="Give the one that it was trained on (--data), or train again.",
            where=predictions.path,
        )
    tested = predictions.utterances
    fold_of = tested["spk"].map(data.fold)
    leaks = tested[fold_of != tested["fold"]]
    if len(leaks):
        utt, speaker, fold = leaks.iloc[0][["utt", "spk", "fold"]]
        raise SoctkError(
            f"{leaks['spk'].nunique()} speakers are tested in a fold that they train for: {utt} of {speaker} in fold "
            f"{fold}, while {data.path} has {speaker} in {_fold_or_none(data, speaker)}",
            remedy="Its scores are not those of unknown speakers: remove the experiment and train it again.",
            where=predictions.path,
        )
    there = set(data.utterances_of(predictions.folds))
    here = set(tested["utt"].tolist())
    missing, unknown = sorted(there - here), sorted(here - there)
    for what, utterances in (("are missing", missing), ("are not in the data directory", unknown)):
        if utterances:
            raise SoctkError(
                f"{len(utterances)} utterances {what}\n{listing(utterances, at_most=5)}",
                remedy="Scores of different utterances do not compare: remove the experiment and train it again.",
                where=predictions.path,
            )


def data_directory(predictions: Predictions, given: Path | None = None) -> Path | None:
    """Return the data directory that is given, or else the one that the runs name; None if that is gone."""
    named = predictions.made_from.get("data")
    return given or (named if named and named.is_dir() else None)


def _fold_or_none(data: DataDir, speaker: str) -> str:
    return f"fold {data.fold[speaker]}" if speaker in data.fold else "no fold"


def _check_posteriors(path: Path, table: pd.DataFrame, emotions: list[str]) -> None:
    try:
        posteriors = table[emotions].to_numpy(dtype=np.float64)
    except ValueError as error:
        raise SoctkError(f"a posterior is no number ({error})", remedy=_AGAIN, where=path) from error
    chosen = posteriors[np.arange(len(table)), pd.Index(emotions).get_indexer(table["hyp"])]
    total = posteriors.sum(axis=1)
    faults = {
        "has posteriors that are not between 0 and 1, or do not add up to 1": ~(
            (posteriors.min(axis=1) >= 0) & (np.abs(total - 1) < _ROUNDING)
        ),
        "has a hyp that is not the class of the highest posterior": chosen < posteriors.max(axis=1) - _ROUNDING,
    }
    for fault, rows in faults.items():
        if rows.any():
            raise SoctkError(f"{table['utt'][rows.argmax()]} {fault}", remedy=_AGAIN, where=path)


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


def _emotions(path: Path, tables: Mapping[tuple[int, int], pd.DataFrame]) -> tuple[str, ...]:
    kinds = {tuple(table.columns[4:]) for table in tables.values()}
    if len(kinds) > 1:
        described = "; ".join(", ".join(kind) for kind in sorted(kinds))
        raise SoctkError(
            f"its runs are of different emotions: {described}",
            remedy="Keep them in experiments of their own (--tag).",
            where=path,
        )
    return kinds.pop()


def _check_folds_are_disjoint(path: Path, tables: Mapping[int, pd.DataFrame]) -> None:
    remedy = "Folds must be disjoint: remove the experiment and train it again."
    for column, fault in (("utt", ""), ("spk", ", and so has trained for both")):
        fold_of: dict[str, int] = {}
        for fold, table in tables.items():
            for name in table[column].unique().tolist():
                other = fold_of.setdefault(name, fold)
                if other != fold:
                    raise SoctkError(f"{name} is tested in folds {other} and {fold}{fault}", remedy=remedy, where=path)


def _check_seeds_agree(path: Path, tables: Mapping[tuple[int, int], pd.DataFrame]) -> None:
    first: dict[int, tuple[int, pd.DataFrame]] = {}
    for (fold, seed), table in tables.items():
        key = table[list(_KEY)]
        other_seed, other = first.setdefault(fold, (seed, key))
        if key.equals(other) or _ordered(key).equals(_ordered(other)):
            continue
        missing = sorted(set(key["utt"]) ^ set(other["utt"]))
        what = f"{len(missing)} utterances are missing from one of them, such as {missing[0]}" if missing else "labels"
        raise SoctkError(
            f"seeds {other_seed} and {seed} of fold {fold} differ in what they test: {what}",
            remedy="Remove the incomplete run's directory and train it again.",
            where=path,
        )


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values("utt", ignore_index=True)


def _configurations(
    path: Path, files: Mapping[tuple[int, int], Path]
) -> tuple[dict[str, Any], list[str], dict[str, Path]]:
    configs = [file.with_name("config.yaml") for file in files.values()]
    settings, made_with, made_from = {}, set(), {}
    for config in filter(Path.exists, configs):
        content = _read_config(config)
        shared = {key: value for key, value in content.items() if key not in OF_ONE_RUN}
        lines = differences(settings or shared, shared)
        if lines:
            raise SoctkError(
                f"its runs are of different settings\n{listing(line.replace(' asked for', ' here') for line in lines)}",
                remedy="Keep them in experiments of their own (--tag).",
                where=path,
            )
        settings = shared
        if "made_with" in content:
            made_with.add(", ".join(f"{k} {v}" for k, v in content["made_with"].items()))
        made_from = {key: (config.parent / value).resolve() for key, value in content.get("made_from", {}).items()}
    return settings, sorted(made_with), made_from


def _read_config(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    try:
        _Recorded.model_validate(content)
    except ValidationError as error:
        keys = dict.fromkeys(".".join(map(str, problem["loc"][:2])) for problem in error.errors())
        raise SoctkError(f"damaged at {', '.join(keys)}", remedy=_AGAIN, where=path) from error
    return content


def _indexed(table: pd.DataFrame, emotions: tuple[str, ...]) -> pd.DataFrame:
    index = pd.Index(emotions)
    return table.assign(ref=index.get_indexer(table["ref"]), hyp=index.get_indexer(table["hyp"]))


def used_layers(settings: Mapping[str, Any]) -> list[int]:
    """Return the hidden states that an experiment with these settings used; none if they do not tell."""
    layers = settings.get("frames", {}).get("layers", "all")
    return settings.get("features", {}).get("layers", []) if layers == "all" else layers


def used_speeds(settings: Mapping[str, Any]) -> list[float]:
    """Return the speeds of the copies (soctk.features.speed) that an experiment with these settings used beside recordings."""
    speeds = settings.get("frames", {}).get("speeds", [])
    return settings.get("features", {}).get("speeds", []) if speeds == "all" else speeds
