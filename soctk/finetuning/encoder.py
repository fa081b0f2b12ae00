"""The encoder of a run: the parameters that are trained, and the tensors that differ from the checkpoint afterwards."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from soctk.errors import SoctkError, missing_package, plural
from soctk.features import upstream
from soctk.features.extract import Extraction
from soctk.features.upstream.huggingface import HuggingFaceUpstream
from soctk.schema import FineTuneConfig

# config.model_type of the encoders that can be trained: a batch gives the frames and gradients of its utterances alone.
FAMILIES = {"wav2vec2": "wav2vec 2.0", "hubert": "HuBERT", "wavlm": "WavLM", "whisper": "Whisper"}
# The linear layers in a transformer layer of these encoders.
_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
_FEED_FORWARD = ("fc1", "fc2", "intermediate_dense", "output_dense")
_FIXED = {"embed_positions.weight"}  # Whisper's sinusoids, which no training of Whisper changes


def load(extraction: Extraction, revision: str | None = None) -> HuggingFaceUpstream:
    """Load the pre-trained encoder that an extraction names, with weights that can be trained.

    Args:
        extraction: the settings of the encoder.
        revision: the commit of a hub id; by default the newest.

    Raises:
        SoctkError: it is not an encoder of transformers that can be trained, or its weights are not available.
    """
    name = extraction.known.source if extraction.known else extraction.upstream
    if upstream.is_huggingface(name):
        loaded = HuggingFaceUpstream(name, extraction.device, "float32", revision, is_frozen=False)
        if loaded.model_type in FAMILIES:
            if extraction.known:
                loaded.name = extraction.upstream
                upstream.check_shape(loaded, extraction.known)
            return loaded
        what = f"an encoder of the type {loaded.model_type} cannot be fine-tuned"
    else:
        what = "only encoders of Hugging Face transformers can be fine-tuned"
    raise SoctkError(
        what,
        remedy=f"Give the folder or the hub id of a checkpoint of {', '.join(FAMILIES.values())}; for other encoders, "
        "extract features (soctk-extract) and train on them (soctk-train).",
        where=f"--upstream {extraction.upstream}",
    )


def check(tune: FineTuneConfig, depth: int, family: str) -> None:
    """Check that the parameters to train exist, and that the used hidden states depend on them.

    Args:
        tune: the parameters to train, and the settings of LoRA.
        depth: the number of transformer layers below the highest hidden state that is used.
        family: the type of the encoder (FAMILIES).

    Raises:
        SoctkError: `tune` names transformer layers that the used hidden states do not depend on, or linear layers that
            cannot have LoRA.
    """
    if tune.tune == "all":
        return
    if depth == 0:
        raise SoctkError(
            "hidden state 0 is the input of the transformer layers, so none of them can be trained",
            remedy="Choose other hidden states (--layer), or --tune all.",
            where=f"--tune {tune.tune}",
        )
    if tune.tune != "lora":
        if _count(tune) > depth:
            raise SoctkError(
                f"the hidden states that are used depend on {plural(depth, 'transformer layer')} only",
                remedy=f"Choose top:{depth} or less, or higher hidden states (--layer).",
                where=f"--tune {tune.tune}",
            )
        return
    unused = [] if tune.lora_layers == "all" else [place for place in tune.lora_layers if place > depth]
    if unused:
        raise SoctkError(
            f"the hidden states that are used do not depend on transformer layer {unused[0]}",
            remedy=f"Choose layers from 1 to {depth}, or higher hidden states (--layer).",
            where="--set finetune.lora_layers",
        )
    if family == "wavlm" and tune.lora_modules != "feed_forward":
        raise SoctkError(
            "the attention of WavLM reads the weights of its linear layers itself, so LoRA would have no effect",
            remedy="Use --set finetune.lora_modules=feed_forward, or --tune top:N.",
            where=f"--set finetune.lora_modules={tune.lora_modules}",
        )


def require_peft() -> None:
    """Check that peft, which LoRA needs, is installed.

    Raises:
        SoctkError: it is not.
    """
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise missing_package("peft", "finetune", "LoRA", "--tune lora") from error


def _count(tune: FineTuneConfig) -> int:
    """Return N of the parameters top:N."""
    return int(tune.tune.partition(":")[2])


class TunedEncoder:
    """A pre-trained encoder, some parameters of which are trained.

    The encoder's own dropout and masking are off in training too, so that an utterance has the same frames in training
    and in use.

    Args:
        loaded: the encoder (`load`); it is changed.
        tune: the parameters to train, and the settings of LoRA.
        layers: the hidden states that are used.

    Attributes:
        layers: the hidden states that are used.

    Raises:
        SoctkError: `check` raises it, or peft is not installed.
    """

    def __init__(self, loaded: HuggingFaceUpstream, tune: FineTuneConfig, layers: Sequence[int]):
        self.layers = list(layers)
        self._upstream, self._is_checkpointed = loaded, tune.checkpointing
        self._depth = max(layers)  # the number of transformer layers below the highest hidden state
        check(tune, self._depth, loaded.model_type)
        self._lora: dict[str, Any] = {}
        self._trains_front_end = tune.tune == "all"
        if tune.tune == "all":
            self._train(self._used_parameters())
        else:
            self._freeze()
            if tune.tune == "lora":
                self._add_lora(tune)
            else:
                self._train(self._top(_count(tune)))
        if tune.checkpointing:
            for block in loaded.blocks[: self._depth]:
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)

    @property
    def has_frozen_front_end(self) -> bool:
        """Whether the inputs of the transformer layers do not change in training."""
        return not self._trains_front_end

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that are trained, by name."""
        return {name: weight for name, weight in self._upstream.model.named_parameters() if weight.requires_grad}

    def front_end(self, waveforms: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Return the input of the transformer layers `(T, D)` for each utterance."""
        return self._upstream.run_front_end(waveforms)

    def states(self, utterances: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the hidden states `(L, T, D)` of each utterance, for outputs `(T, D)` of the front end."""
        return self._upstream.run_layers(utterances, self.layers)

    def train(self, mode: bool) -> None:
        """Switch the dropout of LoRA on or off."""
        for layer in self._lora.values():
            layer.train(mode)

    @torch.no_grad()
    def changed(self) -> dict[str, torch.Tensor]:
        """Return the trained tensors by their names in the encoder, on the CPU; LoRA is added to the weights."""
        if not self._lora:
            return {name: weight.detach().cpu().clone() for name, weight in self.trained.items()}
        return {
            f"{name}.weight": (layer.weight + layer.get_delta_weight("default")).cpu()
            for name, layer in self._lora.items()
        }

    def _freeze(self) -> None:
        self._upstream.model.requires_grad_(False)

    def _train(self, names: Iterable[str]) -> None:
        wanted = set(names)
        for name, weight in self._upstream.model.named_parameters():
            weight.requires_grad_(name in wanted)

    def _used_parameters(self) -> list[str]:
        """Return the names of the parameters that the used hidden states depend on, except those that are fixed."""
        named = {name: each for name, each in self._upstream.model.named_parameters() if name not in _FIXED}
        noise = np.random.default_rng(0).standard_normal(self._upstream.sample_rate, dtype=np.float32)
        (states,) = self.states(self.front_end([noise]))
        gradients = torch.autograd.grad(states.square().sum(), list(named.values()), allow_unused=True)
        return [name for name, gradient in zip(named, gradients, strict=True) if gradient is not None]

    def _top(self, count: int) -> list[str]:
        """Return the names of the parameters of the highest transformer layers."""
        return self._names_in(range(self._depth - count, self._depth), _parameters)

    def _add_lora(self, tune: FineTuneConfig) -> None:
        require_peft()
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import LoraLayer

        places = range(1, self._depth + 1) if tune.lora_layers == "all" else tune.lora_layers
        kinds = {"feed_forward": _FEED_FORWARD, "attention": _ATTENTION, "both": _ATTENTION + _FEED_FORWARD}
        wanted = kinds[tune.lora_modules]
        targets = self._names_in([place - 1 for place in places], partial(_linear_layers, wanted))
        options = LoraConfig(
            r=tune.lora_rank, lora_alpha=tune.lora_alpha, lora_dropout=tune.lora_dropout, target_modules=targets
        )
        model = inject_adapter_in_model(options, self._upstream.model)
        self._lora = {name: layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}
        model.eval()

    def _names_in(self, blocks: Iterable[int], names_of) -> list[str]:
        """Return names in some transformer layers, as they are called in the encoder."""
        modules = {module: name for name, module in self._upstream.model.named_modules()}
        every = self._upstream.blocks
        return [f"{modules[every[i]]}.{name}" for i in blocks for name in names_of(every[i])]


def _parameters(block: nn.Module) -> list[str]:
    return [name for name, _ in block.named_parameters()]


def _linear_layers(wanted: Sequence[str], block: nn.Module) -> list[str]:
    return [
        name
        for name, module in block.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in wanted
    ]


def write_changed(model: nn.Module, changed: Mapping[str, torch.Tensor]) -> None:
    """Replace tensors of an encoder, which may be in another number format than float32; it becomes float32.

    Raises:
        ValueError: a tensor has no place in the encoder.
    """
    model.float()
    places = model.state_dict()
    for name, tensor in changed.items():
        if name not in places or places[name].shape != tensor.shape:
            raise ValueError(f"{name} {tuple(tensor.shape)} is not a tensor of this encoder")
    with torch.no_grad():
        for name, tensor in changed.items():
            places[name].copy_(tensor)
