"""The product of frames with the projections of several models, and its gradient, in several threads of the CPU.

Each utterance is read where it is. The gradient is the sum of those of the utterances: first within groups,
in the order of the utterances, then over the groups. The group of an utterance does not depend on the batch, and an
utterance that is not in the batch of a model has a gradient of 0 for it. So, for the same gradients of the projected
frames, the sum of a model has the same bits with and without such utterances, and for any number of threads.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from soctk.pooling.threads import share
from soctk.training.frames import UTTERANCES_OF_A_PART

_GROUPS = 8


class Utterances(NamedTuple):
    """The frames of a batch.

    Attributes:
        frames: float32 frames `(T, D)` of each utterance.
        rows: the number of each utterance in the corpus.
    """

    frames: Sequence[torch.Tensor]
    rows: Sequence[int]


def project(utterances: Utterances, weight: torch.Tensor, threads: int) -> torch.Tensor:
    """Return X W' `(sum of T, n)`, one utterance after the other, with a gradient for W.

    Args:
        utterances: X.
        weight: W `(n, D)`.
        threads: the number of threads.
    """
    return _Projection.apply(weight, utterances, threads)


class _Projection(Function):
    @staticmethod
    def forward(ctx, weight, utterances, threads):
        lengths = [len(frames) for frames in utterances.frames]
        projected = weight.new_empty(sum(lengths), len(weight))
        pairs = list(zip(utterances.frames, projected.split(lengths), strict=True))

        @torch.no_grad()  # each thread has its own mode
        def work(first: int) -> None:
            for frames, place in pairs[first : first + UTTERANCES_OF_A_PART]:
                torch.mm(frames, weight.T, out=place)  # a contiguous W' would make it half as fast

        share(work, range(0, len(pairs), UTTERANCES_OF_A_PART), caller_works=True, threads=threads)
        ctx.utterances, ctx.lengths, ctx.threads = utterances, lengths, threads
        return projected

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        groups: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in range(_GROUPS)]
        # The gradient of the kernels is contiguous after the transposition.
        for row, own, frames in zip(
            ctx.utterances.rows, gradient.T.split(ctx.lengths, dim=1), ctx.utterances.frames, strict=True
        ):
            groups[row % _GROUPS].append((own, frames))
        sums = gradient.new_zeros(_GROUPS, gradient.shape[1], ctx.utterances.frames[0].shape[1])

        @torch.no_grad()
        def work(group: int) -> None:
            for own, frames in groups[group]:
                sums[group].addmm_(own, frames)

        share(work, range(_GROUPS), caller_works=True, threads=ctx.threads)
        return sums.sum(0), None, None
