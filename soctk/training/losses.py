"""The interface of the training losses of several models."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch


class Losses(Protocol):
    """The training losses of K models whose outputs have the same shape (Target.together)."""

    def __call__(self, outputs: torch.Tensor, models: torch.Tensor | None, rows: torch.Tensor) -> torch.Tensor:
        """Return the losses `(M,)` of M of the models.

        Args:
            outputs: `(M, B, K)`.
            models: the numbers `(M,)` of the models; None for all.
            rows: the rows `(M, B)` of the batches.
        """


def one_loss(target: Any, outputs: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
    """Return the loss of one model with a target, for outputs `(B, K)` and B rows."""
    own = torch.as_tensor(rows, device=outputs.device)
    return target.together([target])(outputs.unsqueeze(0), None, own.unsqueeze(0))[0]
