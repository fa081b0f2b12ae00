"""The product of frames with the projections of several models, and its gradient, in several threads.

The frames are divided into parts of a fixed number of utterances, whatever the number of threads. So the number of
threads has no influence on the results, bit for bit.
"""

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from soctk import onednn
from soctk.pooling.threads import share


def project(frames: torch.Tensor, weight: torch.Tensor, bounds: list[int], threads: int) -> torch.Tensor:
    """Return X W' `(R, n)`, with a gradient for W.

    Args:
        frames: X `(R, D)`.
        weight: W `(n, D)`.
        bounds: where the parts of the frames begin, from 0, and the end, R.
        threads: the number of threads on a CPU.
    """
    if frames.device.type != "cpu":
        return onednn.linear(frames, weight)
    return _Projection.apply(weight, frames, bounds, threads)


class _Projection(Function):
    @staticmethod
    def forward(ctx, weight, frames, bounds, threads):
        projected = frames.new_empty(len(frames), len(weight))

        def work(part: int) -> None:
            rows = slice(bounds[part], bounds[part + 1])
            projected[rows] = onednn.linear(frames[rows], weight)

        with torch.no_grad():
            share(work, range(len(bounds) - 1), caller_works=True, threads=threads)
        ctx.save_for_backward(frames)
        ctx.bounds, ctx.threads = bounds, threads
        return projected

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (frames,) = ctx.saved_tensors
        by_column = gradient.T  # (n, R), without a copy for the gradient of the kernels
        parts = frames.new_empty(len(ctx.bounds) - 1, len(by_column), frames.shape[1])

        def work(part: int) -> None:
            rows = slice(ctx.bounds[part], ctx.bounds[part + 1])
            torch.mm(by_column[:, rows], frames[rows], out=parts[part])

        with torch.no_grad():
            share(work, range(len(parts)), caller_works=True, threads=ctx.threads)
        return parts.sum(0), None, None, None
