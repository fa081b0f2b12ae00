"""The layer norm of frames, which precedes the pooling: over each frame, or over each utterance."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import layer_norm

from soctk.features.settings import HAS_UNITS
from soctk.schema import LayerNorm


def of_store(setting: LayerNorm, store: Mapping[str, Any]) -> LayerNorm:
    """Return how the frames of a feature store are normalised: as in the setting, or not at all if they have units.

    The mean over values in Hz, dB and other units has no meaning. Instead, the linear head standardises each column of
    the descriptors.

    Args:
        setting: `frames.layer_norm` of an experiment.
        store: the settings of the store.
    """
    return False if store.get(HAS_UNITS) else setting


def normalise(frames: torch.Tensor, setting: LayerNorm) -> torch.Tensor:
    """Return the frames of one utterance with mean 0 and variance 1, without learned scale.

    Args:
        frames: `(T, L, D)`, L hidden states of each frame, in float32.
        setting: True normalises each frame of each hidden state over its D features (arXiv 2606.06550). `utterance`
            normalises each hidden state over all T D numbers, as EmoBox does (arXiv 2406.07162). False changes nothing.
    """
    if setting == "utterance":
        states = frames.transpose(0, 1)
        return layer_norm(states, states.shape[1:]).transpose(0, 1)
    return layer_norm(frames, frames.shape[-1:]) if setting else frames
