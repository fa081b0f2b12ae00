"""Hidden states of an encoder, computed only up to the highest requested one."""

from collections.abc import Callable, Sequence

import torch
from torch import nn


class _HighestReached(Exception):
    """Raised to stop the encoder as soon as the highest requested hidden state is available."""


def hidden_states(
    run: Callable[[], torch.Tensor], blocks: nn.ModuleList, wanted: Sequence[int], exits: bool = True
) -> list[torch.Tensor]:
    """Return the requested hidden states. State i is the input to `blocks[i]`; the last state is the output of `run`.

    Args:
        run: runs the encoder and returns its output.
        blocks: the layers of this encoder.
        wanted: the numbers of the hidden states, from 0 to len(blocks).
        exits: whether to stop after the highest requested one. torch.export cannot follow the exception that stops.
    """
    states: dict[int, torch.Tensor] = {}

    def make_hook(layer: int):
        def keep_input(_block, args, kwargs):
            states[layer] = args[0] if args else kwargs["hidden_states"]
            if exits and layer == max(wanted):
                raise _HighestReached

        return keep_input

    hooks = [
        blocks[layer].register_forward_pre_hook(make_hook(layer), with_kwargs=True)
        for layer in wanted
        if layer < len(blocks)
    ]
    try:
        states[len(blocks)] = run()
    except _HighestReached:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return [states[layer] for layer in wanted]
