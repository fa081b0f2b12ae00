"""The final model of an experiment, for use on other recordings: trained on all speakers, or the model of one fold."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from soctk import progress
from soctk.corpus import splits
from soctk.corpus.splits import Split
from soctk.errors import SoctkError
from soctk.parallel import one_thread
from soctk.schema import Config, LinearConfig, TrainConfig
from soctk.scoring import choice
from soctk.scoring.runs import RunDirectory
from soctk.training import large, linear, loop
from soctk.training.candidates import Candidate
from soctk.training.classifier import EmotionClassifier
from soctk.training.experiment import Experiment
from soctk.training.inner_fits import Chosen, InnerFits
from soctk.training.training_data import TrainingData


@dataclass(frozen=True)
class FinalModel:
    """A trained classifier, and what it was trained on.

    Attributes:
        classifier: the classifier, in evaluation mode, on the CPU.
        prior: the mean `(P,)` of the means of the training speakers (soctk.training.recentre); None without
            re-centring.
        utterances: the training utterances.
        chosen: the hyperparameter: `C` (head linear) or `epochs` (head mlp).
        config: the settings of the classifier: those of the experiment, with the hidden states and pooling layers that
            were chosen among several.
    """

    classifier: EmotionClassifier
    prior: torch.Tensor | None
    utterances: Sequence[str]
    chosen: dict[str, Any]
    config: Config


def of_fold(experiment: Experiment, run: RunDirectory, nj: int = 1) -> FinalModel:
    """Return the model of a finished run.

    Raises:
        SoctkError: the weights of the run are missing or damaged; its training log is missing or damaged, where the run
            chose among several hidden states or poolings; or features are missing, for re-centring.
    """
    candidate = _candidate_of(experiment, run)
    classifier = experiment.new_model(candidate)
    try:
        classifier.load_state_dict(load(run.weights.read_bytes()))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise SoctkError(
            f"missing or damaged ({error})", remedy="Remove the run's directory and train it again.", where=run.weights
        ) from error
    chosen = choice.read(run)
    utterances = experiment.trained(splits.split(experiment.data, run.fold, experiment.config.protocol, run.seed))
    is_recentred = experiment.config.recentre.by != "none"
    settings = candidate.settings(experiment.config)
    # The descriptors of the other candidates are not needed.
    chosen_only = replace(experiment, config=settings)
    prior = _prior(_read_inputs(chosen_only, nj), utterances, run.seed) if is_recentred else None
    hyperparameter = {{"C": "C", "epoch": "epochs"}[chosen.name]: chosen.record[chosen.name]} if chosen else {}
    return FinalModel(classifier.eval(), prior, utterances, hyperparameter, settings)


def on_all_speakers(experiment: Experiment, runs: Sequence[RunDirectory], seed: int, nj: int = 1) -> FinalModel:
    """Train the settings of an experiment once more, on all its speakers.

    The head linear chooses C, and hidden states and poolings where the settings have a choice, by cross-validation over
    all folds, or on the validation data of a published partition. All utterances, those of the tests too, then train
    the model. The head mlp is trained for the median of the best epochs of the runs; no speakers are held back for
    validation.

    Args:
        experiment: the experiment.
        runs: its finished runs.
        seed: determines the initial weights and the order of the utterances.
        nj: how many fits are done at a time.

    Raises:
        SoctkError: features are missing or damaged, all training utterances have one class, the training log of a run
            is missing, or the loss becomes infinite or NaN.
    """
    torch.manual_seed(seed)
    classifier = experiment.new_model().to(experiment.device)
    inputs = _read_inputs(experiment, nj)
    utterances = experiment.data.utterances
    fitted, candidate = inputs.rows(utterances), inputs.candidates[0]
    with one_thread():
        if isinstance(experiment.config.head, LinearConfig):
            candidate, C = _choose(experiment, experiment.config.head, inputs, seed, nj)
            classifier = experiment.new_model(candidate)
            if inputs.is_large:
                weight, bias, _ = large.solve(inputs, candidate, experiment.config.head, utterances, C, nj)
                linear.set_weights(cast(nn.Linear, classifier.head), weight, bias)
            else:
                inputs = inputs.only(candidate)
                _fit_linear(experiment.config.head, classifier, inputs, fitted, C, seed)
            chosen: dict[str, Any] = {"C": C}
        else:
            chosen = {"epochs": _median_epoch(runs)}
            with progress.step("train on all speakers"):
                _train_mlp(experiment, classifier, inputs, fitted, seed, chosen["epochs"])
    prior = _prior(inputs, utterances, seed) if experiment.config.recentre.by != "none" else None
    return FinalModel(classifier.cpu().eval(), prior, utterances, chosen, candidate.settings(experiment.config))


def _candidate_of(experiment: Experiment, run: RunDirectory) -> Candidate:
    """Return what a run chose."""
    candidates = experiment.candidates()
    return candidates[0] if len(candidates) == 1 else Candidate.of_record(choice.require(run).record)


def _read_inputs(experiment: Experiment, nj: int) -> TrainingData:
    is_trained = experiment.new_model().is_trained
    return TrainingData.load(experiment.config, experiment.data, experiment.features, is_trained, nj)


def _choose(experiment: Experiment, config: LinearConfig, inputs: TrainingData, seed: int, nj: int) -> Chosen:
    if inputs.data.split:  # C by the validation data of the partition
        chosen_on, split = inputs, inputs.split(1, seed)
    else:
        chosen_on = replace(inputs, config=inputs.config.model_copy(update={"protocol": "soctk"}))
        split = Split(inputs.data.utterances, [], [])
    if inputs.is_large:
        return Chosen(*large.choose(chosen_on, config, split, seed, nj, experiment.device)[:2])
    return InnerFits.compute(chosen_on, config, [(split, seed)], nj, experiment.device).choose(split, seed)


def _fit_linear(
    config: LinearConfig,
    classifier: EmotionClassifier,
    inputs: TrainingData,
    fitted: Sequence[int],
    C: float,
    seed: int,
) -> None:
    assert isinstance(classifier.head, torch.nn.Linear)
    recentring = inputs.recentring(seed)
    linear.fit(classifier.head, inputs.blocks.values(), inputs.target, fitted, C, config, recentring, inputs.device)


def _median_epoch(runs: Sequence[RunDirectory]) -> int:
    """Return the median of the best epochs of the runs."""
    return round(statistics.median(choice.require(run).record["epoch"] for run in runs))


def _train_mlp(
    experiment: Experiment,
    classifier: EmotionClassifier,
    inputs: TrainingData,
    fitted: Sequence[int],
    seed: int,
    epochs: int,
) -> None:
    config = experiment.config.train
    assert isinstance(config, TrainConfig)  # soctk.config.load gives every head but linear a section `train`
    features: loop.Inputs
    if inputs.frames is None:
        learner, features = classifier.head, inputs.descriptors(fitted, seed).to(experiment.device)
    else:
        learner, features = classifier, inputs.frames.to(experiment.device)
    target = inputs.target.of_run(fitted, experiment.device)
    loop.train_for(learner, features, target, fitted, config, seed, epochs)
    target.finish(classifier.output_layer)


def _prior(inputs: TrainingData, utterances: Sequence[str], seed: int) -> torch.Tensor:
    """Return the mean of the means of the training speakers, for the blocks side by side."""
    recentring, fitted = inputs.recentring(seed), inputs.rows(utterances)
    assert recentring is not None
    weights = recentring.prior(fitted)
    return torch.from_numpy(np.concatenate([block.times(weights)[0] for block in inputs.blocks.values()]))
