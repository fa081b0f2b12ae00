"""The logarithm in full dimension by matrix products alone, for GPUs.

A GPU decomposes a batch of matrices slowly, and multiplies them fast. Shrinkage bounds the spectrum, so a polynomial of
a moderate degree replaces the eigendecomposition of the Gram matrix (tests/bench/README.md has the times of both).
"""

import math
from functools import cache, partial

import numpy as np
import torch
from numpy.polynomial import Chebyshev

from soctk.pooling.autocast import call_without_autocast
from soctk.pooling.gradients import Deviations, is_well_conditioned, trace_of
from soctk.pooling.regularisation import Regularisation

_TOLERANCE = 1e-6  # of an eigenvalue of the logarithm


def are_faster(frames: torch.Tensor, shrinkage: float) -> bool:
    """Return whether `log_covariance` of this module is the faster way for frames `(B, T, D)` with T < D, and as exact.

    Where the Gram matrix is not well-conditioned, it needs float64, and the polynomial a higher degree.
    """
    is_bounded = 0 < shrinkage < 1 and is_well_conditioned(frames.shape[2], shrinkage)
    return frames.is_cuda and frames.dtype == torch.float32 and is_bounded


def log_covariance(
    frames: torch.Tensor,
    lengths: torch.Tensor,
    shrinkage: float,
    eps: float,
    trace: float | None,
    projection: torch.Tensor | None,
) -> torch.Tensor:
    """Return log C' = log(r) I + X' w(K) X, or W (log C') W' with a projection W; K = XX' is the Gram matrix.

    X are the centred frames, C' = a X'X + r I the regularised covariance (soctk.pooling.regularisation), and
    w(s) = log(1 + a s / r) / s. With x = a s / r, w is a/r times the function log(1 + x) / x, for which
    `log1p_quotient` has a polynomial. Autograd gives the gradient, which is finite for repeated eigenvalues.

    Args:
        frames: `(B, T, D)`.
        lengths: `(B,)` in frames.
        shrinkage: alpha > 0.
        eps: as in `spd.trace_normalise`.
        trace: as in `spd.trace_normalise`; None for no normalisation.
        projection: W `(d, D)`.

    Returns:
        `(B, D, D)`, with a projection `(B, d, d)`.

    Raises:
        ValueError: frames are NaN, infinite, or too large to square.
    """
    function = partial(_log_covariance, options=(shrinkage, eps, trace), projection=projection)
    return call_without_autocast(function, frames, lengths, [] if projection is None else [projection])


def _log_covariance(
    frames: torch.Tensor,
    lengths: torch.Tensor,
    options: tuple[float, float, float | None],
    projection: torch.Tensor | None,
) -> torch.Tensor:
    size, shrinkage = frames.shape[2], options[0]
    centred = Deviations.apply(frames, lengths)
    gram = centred @ centred.mT
    terms = Regularisation.from_squares(trace_of(gram), lengths, size, *options)
    ratio = (terms.scale / terms.ridge)[:, None, None]
    weight = ratio * log1p_quotient(ratio * gram, _bound(size, shrinkage))
    base = terms.ridge.log()[:, None, None]
    if projection is None:
        identity = torch.eye(size, dtype=frames.dtype, device=frames.device)
        return centred.mT @ weight @ centred + base * identity
    projected = centred @ projection.T
    return projected.mT @ weight @ projected + base * (projection @ projection.T)


def _bound(size: int, shrinkage: float) -> float:
    """Return the upper limit of a s / r for each eigenvalue s of K.

    s is at most tr K = (T-1) tr C, a is proportional to (1-alpha) / (T-1), and r to at least alpha tr C / D.
    """
    return size * (1 - shrinkage) / shrinkage


def log1p_quotient(matrices: torch.Tensor, bound: float) -> torch.Tensor:
    """Return q(X), q(x) = log(1 + x) / x and q(0) = 1, of symmetric X `(B, T, T)` with eigenvalues within 0..bound.

    The polynomial interpolates log(1 + x) / x at Chebyshev points. With Chebyshev polynomials T_j it is the sum over i
    of A_i T_i(T_s), where each A_i is a combination of T_0, ..., T_(s-1); so about 2 sqrt n products are enough for the
    degree n (Paterson & Stockmeyer 1973). Clenshaw's recurrence sums over i.

    Args:
        matrices: X.
        bound: the upper limit of the eigenvalues, below some 1000.
    """
    blocks = torch.from_numpy(_blocks(bound)).to(matrices)
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    polynomials = [identity.expand_as(matrices), matrices * (2 / bound) - identity]
    for number in range(2, blocks.shape[1] + 1):
        half = number // 2  # 2 T_a T_b = T_(a+b) + T_|a-b|
        product = torch.bmm(2 * polynomials[half], polynomials[number - half])
        polynomials.append(product - polynomials[number - 2 * half])
    highest = 2 * polynomials.pop()
    parts = (blocks @ torch.stack(polynomials).flatten(1)).unflatten(1, matrices.shape)
    following, total = torch.zeros_like(matrices), parts[-1]
    for part in parts[1:-1].flip(0):
        following, total = total, torch.baddbmm(part - following, highest, total)
    return parts[0] - following + torch.bmm(highest, total) / 2


@cache
def _blocks(bound: float) -> np.ndarray:
    """Return the coefficients of A_i in `log1p_quotient` `(number of i, s)`."""
    coefficients = _coefficients(bound)
    step = math.isqrt(len(coefficients) - 1) + 1
    blocks = np.resize(np.append(coefficients, np.zeros(step)), (-(-len(coefficients) // step), step))
    for block, before in zip(blocks[:0:-1], blocks[-2::-1], strict=True):
        # T_(is+j) = 2 T_is T_j - T_(is-j)
        before[1:] -= block[:0:-1]
        block[1:] *= 2
    return blocks


def _coefficients(bound: float) -> np.ndarray:
    """Return Chebyshev coefficients p of log(1 + x) / x on 0..bound, with |x p(x) - log(1 + x)| <= _TOLERANCE."""
    points = bound * (np.cos(np.linspace(0, math.pi, 10001)) + 1) / 2
    degree = 8
    while True:
        series = Chebyshev.interpolate(_quotient, degree, [0, bound])
        if np.abs(points * (series(points) - _quotient(points))).max() <= _TOLERANCE:
            return series.coef
        degree += 1 + degree // 16


def _quotient(x: np.ndarray) -> np.ndarray:
    return np.log1p(x + 1e-300) / (x + 1e-300)
