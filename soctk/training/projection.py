"""The product of frames with the projections of several models, and its gradient, in several threads.

The gradient is summed utterance by utterance, in their order. An utterance that is not in the batch of a model has a
gradient of 0 for it. So, for the same gradients of the projected frames, the sum of a model has the same bits with and
without such utterances, and for any number of threads.
"""

import itertools

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from soctk import onednn
from soctk.pooling.threads import share
from soctk.training.frames import UTTERANCES_OF_A_PART

_COLUMNS = 256  # of the gradient, for one thread


def project(frames: torch.Tensor, weight: torch.Tensor, bounds: list[int], threads: int) -> torch.Tensor:
    """Return X W' `(R, n)`, with a gradient for W.

    Args:
        frames: X `(R, D)`.
        weight: W `(n, D)`.
        bounds: where the utterances begin in the frames, from 0, and the end, R.
        threads: the number of threads on a CPU.
    """
    if frames.device.type != "cpu":
        return onednn.linear(frames, weight)
    return _Projection.apply(weight, frames, bounds, threads)


class _Projection(Function):
    @staticmethod
    def forward(ctx, weight, frames, bounds, threads):
        projected = frames.new_empty(len(frames), len(weight))
        count = len(bounds) - 1

        @torch.no_grad()  # each thread has its own mode
        def work(first: int) -> None:
            rows = slice(bounds[first], bounds[min(first + UTTERANCES_OF_A_PART, count)])
            projected[rows] = onednn.linear(frames[rows], weight)

        share(work, range(0, count, UTTERANCES_OF_A_PART), caller_works=True, threads=threads)
        ctx.save_for_backward(frames)
        ctx.bounds, ctx.threads = bounds, threads
        return projected

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (frames,) = ctx.saved_tensors
        by_column = gradient.T  # (n, R), without a copy for the gradient of the kernels
        grad_weight = frames.new_zeros(len(by_column), frames.shape[1])

        @torch.no_grad()
        def work(first: int) -> None:
            columns = slice(first, first + _COLUMNS)
            own, own_frames = grad_weight[:, columns], frames[:, columns]
            for start, end in itertools.pairwise(ctx.bounds):
                own.addmm_(by_column[:, start:end], own_frames[start:end])

        share(work, range(0, frames.shape[1], _COLUMNS), caller_works=True, threads=ctx.threads)
        return grad_weight, None, None, None
