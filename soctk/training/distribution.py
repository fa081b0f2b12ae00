"""The target of classification with several annotators: a distribution over the emotions for each utterance."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from soctk.corpus.datadir import DataDir
from soctk.schema import ClassWeight, LinearConfig
from soctk.scoring import prediction_file
from soctk.training import logistic
from soctk.training.classes import SMALLEST, Classes


class Distribution(Classes):
    """A distribution over K emotions for each row (soctk.training.target.Target); predictions are log-posteriors.

    The loss of an utterance is the cross-entropy -sum_k p_k ln q_k between the annotators' distribution p and the
    posteriors q. The head linear gets a copy of the utterance for each class with p_k > 0, with the weight p_k, which
    is the same loss. With balanced class weights, each term gets the weight of its class, where the sums of p_k take
    the place of the numbers of utterances.

    Args:
        names: the names of the classes.
        labels: the class of each row `(N,)`: that of the majority. WA, UA and the covariance within classes use it.
        shares: the distributions `(N, K)`.
        class_weight: `none` or `balanced`.
        where: the data directory, for messages.
    """

    def __init__(
        self,
        names: Sequence[str],
        labels: np.ndarray,
        shares: np.ndarray,
        class_weight: ClassWeight = "none",
        where: Path | None = None,
    ):
        super().__init__(names, labels, class_weight, where)
        self.shares, self._tensor = shares, torch.tensor(shares, dtype=torch.float32)

    @staticmethod
    def _losses(outputs: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        """Return the losses `(M,)` for outputs and distributions `(M, B, K)`, and weights `(M, K)`."""
        terms = labels * outputs.log_softmax(2)
        return -(terms if weights is None else terms * weights.unsqueeze(1)).sum(2).mean(1)

    def scores(self, predictions: np.ndarray, rows: Sequence[int] | np.ndarray) -> dict[str, Any]:
        """See Target.scores: the cross-entropy in nats, and WA and UA of the majority as fractions."""
        weights = self._class_weights(rows) if self._is_balanced else np.ones(len(self.names))
        losses = -(self.shares[np.asarray(rows)] * weights * predictions.clip(min=np.log(SMALLEST))).sum(1)
        return {**super().scores(predictions, rows), "valid_loss": float(losses.mean())}

    def table(self, data: DataDir, utterances: Sequence[str], predictions: np.ndarray) -> pd.DataFrame:
        """See Target.table."""
        return prediction_file.of_classes(data, utterances, np.exp(predictions), has_distribution=True)

    def solver(
        self, values: np.ndarray, rows: Sequence[int], config: LinearConfig, device: str = "cpu"
    ) -> logistic.Solver:
        """See Target.solver."""
        majority, shares = self.labels[np.asarray(rows)], self.shares_of(rows)
        return logistic.solver(values, majority, len(self.names), config.within_class_shrinkage, shares, device)

    def shares_of(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """See Classes.shares_of."""
        shares = self.shares[np.asarray(rows)]
        return shares * self._class_weights(rows) if self._is_balanced else shares

    def _counts(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        return self.shares[np.asarray(rows)].sum(0)
