"""The predictions of an experiment, read from its runs and checked for completeness, consistency and leaks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from soctk.corpus import recordings
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError, listing, plural
from soctk.scoring import recorded
from soctk.scoring.prediction_file import RunPredictions, read_run
from soctk.scoring.runs import RunDirectory

UNKNOWN = "unknown"  # stands for all unknown speakers together, in tables and figures


@dataclass(frozen=True)
class Predictions:
    """All predictions of one experiment: a row for each utterance, fold and seed.

    Attributes:
        path: the experiment's directory.
        emotions: the classes, in the order of the posterior columns; empty for dimensions.
        table: the columns fold and seed, and those of RunPredictions (test only if there are several).
        posteriors: `(len(table), len(emotions))`; each row sums to 1.
        settings: the settings that all runs share (soctk.scoring.recorded); empty without config.yaml.
        made_with: the versions, commit and device of the runs; each distinct combination once.
        made_from: the data directory (`data`) and the feature store (`features`), if the runs recorded them.
        left_out: the seeds that were skipped because some of their folds are missing.
        dimensions: the dimensions; empty for classes.
        shares: the probabilities of the classes according to the annotators, `(len(table), len(emotions))`; without
            them, there are no columns.
    """

    path: Path
    emotions: tuple[str, ...]
    table: pd.DataFrame
    posteriors: np.ndarray
    settings: Mapping[str, Any]
    made_with: list[str]
    made_from: Mapping[str, Path]
    left_out: list[int]
    dimensions: tuple[str, ...] = ()
    shares: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def folds(self) -> list[int]:
        """The folds, sorted."""
        return sorted(self.table["fold"].unique().tolist())

    @property
    def seeds(self) -> list[int]:
        """The seeds, sorted."""
        return sorted(self.table["seed"].unique().tolist())

    @property
    def runs(self) -> list[RunDirectory]:
        """The directories of the runs, by fold and seed."""
        return [RunDirectory(self.path, fold, seed) for fold in self.folds for seed in self.seeds]

    @cached_property
    def speakers(self) -> tuple[np.ndarray, list[str]]:
        """The index of the speaker of each row, and the sorted names of the speakers."""
        codes, names = pd.factorize(self.table["spk"], sort=True)
        return codes, list(names)

    @cached_property
    def utterances(self) -> pd.DataFrame:
        """A row for each utterance: fold, utt, spk and its labels, ref or ref_DIM, sorted by fold and utt."""
        first = self.table[self.table["seed"] == self.seeds[0]]
        return first[["fold", *_key(self.table)]].sort_values(["fold", "utt"], ignore_index=True)

    @property
    def shown_speakers(self) -> pd.Series:
        """The name of the speaker of each row of `utterances`; UNKNOWN if an unknown speaker has the utterance's id."""
        names = self.utterances["spk"]
        return names.where(names != self.utterances["utt"], UNKNOWN) if "speaker_overlap" in self.settings else names

    def by_test(self) -> "dict[str, Predictions]":
        """Return test -> its predictions, for a partition with several tests; otherwise all, with an empty name."""
        if "test" not in self.table:
            return {"": self}
        parts = self.table.groupby("test", sort=True).indices
        return {
            str(name): replace(
                self,
                table=self.table.iloc[rows].drop(columns="test").reset_index(drop=True),
                posteriors=self.posteriors[rows],
                shares=self.shares[rows],
            )
            for name, rows in parts.items()
        }


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
    emotions, dimensions = _get_shared_names(experiment, contents.values())
    tables = {run: content.table for run, content in contents.items()}
    _check_seeds_agree(experiment, tables)
    shared = recorded.read(kept)
    by_fold = {run.fold: tables[run] for run in kept if run.seed == kept[0].seed}
    _check_folds_are_disjoint(experiment, by_fold, can_share_speakers=bool(shared.settings.get("speaker_overlap")))
    table = pd.concat([tables[run].assign(fold=run.fold, seed=run.seed) for run in kept], ignore_index=True)
    posteriors = np.concatenate([content.posteriors for content in contents.values()])
    shares = np.concatenate([content.shares for content in contents.values()])
    return Predictions(
        path=experiment,
        emotions=emotions,
        dimensions=dimensions,
        table=table[["fold", "seed", *table.columns.drop(["fold", "seed"])]],
        posteriors=posteriors / posteriors.sum(axis=1, keepdims=True),
        shares=shares / shares.sum(axis=1, keepdims=True),
        settings=shared.settings,
        made_with=shared.made_with,
        made_from=shared.made_from,
        left_out=left_out,
    )


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
    if data.utterance_fold:
        leaks = tested[tested["utt"].map(data.utterance_fold).fillna(tested["fold"]) != tested["fold"]]
        if len(leaks):
            raise SoctkError(
                f"{plural(len(leaks), 'utterance is', 'utterances are')} tested in another fold than {data.path} "
                f"assigns, such as {leaks['utt'].iloc[0]}",
                remedy="Give the data directory of training (--data), or train again.",
                where=predictions.path,
            )
    leaks = tested[tested["spk"].map(data.fold) != tested["fold"]] if data.fold else tested[:0]
    if len(leaks):
        utt, speaker, fold = leaks.iloc[0][["utt", "spk", "fold"]]
        assigned = f"fold {data.fold[speaker]}" if speaker in data.fold else "no fold"
        raise SoctkError(
            f"{plural(leaks['spk'].nunique(), 'speaker is', 'speakers are')} tested in a fold that trained on them: "
            f"{utt} of {speaker} is tested in fold {fold}, but {data.path} assigns {speaker} to {assigned}",
            remedy="These scores are not speaker-independent: remove the experiment and train it again.",
            where=predictions.path,
        )
    expected, actual = set(data.utterances_of(predictions.folds)), set(tested["utt"].tolist())
    for problem, utterances in (
        ("missing", sorted(expected - actual)),
        ("not in the data directory", sorted(actual - expected)),
    ):
        if utterances:
            raise SoctkError(
                f"{plural(len(utterances), 'utterance is', 'utterances are')} {problem}\n"
                f"{listing(utterances, at_most=5)}",
                remedy="Scores of different utterances are not comparable: remove the experiment and train it again.",
                where=predictions.path,
            )
    relabelled = list(_find_relabelled(predictions, data))
    if relabelled:
        raise SoctkError(
            f"{plural(len(relabelled), 'utterance has', 'utterances have')} another label than in the data directory\n"
            f"{listing(relabelled, at_most=5)}",
            remedy="Give the data directory of training (--data), or remove the experiment and train it again.",
            where=predictions.path,
        )


