"""The model of a run: encoder, pooling and head, and the loss of training utterances."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import nn

from soctk.finetuning.augmentation import Augmenter
from soctk.finetuning.encoder import TunedEncoder
from soctk.finetuning.inputs import LayerInputs
from soctk.finetuning.start import LOWEST_BIAS, HeadStart
from soctk.schema import FineTuneConfig, LayerNorm
from soctk.training import linear
from soctk.training.classifier import EmotionClassifier
from soctk.training.frame_norm import normalise


class TunedModel:
    """An encoder and a classifier that are trained together.

    Args:
        encoder: the encoder.
        classifier: the pooling and the head, on the device.
        inputs: the inputs of the encoder's transformer layers.
        layer_norm: how frames are normalised.
        autocast: a context in which the encoder computes in training; predictions are computed in float32.
    """

    def __init__(
        self,
        encoder: TunedEncoder,
        classifier: EmotionClassifier,
        inputs: LayerInputs,
        layer_norm: LayerNorm,
        autocast: AbstractContextManager,
    ):
        self.encoder, self.classifier = encoder, classifier
        self._inputs, self._layer_norm, self._autocast = inputs, layer_norm, autocast
        self._crossed: tuple[torch.Tensor, torch.Tensor] | None = None
        self._part = torch.empty(0)

    def start_from(self, start: HeadStart, heads: str, utterances: Sequence[str]) -> None:
        """Set the head to a linear fit, and choose the heads of the training loss.

        Args:
            start: the fitted heads.
            heads: `crossed`, `train` or `freeze` (FineTuneConfig.heads).
            utterances: the utterances of the corpus.
        """
        linear.set_weights(self.head, start.head.weight, start.head.bias.clip(min=LOWEST_BIAS))
        self.head.requires_grad_(heads == "train")
        if heads == "crossed":
            device = self.head.weight.device
            self._crossed = start.crossed_tensors(str(device))
            self._part = torch.tensor([start.part.get(utt, -1) for utt in utterances], device=device)

    @property
    def head(self) -> nn.Linear:
        """The head linear."""
        assert isinstance(self.classifier.head, nn.Linear)
        return self.classifier.head

    @property
    def groups(self) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
        """The trained parameters by name: of the encoder, and of the pooling and the head."""
        others = {name: weight for name, weight in self.classifier.named_parameters() if weight.requires_grad}
        return (
            {f"encoder.{name}": weight for name, weight in self.encoder.trained.items()},
            {f"classifier.{name}": weight for name, weight in others.items()},
        )

    def state(self) -> dict[str, torch.Tensor]:
        """Return copies of all tensors that training changes, by name, on the CPU."""
        encoder, others = self.groups
        buffers = {f"classifier.{name}": buffer for name, buffer in self.classifier.named_buffers()}
        return {name: tensor.detach().cpu().clone() for name, tensor in {**encoder, **others, **buffers}.items()}

    @torch.no_grad()
    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Copy the tensors of `state` into the model."""
        encoder, others = self.groups
        buffers = {f"classifier.{name}": buffer for name, buffer in self.classifier.named_buffers()}
        for name, tensor in {**encoder, **others, **buffers}.items():
            tensor.copy_(state[name])

    def train(self, mode: bool = True) -> None:
        """Switch dropout and the training of batch norm on or off."""
        self.encoder.train(mode)
        self.classifier.train(mode)

    def outputs(self, rows: Sequence[int]) -> torch.Tensor:
        """Return the outputs `(B, K)` for clean rows, in float32; without a gradient, unless one is enabled."""
        return self.classifier(*self._frames(self.encoder.states(self._inputs.clean(self.encoder, rows))))

    def training_outputs(self, rows: Sequence[int], utterances: Sequence[int], augmenter: Augmenter) -> torch.Tensor:
        """Return the outputs `(B, K)` for the training loss.

        Args:
            rows: the rows of the inputs.
            utterances: the index of the utterance of each row.
            augmenter: changes the inputs.
        """
        with self._autocast:
            states = self.encoder.states(self._inputs.augmented(self.encoder, rows, augmenter))
        frames, lengths = self._frames(states)
        if self._crossed is None:
            return self.classifier(frames, lengths)
        descriptors = self.classifier.describe(frames, lengths)
        weight, bias = self._crossed
        parts = self._part[list(utterances)]
        every = torch.einsum("bp,mkp->bmk", descriptors, weight) + bias
        return every[torch.arange(len(parts), device=parts.device), parts]

    def _frames(self, states: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return normalised frames `(sum of T, L, D)` and their lengths, for hidden states `(L, T, D)`."""
        frames = [state.transpose(0, 1) for state in states]
        lengths = torch.tensor([len(one) for one in frames], device=frames[0].device)
        if self._layer_norm == "utterance":
            return torch.cat([normalise(one, "utterance") for one in frames]), lengths
        return normalise(torch.cat(frames), self._layer_norm), lengths  # once for all, as each frame is independent


def smoothed(loss: torch.Tensor, outputs: torch.Tensor, config: FineTuneConfig) -> torch.Tensor:
    """Return the loss with label smoothing: the uniform distribution has the weight config.label_smoothing."""
    share = config.label_smoothing
    return loss if not share else (1 - share) * loss - share * outputs.log_softmax(-1).mean()
