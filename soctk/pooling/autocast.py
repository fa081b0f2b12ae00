"""Switch autocast off: second-order statistics need float32 or float64, and mixed dtypes fail in matrix products."""

import contextlib
import functools
from collections.abc import Callable, Sequence

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def is_autocast_on(device: torch.device) -> bool:
    """Return whether torch.autocast is enabled for this device."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


def autocast_off(device: torch.device) -> contextlib.AbstractContextManager:
    """Return a context in which torch.autocast does nothing on this device."""
    return torch.autocast(device.type, enabled=False) if is_autocast_on(device) else contextlib.nullcontext()


def without_autocast(method: Callable) -> Callable:
    """Wrap `forward` or `backward` of an autograd Function, whose second argument is a tensor, in `autocast_off`.

    The backward pass needs it too: it runs under the autocast state of the caller of `backward()`.
    """

    @functools.wraps(method)
    def run(ctx, tensor, *rest):
        with autocast_off(tensor.device):
            return method(ctx, tensor, *rest)

    return run


def call_without_autocast(
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    frames: torch.Tensor,
    lengths: torch.Tensor,
    parameters: Sequence[torch.Tensor],
) -> torch.Tensor:
    """Return `function(frames, lengths)`, computed without autocast; its gradient is computed without autocast too.

    Args:
        function: any differentiable computation in torch.
        frames: `(B, T, D)`; they may require a gradient.
        lengths: `(B,)` in frames.
        parameters: all other tensors in the function that may require a gradient.
    """
    if not is_autocast_on(frames.device):
        return function(frames, lengths)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (frames, *parameters)):
        return _WithoutAutocast.apply(function, frames, lengths, *parameters)
    with autocast_off(frames.device):
        return function(frames, lengths)


class _WithoutAutocast(Function):
    """Record the graph of the function in `forward`, so that `backward` can run it without autocast."""

    @staticmethod
    def forward(ctx, function, frames, lengths, *parameters):
        ctx.inputs = [frames.detach().requires_grad_(frames.requires_grad), *parameters]
        with torch.enable_grad(), autocast_off(frames.device):
            ctx.result = function(ctx.inputs[0], lengths)
        return ctx.result.detach()

    @staticmethod
    @without_autocast
    @once_differentiable
    def backward(ctx, gradient):
        needed = [tensor for tensor in ctx.inputs if tensor.requires_grad]
        gradients = iter(torch.autograd.grad(ctx.result, needed, gradient, retain_graph=True, allow_unused=True))
        grad_frames, *grad_parameters = (next(gradients) if tensor.requires_grad else None for tensor in ctx.inputs)
        return None, grad_frames, None, *grad_parameters
