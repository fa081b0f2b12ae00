"""What a head is trained to predict; training loop and linear head are the same for all targets."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from soctk.corpus.datadir import DataDir
from soctk.schema import Config, LinearConfig
from soctk.training.classes import Classes


class Solver(Protocol):
    """A linear model of a target with L2 regularisation, on the inputs that its constructor gets."""

    def fit(self, C: float) -> None:
        """Fit the model; C is the inverse strength of the regularisation."""

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Return the predictions `(N, K)` for inputs `(copies, N, R)`, averaged over copies."""

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights `(K, R)` and the biases `(K,)` of the last fit, from inputs to outputs."""


class Target(Protocol):
    """The labels of all rows of the inputs, and what training needs to know about them.

    A head has K outputs. Predictions are outputs in the form in which they are scored and written: log-posteriors of
    classes, or values on dimensions.

    Attributes:
        names: the names of the K outputs.
        metric: the key of the main score in the result of `scores`, such as valid_WA.
    """

    names: tuple[str, ...]
    metric: str

    def check(self, fitted: Sequence[int], fold: int) -> str:
        """Check that the labels of the training rows of a fold can be learned; return a note, or "".

        Raises:
            SoctkError: they cannot.
        """

    def of_run(self, fitted: Sequence[int], device: str) -> "Target":
        """Return this target for the training loop of a run with these training rows, on a device."""

    def loss(self, outputs: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """Return the training loss of the outputs `(B, K)` for a batch of rows."""

    def predictions(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the predictions `(N, K)` for the outputs `(copies, N, K)` of a network."""

    def scores(self, predictions: np.ndarray, rows: Sequence[int] | np.ndarray) -> dict[str, Any]:
        """Return valid_loss, which chooses C or the epoch, and other scores of predictions `(N, K)`."""

    def finish(self, head: nn.Linear) -> None:
        """Change the last layer of a trained network such that its outputs are in the units of the labels."""

    def solver(self, values: np.ndarray, rows: Sequence[int], config: LinearConfig) -> Solver:
        """Return the linear model of the target for training inputs `(n, R)` with these rows."""


def make(config: Config, data: DataDir, copies: int = 1) -> Target:
    """Return the target that the settings choose, for a corpus whose utterances have this many rows each."""
    labels = [data.emotions.index(data.emotion[utt]) for utt in data.utterances]
    return Classes(data.emotions, np.tile(labels, copies), config.head.class_weight, data.path)
