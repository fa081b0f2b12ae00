"""The classifier: frames -> normalised frames -> pooled descriptor -> head -> logits."""

import torch
from torch import nn
from torch.nn import functional

from soctk import pooling
from soctk.config import Config, HeadConfig


class EmotionClassifier(nn.Module):
    """A pooling layer and an MLP head on frames of a frozen upstream.

    Args:
        input_size: D, the width of a frame.
        num_classes: how many emotions.
        config: pooling, head, and whether each frame is layer-normalised first.
    """

    def __init__(self, input_size: int, num_classes: int, config: Config):
        super().__init__()
        self.frame_norm = config.train.frame_norm
        self.pooling = pooling.create(config.pooling.name, input_size, config.pooling.options)
        self.head = mlp_head(self.pooling.output_size, num_classes, config.head)

    def describe(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return descriptors `(B, pooling.output_size)` for frames `(B, T, D)` and lengths `(B,)` in frames."""
        if self.frame_norm:
            frames = functional.layer_norm(frames, frames.shape[-1:])
        return self.pooling(frames, lengths)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return logits `(B, num_classes)` for frames `(B, T, D)` and lengths `(B,)` in frames."""
        return self.head(self.describe(frames, lengths))


def mlp_head(input_size: int, num_classes: int, config: HeadConfig) -> nn.Sequential:
    """Return the head of the SOC paper (arXiv 2606.06550): one hidden layer with batch norm, ReLU and dropout."""
    return nn.Sequential(
        nn.Linear(input_size, config.hidden),
        nn.BatchNorm1d(config.hidden),
        nn.ReLU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.hidden, num_classes),
    )
