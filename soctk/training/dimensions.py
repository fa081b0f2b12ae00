"""The target of regression: values on dimensions such as arousal and valence."""

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.schema import LinearConfig
from soctk.scoring import prediction_file
from soctk.scoring.metrics import dimensional
from soctk.training.losses import Losses, one_loss
from soctk.training.ridge import RidgeSolver


class Dimensions:
    """Values on D dimensions for each row (soctk.training.target.Target); predictions are values.

    The training loop minimises 1 - the mean over dimensions of the CCC of a batch, on labels that are standardised by
    the training utterances. CCC does not change if labels and predictions are scaled and shifted together. `finish`
    gives the last layer the units of the labels.

    Args:
        names: the names of the dimensions.
        values: the labels `(N, D)`.
        where: the data directory, for messages.
    """

    metric = "valid_CCC"

    def __init__(self, names: Sequence[str], values: np.ndarray, where: Path | None = None):
        self.names, self._where = tuple(names), where
        self._values, self._mean, self._scale = values, np.zeros(len(names)), np.ones(len(names))
        self._tensor = torch.empty(0)

    def check(self, fitted: Sequence[int], fold: int) -> str:
        """See Target.check: labels on each dimension must differ."""
        for name, values in zip(self.names, self._values[list(fitted)].T, strict=True):
            if not np.ptp(values) > 0:
                raise SoctkError(
                    f"the training utterances of fold {fold} all have the same {name}, {values[0]:g}",
                    remedy=f"Leave {name} out of --target, or divide the speakers into other folds.",
                    where=self._where,
                )
        return ""

    def of_run(self, fitted: Sequence[int], device: str) -> "Dimensions":
        """See Target.of_run: labels are standardised by the training rows."""
        target, trained = copy(self), self._values[list(fitted)]
        target._mean, target._scale = trained.mean(0), trained.std(0)
        target._values = (self._values - target._mean) / target._scale
        target._tensor = torch.tensor(target._values, dtype=torch.float32).to(device)
        return target

    def loss(self, outputs: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """See Target.loss."""
        return one_loss(self, outputs, rows)

    def together(self, targets: Sequence["Dimensions"]) -> Losses:
        """See Target.together: each model has labels in its own units."""
        labels = torch.stack([target._tensor for target in targets])

        def losses(outputs: torch.Tensor, models: torch.Tensor | None, rows: torch.Tensor) -> torch.Tensor:
            models = torch.arange(len(labels), device=labels.device) if models is None else models
            return 1 - concordance(outputs, labels[models.unsqueeze(1), rows]).mean(1)

        return losses

    def predictions(self, outputs: torch.Tensor) -> torch.Tensor:
        """See Target.predictions: the mean over copies."""
        return outputs.mean(0)

    def scores(self, predictions: np.ndarray, rows: Sequence[int] | np.ndarray) -> dict[str, Any]:
        """See Target.scores: the mean CCC over dimensions, and 1 minus it."""
        labels = self._values[np.asarray(rows)]
        # Constant labels or predictions have nothing in common: CCC 0.
        values = [np.nan_to_num(dimensional(*both)["CCC"]) for both in zip(labels.T, predictions.T, strict=True)]
        mean = float(np.mean(values))
        return {"valid_loss": 1 - mean, "valid_CCC": mean}

    def table(self, data: DataDir, utterances: Sequence[str], predictions: np.ndarray) -> pd.DataFrame:
        """See Target.table."""
        return prediction_file.of_dimensions(data, utterances, self.names, predictions)

    def finish(self, head: nn.Linear) -> None:
        """See Target.finish: undo the standardisation of the labels."""
        mean, scale = (torch.from_numpy(values).to(head.bias) for values in (self._mean, self._scale))
        with torch.no_grad():
            head.weight.mul_(scale[:, None])
            head.bias.mul_(scale).add_(mean)

    def solver(self, values: np.ndarray, rows: Sequence[int], config: LinearConfig, device: str = "cpu") -> RidgeSolver:
        """See Target.solver; the fits are on the CPU."""
        return RidgeSolver(values, self._values[np.asarray(rows)])


def concordance(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the CCC of each dimension `(..., D)` (soctk.scoring.metrics.dimensional), with a gradient.

    Args:
        outputs: `(..., B, D)`.
        labels: `(..., B, D)`.
    """
    mean, label_mean = outputs.mean(-2, keepdim=True), labels.mean(-2, keepdim=True)
    centred, label_centred = outputs - mean, labels - label_mean
    covariance = (centred * label_centred).mean(-2)
    distance = centred.square().mean(-2) + label_centred.square().mean(-2) + (mean - label_mean).square().squeeze(-2)
    return 2 * covariance / (distance + 1e-8)  # all labels and outputs of a batch may be equal
