"""The classifier: frames -> normalised frames -> pooled descriptor -> head -> logits."""

import torch
from torch import nn
from torch.nn import functional

from soctk import pooling
from soctk.config import Config, LinearConfig, MLPConfig
from soctk.errors import SoctkError


class EmotionClassifier(nn.Module):
    """A pooling layer and a head on frames of a frozen upstream.

    Args:
        input_size: D, the width of a frame.
        num_classes: how many emotions.
        config: pooling, head, and whether each frame is layer-normalised first.

    Raises:
        SoctkError: wrong options of the pooling, or one that is trained under a head that cannot train it.
    """

    def __init__(self, input_size: int, num_classes: int, config: Config):
        super().__init__()
        self.layer_norm = config.frames.layer_norm
        self.pooling = pooling.create("+".join(config.pooling), input_size, config.pooling)
        if isinstance(config.head, LinearConfig) and self.pooling.is_trained:
            raise SoctkError(
                f"the head linear is fitted to descriptors, and cannot train {'+'.join(config.pooling)}",
                remedy="Choose the head mlp, or a pooling without trained parameters, such as soc_full for soc.",
                where="--head",
            )
        self.head = _head(self.pooling.output_size, num_classes, config.head)

    def describe(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return descriptors `(B, pooling.output_size)` for frames `(B, T, D)` and lengths `(B,)` in frames."""
        if self.layer_norm:
            frames = functional.layer_norm(frames, frames.shape[-1:])
        return self.pooling(frames, lengths)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return logits `(B, num_classes)` for frames `(B, T, D)` and lengths `(B,)` in frames."""
        return self.head(self.describe(frames, lengths))


def _head(input_size: int, num_classes: int, config: MLPConfig | LinearConfig) -> nn.Module:
    """Return a linear layer, or the MLP of the SOC paper (arXiv 2606.06550): batch norm, ReLU and dropout between."""
    if isinstance(config, LinearConfig):
        return nn.Linear(input_size, num_classes)
    return nn.Sequential(
        nn.Linear(input_size, config.hidden),
        nn.BatchNorm1d(config.hidden),
        nn.ReLU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.hidden, num_classes),
    )
