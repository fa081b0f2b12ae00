"""The trainers of the two heads: they train a model on a split and compute predictions for its test utterances."""

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import nn

from soctk.corpus.splits import Split
from soctk.schema import TrainConfig
from soctk.training import linear, loop
from soctk.training.classifier import EmotionClassifier
from soctk.training.outer_fits import OuterFit
from soctk.training.training_data import TrainingData


class Trainer(Protocol):
    """Trains a classifier for one run, and then predicts the run's test utterances."""

    def train(self) -> Iterable[dict[str, Any]]:
        """Train the model. It is trained when the caller has taken all records from the iterable.

        Each record has `epoch` or `C`, and the validation scores (Target.scores).
        """

    def predict_test(self) -> torch.Tensor:
        """Return the predictions `(N, K)` for the test utterances, in the order of the split."""


class MLPTrainer:
    """Trains a model with the training loop; only its head if the pooling has no trained parameters."""

    def __init__(
        self,
        model: EmotionClassifier,
        inputs: TrainingData,
        split: Split,
        seed: int,
        device: str,
        config: TrainConfig,
    ):
        self._inputs, self._split, self._seed, self._config = inputs, split, seed, config
        self._fitted = inputs.rows(split.train)
        self._model = model
        self._learner: nn.Module = model.head if inputs.frames is None else model
        features = inputs.descriptors(self._fitted, seed) if inputs.frames is None else inputs.frames
        self._features: loop.Inputs = features.to(device)
        self._target = inputs.target.of_run(self._fitted, device)

    def train(self) -> Iterable[dict[str, Any]]:
        """See Trainer.train; yields a record per epoch.

        Raises:
            SoctkError: the loss becomes infinite or NaN.
        """
        valid = self._inputs.tested_rows(self._split.valid)
        yield from loop.train(
            self._learner,
            self._features,
            self._target,
            self._fitted,
            valid,
            self._config,
            self._seed,
            self._inputs.tested,
        )
        self._target.finish(self._model.output_layer)

    def predict_test(self) -> torch.Tensor:
        """See Trainer.predict_test."""
        rows = self._inputs.tested_rows(self._split.test)
        return loop.predict(self._learner, self._features, self._target, rows, self._inputs.tested)


class LinearTrainer:
    """Takes the head of its run from the common fit of all runs (soctk.training.outer_fits)."""

    def __init__(self, model: EmotionClassifier, inputs: TrainingData, split: Split, fit: OuterFit):
        assert isinstance(model.head, nn.Linear)
        self._head, self._inputs, self._split, self._fit = model.head, inputs, split, fit

    def train(self) -> Iterable[dict[str, Any]]:
        """See Trainer.train; returns the records of the inner fits (InnerFits.records)."""
        linear.set_weights(self._head, self._fit.weight, self._fit.bias)
        return self._fit.records

    def predict_test(self) -> torch.Tensor:
        """See Trainer.predict_test."""
        outputs = torch.from_numpy(self._fit.outputs[self._inputs.tested_rows(self._split.test)])
        return self._inputs.target.predictions(outputs.unflatten(0, (self._inputs.tested, -1)))
