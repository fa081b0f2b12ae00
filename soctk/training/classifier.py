"""The classifier: normalised frames -> projected frames -> pooled descriptor -> head -> logits."""

from collections.abc import Sequence
from functools import reduce
from typing import cast

import torch
from torch import nn

from soctk import pooling
from soctk.errors import SoctkError
from soctk.pooling import Pooling
from soctk.schema import Config, LinearConfig, MLPConfig


class EmotionClassifier(nn.Module):
    """Pooling layers and a head on the hidden states of a frozen upstream.

    Several hidden states H_l are combined in one of two ways: the weighted sum over l of softmax(w)_l H_l, with learned
    w as in SUPERB (arXiv 2105.01051), is pooled; or each H_l has its own pooling layer, and the descriptors are
    concatenated.

    Args:
        input_size: D, the number of features of a frame; a list for hidden states of several encoders.
        num_layers: L, the number of hidden states.
        num_classes: the number of emotions.
        config: the pooling, the head, and the combination of hidden states. The layer norm of the frames is not part of
            the model: soctk.training.inputs normalises frames before the model gets them.

    Raises:
        SoctkError: an option of the pooling is wrong, or trained parameters precede the head linear.
    """

    def __init__(self, input_size: int | Sequence[int], num_layers: int, num_classes: int, config: Config):
        super().__init__()
        sizes = [input_size] * num_layers if isinstance(input_size, int) else list(input_size)
        is_sum = num_layers > 1 and config.frames.combine == "sum"
        self.layer_weights = nn.Parameter(torch.zeros(num_layers)) if is_sum else None
        name = "+".join(config.pooling)
        sizes = sizes[:1] if is_sum else sizes
        units = config.frames.projection
        self.projections = nn.ModuleList(_projection(size, units) for size in (sizes if units else ()))
        self.poolings = nn.ModuleList(pooling.create(name, units or size, config.pooling) for size in sizes)
        if isinstance(config.head, LinearConfig) and self.is_trained:
            part = "the weights of the layers" if is_sum else "the projection" if units else f"the pooling {name}"
            raise SoctkError(
                f"the head linear cannot train {part}",
                remedy="Choose the head mlp, or a pooling without trained parameters, such as soc_full instead of soc, "
                "--set frames.projection=0, and --combine concat for several layers.",
                where="--head",
            )
        self.head = _head(self.descriptor_size, num_classes, config.head)

    @property
    def is_trained(self) -> bool:
        """Whether there are trained parameters before the head."""
        layers = [*self.projections, *self._layers()]
        return self.layer_weights is not None or any(True for layer in layers for _ in layer.parameters())

    @property
    def descriptor_size(self) -> int:
        """P, the number of values of a descriptor."""
        return sum(layer.output_size for layer in self._layers())

    @property
    def output_layer(self) -> nn.Linear:
        """The last layer."""
        return cast(nn.Linear, self.head[-1] if isinstance(self.head, nn.Sequential) else self.head)

    def describe(self, frames: torch.Tensor, lengths: torch.Tensor, first: int = 0) -> torch.Tensor:
        """Return descriptors `(B, P)`; for one of several encoders, its part of them.

        Args:
            frames: `(sum of T, L, D)`, one utterance after the other.
            lengths: T of each utterance, `(B,)`, in frames.
            first: how many hidden states of other encoders precede those in `frames`.
        """
        if self.layer_weights is not None:
            weights = self.layer_weights.softmax(0)
            weighted = [weight * frames[:, i] for i, weight in enumerate(weights)]
            frames = reduce(torch.add, weighted).unsqueeze(1)
        pooled = [
            layer.pool_concatenated(
                self.projections[first + i](frames[:, i]) if self.projections else frames[:, i], lengths
            )
            for i, layer in enumerate(self._layers()[first : first + frames.shape[1]])
        ]
        return torch.cat(pooled, dim=1)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return logits `(B, num_classes)`, for the arguments of `describe`."""
        return self.head(self.describe(frames, lengths))

    def _layers(self) -> list[Pooling]:
        return cast(list[Pooling], list(self.poolings))


def _projection(input_size: int, units: int) -> nn.Module:
    """Return a layer on each frame, as in EmoBox (arXiv 2406.07162) and SUPERB (arXiv 2105.01051)."""
    return nn.Sequential(nn.Linear(input_size, units), nn.ReLU())


def _head(input_size: int, num_classes: int, config: MLPConfig | LinearConfig) -> nn.Module:
    """Return a linear layer, or the MLP of the SOC paper (arXiv 2606.06550)."""
    if isinstance(config, LinearConfig) or not config.hidden:
        return nn.Linear(input_size, num_classes)
    return nn.Sequential(
        nn.Linear(input_size, config.hidden),
        nn.BatchNorm1d(config.hidden),
        nn.ReLU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.hidden, num_classes),
    )
