"""The runs of experiments as jobs for the workers of a cluster."""

from collections.abc import Sequence
from contextlib import ExitStack

from soctk import progress
from soctk.corpus.datadir import DataDir
from soctk.parallel import Executor, Job
from soctk.schema import Config
from soctk.scoring import choice
from soctk.scoring.runs import RunDirectory
from soctk.training import local_runs
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features


def run(executor: Executor, experiments: Sequence[tuple[Experiment, Sequence[int]]], seeds: Sequence[int]) -> int:
    """Do the missing runs of all experiments, each in a worker (Experiment.run); return their number.

    A worker reads the features from the store and writes the run; only a line about its scores comes back. It keeps
    descriptors for its next runs; frames of poolings with trained parameters are read for each run. The results are the
    same as those of Experiment.run; for the head mlp up to rounding, because a worker trains one model alone.

    Args:
        executor: runs the jobs.
        experiments: pairs of an experiment and its folds.
        seeds: the seeds.

    Raises:
        SoctkError: Experiment.run raises it.
    """
    with ExitStack() as claims:
        jobs = [
            Job(
                f"{experiment.path}, {run}",
                _train,
                (experiment.config, experiment.device, experiment.tensorboard, run),
                (experiment.data, experiment.features),
            )
            for experiment, folds in experiments
            for run in claims.enter_context(experiment.claimed(folds, seeds))
        ]
        for run, line in progress.track(executor.run(jobs), "train", "run", len(jobs)):
            progress.message(f"{run.experiment.name}: {line}" if len(experiments) > 1 else line)
        return len(jobs)


def _train(
    data: DataDir, features: Features, config: Config, device: str, tensorboard: bool, run: RunDirectory
) -> tuple[RunDirectory, str]:
    if run.path.exists():  # its worker died before the client had the line
        return run, local_runs.describe(run, choice.require(run))
    experiment = Experiment(config, data, features, run.experiment, device, tensorboard)
    (line,) = experiment.train([run], nj=1)
    return run, line
