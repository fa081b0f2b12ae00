"""The nested choice among the points of a sweep: each run takes the point with its own lowest validation loss."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from soctk.errors import SoctkError
from soctk.files import atomic_directory
from soctk.mappings import read_yaml
from soctk.schema import OF_ONE_RUN, Config
from soctk.scoring import choice
from soctk.scoring.runs import RunDirectory

DIRECTORY = "nested"


def check(configs: Sequence[Config]) -> None:
    """Check that a choice among points with these settings gives scores of one task.

    Raises:
        SoctkError: some points use unlabelled recordings of the test speakers, and others do not.
    """
    if len({config.recentre.by for config in configs}) > 1:
        raise SoctkError(
            "some points use unlabelled recordings of the test speakers and others do not, so a choice among them has "
            "no comparable score",
            remedy="Sweep them separately: --recentre speaker in one sweep, --recentre none in another.",
            where="--nested with the axis recentre.by",
        )


def write(sweep: Path, points: Sequence[str], folds: Sequence[int], seeds: Sequence[int]) -> dict[RunDirectory, str]:
    """Choose a point for each fold and seed, and write an experiment with the test predictions of the chosen points.

    The validation utterances of a run do not contain test utterances of its fold. The choice therefore does not depend
    on test labels, and the scores of this experiment include the effect of the choice: train all points, choose one by
    validation. Of points with equal losses, the first is chosen. Losses of the heads mlp and linear are means over
    different validation utterances (soctk.corpus.splits).

    Args:
        sweep: the directory of the points; the experiment is `sweep`/nested. Its runs have predictions.tsv and
            config.yaml: the settings that all points share, and `nested`: the points and the chosen one of each run.
        points: the names of the directories of the points. Each has finished runs of all folds and seeds.
        folds: the folds.
        seeds: the seeds.

    Returns:
        The run of the experiment -> the name of the chosen point.

    Raises:
        SoctkError: the training log or the settings of a run are missing or damaged.
    """
    runs = [RunDirectory(sweep / DIRECTORY, fold, seed) for fold in folds for seed in seeds]
    chosen = {run: _choose([RunDirectory(sweep / point, run.fold, run.seed) for point in points]) for run in runs}
    for old in RunDirectory.of_experiment(sweep / DIRECTORY):
        _remove(old)
    names = {run: source.experiment.name for run, source in chosen.items()}
    record = {"points": list(points), "chosen": {str(run): name for run, name in names.items()}}
    for run, source in chosen.items():
        configs = [read_yaml(RunDirectory(sweep / point, run.fold, run.seed).config) for point in points]
        # The paths in made_from are relative to a run. They stay valid, because both experiments are in `sweep`.
        own = {key: value for key, value in read_yaml(source.config).items() if key in OF_ONE_RUN}
        with atomic_directory(run.path) as unfinished:
            text = yaml.safe_dump({**own, **_shared(configs), "nested": record}, sort_keys=False)
            (unfinished / run.config.name).write_text(text, encoding="utf-8")
            shutil.copyfile(source.predictions, unfinished / run.predictions.name)
    return names


def _choose(runs: Sequence[RunDirectory]) -> RunDirectory:
    """Return the run with the lowest validation loss."""
    return min(runs, key=lambda run: choice.require(run).record["valid_loss"])


def _remove(run: RunDirectory) -> None:
    """Rename a finished run as unfinished, then remove it: if the process is killed, no damaged run looks finished."""
    unfinished = run.path.with_name(f"{run.path.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    run.path.rename(unfinished)
    shutil.rmtree(unfinished)


def _shared(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings that are equal in all mappings, without OF_ONE_RUN; `pooling` is kept only as a whole."""
    first, *others = settings
    shared = {}
    for key in (key for key in first if key not in OF_ONE_RUN):
        values = [first[key], *(other.get(key) for other in others)]
        if all(value == first[key] for value in values):
            shared[key] = first[key]
        elif key != "pooling" and all(isinstance(value, Mapping) for value in values):
            shared[key] = _shared(values)
    return shared
