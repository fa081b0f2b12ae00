"""The runs of an experiment, or of several experiments with similar settings, as jobs for this machine."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from soctk import parallel, progress, provenance
from soctk.errors import SoctkError
from soctk.parallel import one_thread
from soctk.schema import Config, LinearConfig
from soctk.scoring.choice import Choice
from soctk.scoring.runs import RunDirectory
from soctk.training import trainable
from soctk.training.frames import Frames
from soctk.training.loop import Diverged
from soctk.training.outer_fits import OuterFit, fit_runs
from soctk.training.together import shares_projection
from soctk.training.trainers import MLPTrainer, Part
from soctk.training.training_data import TrainingData

if TYPE_CHECKING:
    from soctk.training.experiment import Experiment

Run = tuple["Experiment", RunDirectory]

# The most parameters of the models of a stack. Five numbers are kept for each, and four are copied in some steps: 2 GB.
_MOST_PARAMETERS = 1 << 26
_MOST_RUNS = 128  # each has open files, and the dropout of an epoch
_MOST_OF_STREAMED = 8  # models that share frames which are read for each batch, but not the product with them


def in_common(config: Config) -> Config:
    """Return the settings that experiments must have in common to be trained together.

    With the head mlp, they may have different dropout and different settings of the training loop, but not different
    batch sizes.
    """
    if isinstance(config.head, LinearConfig) or config.train is None:
        return config
    free = {"epochs": 1, "patience": 1, "lr": 1.0, "weight_decay": 0.0, "warmup": 0.0, "grad_clip": 1.0}
    head, train = config.head.model_copy(update={"dropout": 0.0}), config.train.model_copy(update=free)
    return config.model_copy(update={"head": head, "train": train})


def train(runs: Sequence[Run], nj: int, several: bool = False) -> list[str]:
    """Train and test claimed runs; print and return a line about the validation scores of each.

    Args:
        runs: pairs of an experiment and one of its runs. All experiments have the same corpus, features and device, and
            equal settings `in_common`.
        nj: the number of processor cores to use; it does not change the results. Each stack of runs (`_stacks`) is a
            process; if there are fewer of them than `nj`, they use several threads.
        several: whether the printed lines name the experiment.

    Raises:
        SoctkError: Experiment.run raises it.
    """
    if not runs:
        return []
    first, _ = runs[0]
    inputs = TrainingData.load(first.config, first.data, first.features, first.new_model().is_trained, nj)
    fitted = {(run.fold, run.seed): first.trained(inputs.split(run.fold, run.seed)) for _, run in runs}
    for (fold, seed), utterances in fitted.items():
        trainable.check_inputs(inputs, fold, seed, inputs.rows(utterances))
    made_with = {**provenance.versions("soctk", "torch"), "commit": provenance.commit(), "device": first.device}
    jobs: list[Callable[[], list[str]]]
    say: Callable[[str], None] | None = None
    if isinstance(first.config.head, LinearConfig):
        pairs = [(inputs.split(run.fold, run.seed), run.seed) for _, run in runs]
        fits = fit_runs(inputs, first.config.head, pairs, nj, first.device)
        inputs = replace(inputs, blocks={})
        jobs = [partial(_fit, run, fit, inputs, made_with, several) for run, fit in zip(runs, fits, strict=True)]
    else:
        stacks = _stacks(runs, inputs)
        threads = max(1, nj // len(stacks)) if first.device == "cpu" else 1
        # In this process, the line of a run is printed when it ends, not when its whole stack ends.
        say = progress.message if min(nj, len(stacks)) == 1 else None
        jobs = [partial(_train_stack, stack, inputs, made_with, several, threads, say) for stack in stacks]
    lines = []
    done = itertools.chain.from_iterable(parallel.run(jobs, nj, first.device))
    for line in progress.track(done, "train", "run", len(runs)):
        if say is None:
            progress.message(line)
        lines.append(line)
    return lines


def describe(run: RunDirectory, choice: Choice, several: bool = False) -> str:
    """Return a line about the validation scores of a run; it names the experiment if there are `several`."""
    name = f"{run.experiment.name}: " if several else ""
    return f"{name}fold {run.fold}, seed {run.seed}: {choice.describe()}; validation {choice.scores()}"


def _stacks(runs: Sequence[Run], inputs: TrainingData) -> list[list[Run]]:
    """Divide runs of the head mlp into stacks, the runs that are trained together; `nj` has no influence on it.

    On a GPU all runs are a stack, up to `_MOST_RUNS`. On a CPU, a stack has the folds of one experiment and one seed,
    which share an order and therefore frames; a larger stack is not faster than these stacks one after the other.
    Models that cannot share the product with the frames would each keep their own: there is one of them in a stack, or
    a few, if the frames are read from the store for each batch.
    """
    first, _ = runs[0]
    model = first.new_model()
    learner = model.head if inputs.frames is None else model
    most = min(_MOST_RUNS, max(1, _MOST_PARAMETERS // sum(parameter.numel() for parameter in learner.parameters())))
    groups: dict[object, list[Run]] = {}
    for experiment, run in runs:
        key = (experiment.path, run.seed) if first.device == "cpu" else None
        groups.setdefault(key, []).append((experiment, run))
    if inputs.frames is not None and not shares_projection(model):
        most = min(most, 1 if isinstance(inputs.frames, Frames) else _MOST_OF_STREAMED)
    return [group[start : start + most] for group in groups.values() for start in range(0, len(group), most)]


def _train_stack(
    runs: Sequence[Run],
    inputs: TrainingData,
    made_with: Mapping[str, str],
    several: bool,
    threads: int,
    say: Callable[[str], None] | None,
) -> list[str]:
    """Train and test runs of the head mlp together; return a line about the validation scores of each.

    `say` gets each line as soon as its run is finished.
    """
    parts, lines = [], []
    for experiment, run in runs:
        torch.manual_seed(run.seed)
        model, config = experiment.new_model().to(experiment.device), experiment.config.train
        assert config is not None  # soctk.config.load gives every head but linear a section `train`
        parts.append(Part(model, inputs.split(run.fold, run.seed), config, run.seed))
    # torch itself uses one thread, so that the results of a run do not depend on `nj`.
    with one_thread(), ExitStack() as all_runs:
        opened = [all_runs.enter_context(ExitStack()) for _ in runs]
        writers = [
            one.enter_context(experiment.opened(run, made_with))
            for one, (experiment, run) in zip(opened, runs, strict=True)
        ]
        trainer = MLPTrainer(parts, inputs, runs[0][0].device, threads)
        try:
            for number, record, is_last in trainer.train():
                writers[number].write_record(record)
                if is_last:
                    experiment, run = runs[number]
                    part = parts[number]
                    experiment.finish(writers[number], part.model, inputs, part.split, trainer.predict_test(number))
                    opened[number].close()  # gives the directory its final name
                    lines.append(describe(run, Choice.of(writers[number].records), several))
                    if say:
                        say(lines[-1])
        except Diverged as error:
            raise SoctkError(error.what, error.remedy, where=runs[error.number][1].path) from error
    return lines


def _fit(run: Run, fit: OuterFit, inputs: TrainingData, made_with: Mapping[str, str], several: bool) -> list[str]:
    """Fit and test a run of the head linear; return a line about its validation scores."""
    experiment, directory = run
    model, split = experiment.new_model(fit.candidate), inputs.split(directory.fold, directory.seed)
    with one_thread(), experiment.opened(directory, made_with) as writer:
        for record in fit.records:
            writer.write_record(record)
        predicted = fit.apply(model.head, inputs, split)
        experiment.finish(writer, model, inputs, split, predicted)
    return [describe(directory, Choice.of(fit.records), several)]
