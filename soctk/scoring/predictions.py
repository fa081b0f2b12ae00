"""The predictions of an experiment, read from its runs and checked for completeness, consistency and leaks."""

import csv
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from soctk.corpus import recordings
from soctk.corpus.datadir import PREDICTION_COLUMNS, DataDir
from soctk.errors import SoctkError, listing, printable
from soctk.scoring import recorded
from soctk.scoring.runs import RunDirectory

_KEY = ("utt", "spk", "ref")
_RETRAIN_RUN = "Remove the run's directory and train it again."
# predictions.tsv has six decimals; larger deviations are not due to rounding.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class RunPredictions:
    """The content of one predictions.tsv.

    The posteriors are an array and no columns of the table, so that an emotion may have the name of any column.

    Attributes:
        emotions: the classes, in the order of the posterior columns.
        table: the columns utt, spk, and ref and hyp as indices into `emotions`.
        posteriors: `(len(table), len(emotions))`; each row sums to 1 within the rounding of the file.
    """

    emotions: tuple[str, ...]
    table: pd.DataFrame
    posteriors: np.ndarray


@dataclass(frozen=True)
class Predictions:
    """All predictions of one experiment: a row for each utterance, fold and seed.

    Attributes:
        path: the experiment's directory.
        emotions: the classes, in the order of the posterior columns.
        table: the columns fold, seed, utt, spk, and ref and hyp as indices into `emotions`.
        posteriors: `(len(table), len(emotions))`; each row sums to 1.
        settings: the settings that all runs share (soctk.scoring.recorded); empty without config.yaml.
        made_with: the versions, commit and device of the runs; each distinct combination once.
        made_from: the data directory (`data`) and the feature store (`features`), if the runs recorded them.
        left_out: the seeds that were skipped because some of their folds are missing.
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
        """The index of the speaker of each row, and the sorted names of the speakers."""
        codes, names = pd.factorize(self.table["spk"], sort=True)
        return codes, list(names)

    @cached_property
    def utterances(self) -> pd.DataFrame:
        """A row for each utterance: fold, utt, spk and ref, sorted by fold and utt."""
        first = self.table[self.table["seed"] == self.seeds[0]]
        return first[["fold", *_KEY]].sort_values(["fold", "utt"], ignore_index=True)


def find(exp: Path) -> dict[Path, list[RunDirectory]]:
    """Return experiment directory -> its runs with predictions, for the experiments below `exp`, at any depth.

    Symbolic links are followed. An experiment that is reachable by several paths is returned once.

    Raises:
        SoctkError: no run has predictions.
    """
    runs: dict[Path, list[RunDirectory]] = {}
    for path in recordings.list_files(exp.resolve()):
        run = RunDirectory.parse(path.parent)
        if run is not None and path == run.predictions:
            runs.setdefault(run.experiment, []).append(run)
    if not runs:
        raise SoctkError(
            "no EXPERIMENT/foldK/seedS/predictions.tsv in this directory",
            remedy="Train first (stage 2, soctk-train).",
            where=exp,
        )
    # If several paths lead to one experiment, keep the path without links if it was found, otherwise the last one.
    paths = {experiment.resolve(): experiment for experiment in sorted(runs, key=lambda path: path == path.resolve())}
    return {experiment: sorted(runs[experiment]) for experiment in sorted(paths.values())}


def read(runs: Sequence[RunDirectory]) -> Predictions:
    """Read and check the predictions of the runs of one experiment; seeds with missing folds are left out.

    Raises:
        SoctkError: a file is malformed; runs differ in settings or emotions; every seed lacks a fold; an utterance is
            tested in two folds or is missing from a seed; a speaker is tested in two folds, and therefore was in the
            training data of both.
    """
    experiment = runs[0].experiment
    left_out = _find_incomplete_seeds(experiment, runs)
    kept = sorted(run for run in runs if run.seed not in left_out)
    contents = {run: read_run(run.predictions) for run in kept}
    emotions = _get_shared_emotions(experiment, contents.values())
    tables = {run: content.table for run, content in contents.items()}
    _check_seeds_agree(experiment, tables)
    _check_folds_are_disjoint(experiment, {run.fold: tables[run] for run in kept if run.seed == kept[0].seed})
    shared = recorded.read(kept)
    table = pd.concat([tables[run].assign(fold=run.fold, seed=run.seed) for run in kept], ignore_index=True)
    posteriors = np.concatenate([content.posteriors for content in contents.values()])
    return Predictions(
        path=experiment,
        emotions=emotions,
        table=table[["fold", "seed", *PREDICTION_COLUMNS]],
        posteriors=posteriors / posteriors.sum(axis=1, keepdims=True),
        settings=shared.settings,
        made_with=shared.made_with,
        made_from=shared.made_from,
        left_out=left_out,
    )


def read_run(path: Path) -> RunPredictions:
    """Read one predictions.tsv: the columns utt, spk, ref and hyp, and the posterior of each emotion.

    Raises:
        SoctkError: the file is not such a table; an utterance occurs twice; a class has no posterior column, or two;
            the posteriors of a row are not a distribution; or hyp is not the class with the highest posterior.
    """
    emotions, rows = _read_table(path)
    names = rows[list(range(len(PREDICTION_COLUMNS)))].set_axis(list(PREDICTION_COLUMNS), axis=1)
    if names.empty:
        raise _damaged(path, "the table has no rows")
    if names.isna().to_numpy().any() or (names == "").to_numpy().any():
        raise _damaged(path, f"a row lacks one of the columns {', '.join(PREDICTION_COLUMNS)}")
    unknown = {*names["ref"].unique(), *names["hyp"].unique()}.difference(emotions)
    if unknown:
        raise _damaged(path, f"no posterior column for {', '.join(sorted(unknown))}")
    repeated = names["utt"][names["utt"].duplicated()]
    if len(repeated):
        raise _damaged(path, f"{len(repeated)} utterances occur twice, such as {repeated.iloc[0]}")
    positions = {column: pd.Index(emotions).get_indexer(pd.Index(names[column])) for column in ("ref", "hyp")}
    content = RunPredictions(emotions, names.assign(**positions), _read_posteriors(path, rows))
    _check_posteriors(path, content)
    return content


def check_against(predictions: Predictions, data: DataDir) -> None:
    """Compare the predictions with the data directory of their corpus.

    Raises:
        SoctkError: labels, speakers or folds differ from those in training; a fold lacks utterances of its speakers; a
            tested speaker was in the training data; or an utterance has another label than in the data directory.
    """
    if "data" in predictions.settings and predictions.settings["data"] != data.checksum():
        raise SoctkError(
            f"{data.path} has other labels, speakers or folds than the data directory of training",
            remedy="Give the data directory of training (--data), or train again.",
            where=predictions.path,
        )
    tested = predictions.utterances
    leaks = tested[tested["spk"].map(data.fold) != tested["fold"]]
    if len(leaks):
        utt, speaker, fold = leaks.iloc[0][["utt", "spk", "fold"]]
        assigned = f"fold {data.fold[speaker]}" if speaker in data.fold else "no fold"
        raise SoctkError(
            f"{leaks['spk'].nunique()} speakers are tested in a fold whose training data include them: {utt} of "
            f"{speaker} is tested in fold {fold}, but {data.path} assigns {speaker} to {assigned}",
            remedy="These scores are not speaker-independent: remove the experiment and train it again.",
            where=predictions.path,
        )
    expected, actual = set(data.utterances_of(predictions.folds)), set(tested["utt"].tolist())
    for problem, utterances in (
        ("are missing", sorted(expected - actual)),
        ("are not in the data directory", sorted(actual - expected)),
    ):
        if utterances:
            raise SoctkError(
                f"{len(utterances)} utterances {problem}\n{listing(utterances, at_most=5)}",
                remedy="Scores of different utterances are not comparable: remove the experiment and train it again.",
                where=predictions.path,
            )
    labels = pd.Index(predictions.emotions)[tested["ref"]]
    relabelled = [
        f"{utt}: {label}, but {data.emotion[utt]} in {data.path}"
        for utt, label in zip(tested["utt"], labels, strict=True)
        if label != data.emotion[utt]
    ]
    if relabelled:
        raise SoctkError(
            f"{len(relabelled)} utterances have other labels than in the data directory\n"
            f"{listing(relabelled, at_most=5)}",
            remedy="Give the data directory of training (--data), or remove the experiment and train it again.",
            where=predictions.path,
        )


def data_directory(predictions: Predictions, given: Path | None = None) -> Path | None:
    """Return `given`, or else the data directory that the runs recorded; None if the recorded one is missing."""
    recorded_path = predictions.made_from.get("data")
    return given or (recorded_path if recorded_path and recorded_path.is_dir() else None)


def _damaged(path: Path, what: str) -> SoctkError:
    return SoctkError(printable(what), remedy=_RETRAIN_RUN, where=path)


def _read_table(path: Path) -> tuple[tuple[str, ...], pd.DataFrame]:
    """Return the emotions of the header, and the rows, with the numbers of the columns as their names."""
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            header = file.readline().rstrip("\r\n").split("\t")
            columns, emotions = header[: len(PREDICTION_COLUMNS)], tuple(header[len(PREDICTION_COLUMNS) :])
            if tuple(columns) != PREDICTION_COLUMNS:
                raise _damaged(path, f"the columns are not {', '.join(PREDICTION_COLUMNS)} and the emotions")
            if len(set(emotions)) < len(emotions) or "" in emotions:
                raise _damaged(path, f"an emotion has no name or two columns: {', '.join(emotions)}")
            with warnings.catch_warnings(category=pd.errors.ParserWarning, action="error"):
                rows = pd.read_csv(
                    file,
                    sep="\t",
                    header=None,
                    names=list(range(len(header))),
                    index_col=False,
                    dtype=dict.fromkeys(range(len(PREDICTION_COLUMNS)), str),
                    keep_default_na=False,
                    quoting=csv.QUOTE_NONE,
                    low_memory=False,
                )
    except (OSError, ValueError, pd.errors.ParserWarning) as error:
        raise _damaged(path, f"not a table ({error})") from error
    return emotions, rows


def _read_posteriors(path: Path, rows: pd.DataFrame) -> np.ndarray:
    try:
        return rows[list(range(len(PREDICTION_COLUMNS), rows.shape[1]))].to_numpy(dtype=np.float64)
    except ValueError as error:
        raise _damaged(path, f"a posterior is not a number ({error})") from error


def _check_posteriors(path: Path, content: RunPredictions) -> None:
    table, posteriors = content.table, content.posteriors
    chosen = posteriors[np.arange(len(table)), table["hyp"].to_numpy()]
    total = posteriors.sum(axis=1)
    faults = {
        "the posteriors are not between 0 and 1, or do not sum to 1": ~(
            (posteriors.min(axis=1) >= 0) & (np.abs(total - 1) < _ROUNDING)
        ),
        "hyp is not the class with the highest posterior": chosen < posteriors.max(axis=1) - _ROUNDING,
    }
    for fault, rows in faults.items():
        if rows.any():
            raise _damaged(path, f"utterance {table['utt'][rows.argmax()]}: {fault}")


def _find_incomplete_seeds(experiment: Path, runs: Iterable[RunDirectory]) -> list[int]:
    """Return the seeds that lack a fold of another seed."""
    folds_of: dict[int, set[int]] = {}
    for run in runs:
        folds_of.setdefault(run.seed, set()).add(run.fold)
    folds = set.union(*folds_of.values())
    incomplete = sorted(seed for seed in folds_of if folds_of[seed] != folds)
    if len(incomplete) == len(folds_of):
        described = "; ".join(f"seed {seed} has folds {sorted(folds_of[seed])}" for seed in incomplete)
        raise SoctkError(
            f"every seed lacks a fold: {described}",
            remedy="Train the missing runs (stage 2 with the same --folds and --seeds), or remove the others.",
            where=experiment,
        )
    return incomplete


def _get_shared_emotions(experiment: Path, contents: Iterable[RunPredictions]) -> tuple[str, ...]:
    variants = {content.emotions for content in contents}
    if len(variants) > 1:
        described = "; ".join(", ".join(emotions) for emotions in sorted(variants))
        raise SoctkError(
            f"the runs have different emotions: {described}",
            remedy="Train each set of emotions in an experiment of its own (--tag).",
            where=experiment,
        )
    return variants.pop()


def _check_folds_are_disjoint(experiment: Path, tables: Mapping[int, pd.DataFrame]) -> None:
    for column, consequence in (("utt", ""), ("spk", ", and therefore was in the training data of both")):
        fold_of: dict[str, int] = {}
        for fold, table in tables.items():
            for name in table[column].unique().tolist():
                other = fold_of.setdefault(name, fold)
                if other != fold:
                    raise SoctkError(
                        f"{name} is tested in folds {other} and {fold}{consequence}",
                        remedy="Folds must be disjoint: remove the experiment and train it again.",
                        where=experiment,
                    )


def _check_seeds_agree(experiment: Path, tables: Mapping[RunDirectory, pd.DataFrame]) -> None:
    first: dict[int, tuple[int, pd.DataFrame]] = {}
    for run, table in tables.items():
        key = table[list(_KEY)]
        other_seed, other = first.setdefault(run.fold, (run.seed, key))
        if key.equals(other) or _sort_by_utterance(key).equals(_sort_by_utterance(other)):
            continue
        missing = sorted(set(key["utt"]) ^ set(other["utt"]))
        what = (
            f"{len(missing)} utterances occur in only one of them, such as {missing[0]}"
            if missing
            else "speakers or labels differ"
        )
        raise SoctkError(
            f"seeds {other_seed} and {run.seed} of fold {run.fold} have different test data: {what}",
            remedy="Remove the directory of the run with wrong data and train it again.",
            where=experiment,
        )


def _sort_by_utterance(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values("utt", ignore_index=True)
