"""Logarithms of the covariances of slices of frames, which may lie anywhere and have different lengths."""

import torch

from soctk.pooling import spd
from soctk.pooling.autocast import autocast_off
from soctk.pooling.frames import Slices
from soctk.pooling.gradients import CovarianceLogTriangle


def log_triangles(
    frames: torch.Tensor,
    slices: Slices,
    shrinkage: float,
    eps: float,
    trace: float | None = 1.0,
) -> torch.Tensor:
    """Return the upper triangles `(B, D(D+1)/2)` of `spd.log_covariance` for B slices of frames `(R, N, D)`.

    The slices may have different lengths and lie anywhere in the frames, but must not overlap. On a CPU the compiled
    kernels read them where they are; otherwise they are copied into a padded batch.

    Args:
        frames: `(R, N, D)`, float32 or float64.
        slices: on the device of the frames.
        shrinkage: as in `spd.log_covariance`.
        eps: as in `spd.log_covariance`.
        trace: as in `spd.log_covariance`.

    Raises:
        ValueError: frames are NaN, infinite, or too large to square.
    """
    size, needs_gradient = frames.shape[2], torch.is_grad_enabled() and frames.requires_grad
    with autocast_off(frames.device):
        if spd.has_kernel(frames, needs_gradient) and int(slices.lengths.max()) >= size:
            return CovarianceLogTriangle.apply(frames, *slices, shrinkage, eps, trace)
        return spd.log_covariance(slices.pad(frames), slices.lengths, shrinkage, eps, trace, triangle=True)