def data_directory(predictions: Predictions, given: Path | None = None) -> Path | None:
    """Return `given`, or else the data directory that the runs recorded; None if the recorded one is missing."""
    recorded_path = predictions.made_from.get("data")
    return given or (recorded_path if recorded_path and recorded_path.is_dir() else None)


def _find_relabelled(predictions: Predictions, data: DataDir) -> Iterator[str]:
    """Yield a line for each utterance with another label than in the data directory."""
    tested = predictions.utterances
    if predictions.emotions:
        labels = pd.Index(predictions.emotions)[tested["ref"]]
        for utt, label in zip(tested["utt"], labels, strict=True):
            if label != data.emotion.get(utt):
                yield f"{utt}: {label}, but {data.emotion.get(utt, 'none')} in {data.path}"
    for name in predictions.dimensions:
        values = tested["utt"].map(data.dimensions.get(name, {}))
        differs = ~np.isclose(tested[f"ref_{name}"], values, rtol=1e-6, atol=1e-6)
        for utt, label, value in zip(
            tested["utt"][differs], tested[f"ref_{name}"][differs], values[differs], strict=True
        ):
            yield f"{utt}: {name} {label:g}, but {value:g} in {data.path}"


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


def _get_shared_names(experiment: Path, contents: Iterable[RunPredictions]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the emotions and the dimensions of the runs."""
    variants = {(content.emotions, content.dimensions, content.shares.shape[1] > 0) for content in contents}
    if len(variants) > 1:
        described = "; ".join(
            ", ".join([*names, *(["with distributions"] if has_shares else [])])
            for *both, has_shares in sorted(variants)
            for names in [sum(both, start=())]
        )
        what = "labels" if any(dimensions or has_shares for _, dimensions, has_shares in variants) else "emotions"
        raise SoctkError(
            f"the runs have different {what}: {described}",
            remedy=f"Train each set of {what} in an experiment of its own (--tag).",
            where=experiment,
        )
    emotions, dimensions, _ = variants.pop()
    return emotions, dimensions


def _check_folds_are_disjoint(experiment: Path, tables: Mapping[int, pd.DataFrame], can_share_speakers: bool) -> None:
    both = {"utt": "", "spk": ", and therefore was in the training data of both"}
    for column, consequence in list(both.items())[: 1 if can_share_speakers else 2]:
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
        key = table[_key(table)]
        other_seed, other = first.setdefault(run.fold, (run.seed, key))
        if key.equals(other) or _sort_by_utterance(key).equals(_sort_by_utterance(other)):
            continue
        missing = sorted(set(key["utt"]) ^ set(other["utt"]))
        what = (
            f"{plural(len(missing), 'utterance occurs', 'utterances occur')} in only one of them, such as {missing[0]}"
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


def _key(table: pd.DataFrame) -> list[str]:
    """Return the columns that say what is tested: utt, spk, and the labels."""
    return ["utt", "spk", *(column for column in table.columns if column == "ref" or column.startswith("ref_"))]
