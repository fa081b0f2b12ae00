"""The trainers of the two heads: they train a model on a split and compute predictions for its test utterances."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import nn

from soctk.corpus.splits import Split
from soctk.schema import LinearConfig, TrainConfig
from soctk.training import linear, loop
from soctk.training.classifier import EmotionClassifier
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
    """Fits the linear head to the training and validation utterances together, with the C of the inner fits."""

    def __init__(
        self,
        model: EmotionClassifier,
        inputs: TrainingData,
        split: Split,
        seed: int,
        device: str,
        config: LinearConfig,
        C: float,
        records: Sequence[dict[str, Any]],
    ):
        assert isinstance(model.head, nn.Linear)
        self._head, self._inputs, self._split, self._seed, self._config = model.head, inputs, split, seed, config
        self._fitted = inputs.rows(sorted(split.train + split.valid))
        self._device, self._C, self._records = device, C, records

    def train(self) -> Iterable[dict[str, Any]]:
        """See Trainer.train; returns the records of the inner fits (InnerFits.records).

        Raises:
            SoctkError: all training utterances have the same class.
        """
        inputs = self._inputs
        recentring = inputs.recentring(self._seed)
        linear.fit(self._head, inputs.blocks.values(), inputs.target, self._fitted, self._C, self._config, recentring)
        return self._records

    def predict_test(self) -> torch.Tensor:
        """See Trainer.predict_test."""
        descriptors = self._inputs.descriptors(self._fitted, self._seed).to(self._device)
        rows, copies = self._inputs.tested_rows(self._split.test), self._inputs.tested
        return loop.predict(self._head, descriptors, self._inputs.target, rows, copies)
