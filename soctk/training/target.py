"""What a head is trained to predict; training loop and linear head are the same for all targets."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import nn

from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.schema import Config, LinearConfig
from soctk.training.classes import Classes
from soctk.training.dimensions import Dimensions
from soctk.training.distribution import Distribution
from soctk.training.losses import Losses


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

    def together(self, targets: Sequence[Any]) -> Losses:
        """Return the training losses of models whose targets are these, all of one corpus (`of_run`)."""

    def predictions(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the predictions `(N, K)` for the outputs `(copies, N, K)` of a network."""

    def scores(self, predictions: np.ndarray, rows: Sequence[int] | np.ndarray) -> dict[str, Any]:
        """Return valid_loss, which chooses C or the epoch, and other scores of predictions `(N, K)`."""

    def table(self, data: DataDir, utterances: Sequence[str], predictions: np.ndarray) -> pd.DataFrame:
        """Return the content of predictions.tsv for predictions `(N, K)` (soctk.scoring.prediction_file)."""

    def finish(self, head: nn.Linear) -> None:
        """Change the last layer of a trained network such that its outputs are in the units of the labels."""

    def solver(self, values: np.ndarray, rows: Sequence[int], config: LinearConfig, device: str = "cpu") -> Solver:
        """Return the linear model of the target for training inputs `(n, R)` with these rows.

        The device is where large fits may be done.
        """


def make(config: Config, data: DataDir, copies: int = 1) -> Target:
    """Return the target that the settings choose, for a corpus whose utterances have this many rows each."""
    names = config.dimensions
    _check_labels(config, data)
    if names:
        values = [[data.dimensions[name][utt] for name in names] for utt in data.utterances]
        return Dimensions(names, np.tile(values, (copies, 1)), data.path)
    labels = np.tile([data.emotions.index(data.emotion[utt]) for utt in data.utterances], copies)
    if config.target == "distribution":
        shares = np.tile([data.distribution[utt] for utt in data.utterances], (copies, 1))
        return Distribution(data.emotions, labels, shares, config.head.class_weight, data.path)
    return Classes(data.emotions, labels, config.head.class_weight, data.path)


def _check_labels(config: Config, data: DataDir) -> None:
    """Check that the corpus has the labels of the target."""
    labelled = ["emotion"] if data.emotion else []
    labelled += (["distribution"] if data.distribution else []) + list(data.dimensions)
    missing = [name for name in config.dimensions or (config.target,) if name not in labelled]
    if missing:
        files = [{"emotion": "utt2emo", "distribution": "utt2dist"}.get(name, f"utt2{name}") for name in missing]
        raise SoctkError(
            f"it has no {', '.join(files)}, so --target {config.target} has no labels",
            remedy=f"Choose another --target: {', '.join(labelled)}; dimensions can be joined by +.",
            where=data.path,
        )
