"""The runs of experiments as jobs for the workers of a cluster."""

from collections.abc import Sequence
from contextlib import ExitStack

from soctk import progress
from soctk.corpus.datadir import DataDir
from soctk.parallel import Executor, Job
from soctk.schema import Config
from soctk.scoring import choice
from soctk.scoring.runs import RunDirectory
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features
from soctk.training.local_runs import describe


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
        several = len(experiments) > 1
        jobs = [
            Job(
                f"{experiment.path}, {run}",
                _train,
                (experiment.config, experiment.device, experiment.tensorboard, run, several),
                (experiment.data, experiment.features),
            )
            for experiment, folds in experiments
            for run in claims.enter_context(experiment.claimed(folds, seeds))
        ]
        for line in progress.track(executor.run(jobs), "train", "run", len(jobs)):
            progress.message(line)
        return len(jobs)


def _train(
    data: DataDir,
    features: Features,
    config: Config,
    device: str,
    tensorboard: bool,
    run: RunDirectory,
    several: bool,
) -> str:
    if not run.path.exists():  # else its worker died before the client had the line
        Experiment(config, data, features, run.experiment, device, tensorboard).train([run], nj=1)
    return describe(run, choice.require(run), several)
