"""The classifier: frames -> normalised frames -> pooled descriptor -> head -> logits."""

import torch
from torch import nn

from soctk import pooling
from soctk.config import Config, LinearConfig, MLPConfig
from soctk.errors import SoctkError


class EmotionClassifier(nn.Module):
    """Pooling layers and a head on the hidden states of a frozen upstream.

    Of several hidden states H_l either a weighted sum is pooled, sum_l softmax(w)_l H_l with learned w, as in SUPERB
    (arXiv 2105.01051), or each is pooled by a layer of its own and their descriptors are concatenated.

    Args:
        input_size: D, the width of a frame.
        num_layers: L, how many hidden states.
        num_classes: how many emotions.
        config: pooling, head, and how several layers are combined; of layer norm the frames have had what they need.

    Raises:
        SoctkError: wrong options of the pooling, or something to be trained under a head that cannot train it.
    """

    def __init__(self, input_size: int, num_layers: int, num_classes: int, config: Config):
        super().__init__()
        is_sum = num_layers > 1 and config.frames.combine == "sum"
        self.layer_weights = nn.Parameter(torch.zeros(num_layers)) if is_sum else None
        name = "+".join(config.pooling)
        count = 1 if is_sum else num_layers
        self.poolings = nn.ModuleList(pooling.create(name, input_size, config.pooling) for _ in range(count))
        if isinstance(config.head, LinearConfig) and self.is_trained:
            what = "the weights of the layers" if is_sum else name
            raise SoctkError(
                f"the head linear is fitted to descriptors, and cannot train {what}",
                remedy="Choose the head mlp, a pooling without trained parameters, such as soc_full for soc, and of "
                "several layers --combine concat.",
                where="--head",
            )
        self.head = _head(sum(layer.output_size for layer in self.poolings), num_classes, config.head)

    @property
    def is_trained(self) -> bool:
        """Whether anything before the head has parameters."""
        return self.layer_weights is not None or any(layer.is_trained for layer in self.poolings)

    def describe(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return descriptors `(B, P)` for frames `(sum of T, L, D)`, one utterance after the other, T in `lengths`."""
        if self.layer_weights is not None:
            weights = self.layer_weights.softmax(0)
            frames = sum(weight * frames[:, i] for i, weight in enumerate(weights)).unsqueeze(1)
        pooled = [layer.pool_concatenated(frames[:, i], lengths) for i, layer in enumerate(self.poolings)]
        return torch.cat(pooled, dim=1)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return logits `(B, num_classes)` for frames and lengths as `describe` takes them."""
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
