"""The trainer of the head mlp: it trains the models of several runs, and predicts their test utterances."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from soctk.corpus.splits import Split
from soctk.schema import TrainConfig
from soctk.training import loop
from soctk.training.classifier import EmotionClassifier
from soctk.training.inputs import Descriptors
from soctk.training.training_data import TrainingData


class Part(NamedTuple):
    """The model of a run before training, its data and its settings.

    Attributes:
        model: the model, on the device on which it is trained.
        split: the utterances.
        config: the settings of the training loop.
        seed: the seed.
    """

    model: EmotionClassifier
    split: Split
    config: TrainConfig
    seed: int


class MLPTrainer:
    """Trains the models of several runs at once; only their heads if the pooling has no trained parameters.

    Args:
        parts: the runs.
        inputs: the data of all runs.
        device: `cpu` or `cuda`.
        threads: the number of threads; it has no influence on the results.
    """

    def __init__(self, parts: Sequence[Part], inputs: TrainingData, device: str, threads: int):
        self._parts, self._inputs, self._threads = parts, inputs, threads
        self._strata = {seed: inputs.strata(seed) for seed in {part.seed for part in parts}}
        self._blocks: Sequence[torch.Tensor] | None = None
        frames = None if inputs.frames is None else inputs.frames.to(device)
        self._learners = [self._learner(part, frames, device) for part in parts]

    def train(self) -> Iterator[loop.Epoch]:
        """Train the models, and yield each epoch of each model (loop.train_together).

        Raises:
            Diverged: loop.train_together raises it.
        """
        for epoch in loop.train_together(self._learners, self._inputs.tested, self._threads):
            if epoch.is_last:
                self._learners[epoch.number].target.finish(self._parts[epoch.number].model.output_layer)
            yield epoch

    def predict_test(self, number: int) -> torch.Tensor:
        """Return the predictions `(N, K)` of a trained model for its test utterances, in the order of the split."""
        rows = self._inputs.tested_rows(self._parts[number].split.test)
        learner = self._learners[number]
        return loop.predict(learner.model, learner.inputs, learner.target, rows, self._inputs.tested, self._threads)

    def _learner(self, part: Part, frames: Any, device: str) -> loop.Learner:
        inputs, fitted = self._inputs, self._inputs.rows(part.split.train)
        is_whole = frames is not None
        return loop.Learner(
            part.model if is_whole else part.model.head,
            frames if is_whole else self._descriptors(fitted, part.seed, device),
            inputs.target.of_run(fitted, device),
            fitted,
            inputs.tested_rows(part.split.valid),
            part.config,
            part.seed,
            self._strata[part.seed],
        )

    def _descriptors(self, fitted: Sequence[int], seed: int, device: str) -> Descriptors:
        """Return the descriptors of a run; all runs share the blocks in the memory of the device."""
        own = self._inputs.descriptors(fitted, seed)
        if self._blocks is None:
            self._blocks = own.to(device).blocks
        return replace(own, blocks=self._blocks, offsets=own.offsets and own.offsets.to(device))
