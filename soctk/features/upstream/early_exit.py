"""Hidden states taken where they pass, the layers above them left out."""

from collections.abc import Callable, Sequence

import torch
from torch import nn


class _Reached(Exception):
    """The highest layer wanted has its input: nothing more is to be computed."""


def hidden_states(run: Callable[[], torch.Tensor], blocks: nn.ModuleList, wanted: Sequence[int]) -> list[torch.Tensor]:
    """Return the hidden states `wanted`: state i is what goes into `blocks[i]`, the one after them what `run` returns.

    Args:
        run: runs the encoder whose layers are `blocks` and returns its output.
        blocks: the encoder's layers.
        wanted: numbers from 0 to len(blocks).
    """
    states: dict[int, torch.Tensor] = {}

    def tap(layer: int):
        def keep(_block, args, kwargs):
            states[layer] = args[0] if args else kwargs["hidden_states"]
            if layer == max(wanted):
                raise _Reached

        return keep

    taps = [
        blocks[layer].register_forward_pre_hook(tap(layer), with_kwargs=True) for layer in wanted if layer < len(blocks)
    ]
    try:
        states[len(blocks)] = run()
    except _Reached:
        pass
    finally:
        for handle in taps:
            handle.remove()
    return [states[layer] for layer in wanted]
