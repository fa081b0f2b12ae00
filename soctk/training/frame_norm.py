"""The layer norm of frames, which precedes the pooling: over each frame, or over each utterance."""

import torch
from torch.nn.functional import layer_norm

from soctk.schema import LayerNorm


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
