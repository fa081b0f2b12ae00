"""The target of classification: one emotion for each utterance."""

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.schema import ClassWeight, LinearConfig
from soctk.scoring import prediction_file
from soctk.scoring.intervals import divide
from soctk.scoring.metrics import accuracies
from soctk.training import logistic
from soctk.training.losses import Losses, one_loss

# The loss of an utterance is at most -ln of this posterior.
SMALLEST = 1e-12


class Classes:
    """One of K emotions for each row (soctk.training.target.Target); predictions are log-posteriors.

    With the class weights `balanced`, an utterance of class k counts n / (K n_k) times in the training loss, where n_k
    of the n training utterances have class k. All classes then have the same sum of weights. The validation loss is
    weighted in the same way by the validation utterances: it is the mean over classes of the mean loss in each class.

    Args:
        names: the names of the classes.
        labels: the class of each row `(N,)`, from 0.
        class_weight: `none` or `balanced`.
        where: the data directory, for messages.
    """

    metric = "valid_WA"

    def __init__(
        self, names: Sequence[str], labels: np.ndarray, class_weight: ClassWeight = "none", where: Path | None = None
    ):
        self.names, self.labels = tuple(names), labels
        self._is_balanced, self._where = class_weight == "balanced", where
        self._tensor = torch.tensor(self.labels)
        self._weight: torch.Tensor | None = None

    def check(self, fitted: Sequence[int], fold: int) -> str:
        """See Target.check: two classes or more are needed."""
        trained = np.unique(self.labels[list(fitted)])
        if len(trained) < 2:
            raise SoctkError(
                f"the training utterances of fold {fold} have only one class, "
                f"{', '.join(self.names[i] for i in trained) or 'none'}",
                remedy="Divide the speakers into folds such that other folds have two classes or more (spk2fold), or "
                "leave this fold out (soctk-train --folds).",
                where=self._where,
            )
        absent = ", ".join(name for i, name in enumerate(self.names) if i not in trained)
        return f"fold {fold} has no training utterances of {absent}: its model never learns them" if absent else ""

    def of_run(self, fitted: Sequence[int], device: str) -> "Classes":
        """See Target.of_run."""
        target = copy(self)
        target._tensor = self._tensor.to(device)
        if self._is_balanced:
            target._weight = torch.tensor(self._class_weights(fitted), dtype=torch.float32).to(device)
        return target

    def loss(self, outputs: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """See Target.loss: the cross-entropy; with class weights, it is divided by the sum of the weights."""
        return one_loss(self, outputs, rows)

    def together(self, targets: Sequence["Classes"]) -> Losses:
        """See Target.together."""
        weights = torch.stack([cast(torch.Tensor, target._weight) for target in targets]) if self._is_balanced else None

        def losses(outputs: torch.Tensor, models: torch.Tensor | None, rows: torch.Tensor) -> torch.Tensor:
            own = weights if weights is None or models is None else weights[models]
            return self._losses(outputs, self._tensor[rows], own)

        return losses

    @staticmethod
    def _losses(outputs: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        """Return the losses `(M,)` for outputs `(M, B, K)`, labels `(M, B)`, and weights `(M, K)`."""
        each = cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)
        if weights is None:
            return each.mean(1)
        shares = weights.gather(1, labels)
        return (each * shares).sum(1) / shares.sum(1)

    def predictions(self, outputs: torch.Tensor) -> torch.Tensor:
        """See Target.predictions: log-posteriors, of the mean of the posteriors over copies."""
        return outputs.log_softmax(-1).logsumexp(0).log_softmax(-1)

    def scores(self, predictions: np.ndarray, rows: Sequence[int] | np.ndarray) -> dict[str, Any]:
        """See Target.scores: the loss in nats, WA and UA as fractions."""
        reference = self.labels[np.asarray(rows)]
        losses = -predictions[np.arange(len(reference)), reference].clip(min=np.log(SMALLEST))
        weights = self._class_weights(rows)[reference] if self._is_balanced else None
        percent = accuracies(reference, predictions.argmax(1))
        return {
            "valid_loss": float(losses.mean() if weights is None else np.average(losses, weights=weights)),
            "valid_WA": percent["WA"] / 100,
            "valid_UA": percent["UA"] / 100,
        }

    def table(self, data: DataDir, utterances: Sequence[str], predictions: np.ndarray) -> pd.DataFrame:
        """See Target.table."""
        return prediction_file.of_classes(data, utterances, np.exp(predictions))

    def finish(self, head: nn.Linear) -> None:
        """See Target.finish: logits have no unit."""

    def solver(
        self, values: np.ndarray, rows: Sequence[int], config: LinearConfig, device: str = "cpu"
    ) -> logistic.Solver:
        """See Target.solver."""
        labels = self.labels[np.asarray(rows)]
        weights = self._class_weights(rows)[labels] if self._is_balanced else None
        return logistic.solver(values, labels, len(self.names), config.within_class_shrinkage, weights, device)

    def shares_of(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the weight of each class in the training loss of each row, `(n, K)`, for these training rows."""
        shares = np.eye(len(self.names))[self.labels[np.asarray(rows)]]
        return shares * self._class_weights(rows) if self._is_balanced else shares

    def _class_weights(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the balanced weight of each class among some rows; 0 for a class that does not occur."""
        counts = self._counts(rows)
        return divide(np.array(len(rows)), (counts > 0).sum() * counts)

    def _counts(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the number of rows of each class."""
        return np.bincount(self.labels[np.asarray(rows)], minlength=len(self.names))
