"""Pure functions on symmetric positive definite (SPD) matrices, and on the frames whose covariances they are.

Shapes: B utterances, T frames, D features. `lengths` `(B,)` gives the number of frames of each utterance; frames beyond
it are padding and have no effect; autocast has none either. Gradients are in closed form, and of first order only.
"""

from typing import NamedTuple

import torch

from soctk.onednn import bmm
from soctk.pooling import divided_differences, fast, products
from soctk.pooling.autocast import autocast_off
from soctk.pooling.decomposition import eigh
from soctk.pooling.frames import Slices, check_shapes, is_padding, require_finite
from soctk.pooling.gradients import (
    Covariance,
    CovarianceLog,
    CovarianceLogTriangle,
    Deviations,
    GramLog,
    MatrixLog,
    gram_precision,
    symmetric,
    trace_of,
)
from soctk.pooling.regularisation import Regularisation

__all__ = [
    "FactoredLog",
    "covariance",
    "deviations",
    "factored_log",
    "log_covariance",
    "matrix_log",
    "mean",
    "padding",
    "regularised_covariance",
    "require_finite",
    "shrink",
    "tangent_vector",
    "trace_normalise",
    "upper_triangle",
]


def padding(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Mark the padding of a batch.

    Args:
        frames: `(B, T, D)`.
        lengths: `(B,)` in frames.

    Returns:
        `(B, T, 1)` bool, True for frames beyond the length of their utterance.

    Raises:
        ValueError: the shapes do not fit, or a length is not within 1..T.
    """
    check_shapes(frames, lengths)
    return is_padding(frames, lengths)


def mean(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the mean over time, sum_t x_t / T.

    Args:
        frames: `(B, T, D)`.
        lengths: `(B,)` in frames.

    Returns:
        `(B, D)`.

    Raises:
        ValueError: the shapes do not fit, or a length is not within 1..T.
    """
    return frames.masked_fill(padding(frames, lengths), 0).sum(1) / lengths[:, None].to(frames.dtype)


def deviations(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Subtract the mean over time: x_t - m.

    The first frame is subtracted before the mean, so that constant frames give exactly 0.

    Args:
        frames: `(B, T, D)`.
        lengths: `(B,)` in frames.

    Returns:
        `(B, T, D)`; padding is 0.

    Raises:
        ValueError: the shapes do not fit, or a length is not within 1..T.
    """
    check_shapes(frames, lengths)
    return Deviations.apply(frames, lengths)


def covariance(frames: torch.Tensor, lengths: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return the unbiased covariance over time, sum_t (x_t - m)(x_t - m)' / (T-1); 0 for a single frame.

    It takes one pass over the frames: with y_t = x_t - x_1 and n their mean, C = (sum_t y_t y_t' - T n n') / (T-1).
    The shift by x_1 keeps the result accurate for large means (Chan, Golub & LeVeque 1983), because T n n' is then at
    most T times as large as the difference.

    Args:
        frames: `(B, T, D)` of any dtype.
        lengths: `(B,)` in frames.
        dtype: the dtype of the sums and of the result, such as float64; by default the dtype of the frames.
            The gradient is always computed in the dtype of the frames.

    Returns:
        `(B, D, D)`.

    Raises:
        ValueError: the shapes do not fit, or a length is not within 1..T.
    """
    check_shapes(frames, lengths)
    return Covariance.apply(frames, lengths, dtype or frames.dtype)


def shrink(matrices: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return (1-alpha) C + alpha (tr C / D) I, the shrinkage of Ledoit & Wolf (2004).

    Args:
        matrices: C `(B, D, D)`.
        alpha: within 0..1.

    Returns:
        `(B, D, D)`, with the traces of C.
    """
    return _affine(matrices, 1 - alpha, alpha * trace_of(matrices) / matrices.shape[-1])


def trace_normalise(matrices: torch.Tensor, eps: float, trace: float = 1.0) -> torch.Tensor:
    """Return C / (tr C / trace + eps) + eps I, which is positive definite even for C = 0.

    With trace = 1 it is the normalisation of arXiv 2606.06550; with trace = D, the mean eigenvalue is 1. The result
    does not depend on the scale of C as long as tr C / trace is much larger than eps.

    Args:
        matrices: C `(B, D, D)`, positive semidefinite.
        eps: larger than 0.
        trace: the trace of the result, without the terms in eps.

    Returns:
        `(B, D, D)`.
    """
    return _affine(matrices, 1 / (trace_of(matrices) / trace + eps), eps)


def matrix_log(matrices: torch.Tensor, floor: float = 1e-7) -> torch.Tensor:
    """Return the matrix logarithm U diag(log s) U' of C = U diag(s) U'.

    The gradient is U (L * (U'GU)) U' with L_ij = (log s_i - log s_j) / (s_i - s_j), and 1/s_i where the eigenvalues are
    equal (Daleckii & Krein 1965; Ionescu et al. 2015, arXiv 1509.07838). So it is finite for repeated eigenvalues,
    where autograd through the eigenvectors gives NaN.

    Args:
        matrices: C `(B, D, D)`, symmetric; the gradient is symmetric too.
        floor: smaller eigenvalues, which rounding can produce, are set to this value and have a gradient of 0.

    Returns:
        `(B, D, D)`, symmetric.

    Raises:
        torch.linalg.LinAlgError: elements are NaN or infinite.
    """
    return MatrixLog.apply(matrices, floor)


def upper_triangle(matrices: torch.Tensor) -> torch.Tensor:
    """Return the upper triangle with the diagonal, row by row: the published form of the SOC descriptor.

    Elements off the diagonal are not scaled, so inner products differ from those of the matrices; see `tangent_vector`.

    Args:
        matrices: `(B, D, D)`.

    Returns:
        `(B, D(D+1)/2)`.
    """
    rows, columns = torch.triu_indices(*matrices.shape[-2:], device=matrices.device)
    return matrices.flatten(1).index_select(1, rows * matrices.shape[-1] + columns)


def tangent_vector(matrices: torch.Tensor) -> torch.Tensor:
    """Return the upper triangle, row by row, with elements off the diagonal multiplied by sqrt 2.

    It is an isometry: inner products of the vectors equal those of the matrices, tr(A'B) (Barachant et al. 2012).

    Args:
        matrices: `(B, D, D)`, symmetric.

    Returns:
        `(B, D(D+1)/2)`.
    """
    rows, columns = torch.triu_indices(*matrices.shape[-2:], device=matrices.device)
    scale = matrices.new_ones(len(rows)).masked_fill_(rows != columns, 2**0.5)
    return upper_triangle(matrices) * scale


class FactoredLog(NamedTuple):
    """Logarithms log C = b I + Y'Y of B matrices (D, D), stored as b and the factors Y.

    Attributes:
        base: b `(B,)`.
        factor: Y `(B, R, D)`.
    """

    base: torch.Tensor
    factor: torch.Tensor

    def project(self, weight: torch.Tensor) -> torch.Tensor:
        """Return W (log C) W' = b W W' + (Y W')'(Y W') `(B, d, d)` for a weight W `(d, D)`."""
        projected = self.factor @ weight.T
        return self.base[:, None, None] * (weight @ weight.T) + projected.mT @ projected


def factored_log(
    frames: torch.Tensor, lengths: torch.Tensor, shrinkage: float, eps: float, trace: float | None = 1.0
) -> FactoredLog:
    """Return the logarithm of the regularised covariance through the T x T Gram matrix.

    With the centred frames X = Q diag(sqrt s) V', the regularised covariance C' = a X'X + r I (see `log_covariance`)
    has log C' = log(r) I + Y'Y, Y = diag(sqrt w(s)) Q'X, w(s) = log(1 + a s / r) / s, and w(0) = a / r. For T < D this
    needs a decomposition of T x T instead of D x D. It has no gradient; `log_covariance` has one.

    Args:
        frames: `(B, T, D)`, float32 or float64.
        lengths: `(B,)` in frames.
        shrinkage: alpha in `shrink`.
        eps: as in `trace_normalise`.
        trace: as in `trace_normalise`; None for no normalisation.

    Returns:
        The logarithm with the base `(B,)` and the factor `(B, T, D)`.

    Raises:
        ValueError: frames are NaN, infinite, or too large to square; or the shapes do not fit.
    """
    with torch.no_grad(), autocast_off(frames.device):
        centred = deviations(gram_precision(frames, shrinkage), lengths)
        gram = bmm(centred, centred.mT)
        terms = Regularisation.from_squares(trace_of(gram), lengths, centred.shape[-1], shrinkage, eps, trace)
        spectrum, vectors = eigh(gram)
        weight = divided_differences.gram_weight(spectrum, terms.scale, terms.ridge)
        factor = bmm((vectors * weight.sqrt().unsqueeze(1)).mT, centred).to(frames.dtype)
        return FactoredLog(terms.ridge.log().to(frames.dtype), factor)


def log_covariance(
    frames: torch.Tensor,
    lengths: torch.Tensor,
    shrinkage: float,
    eps: float,
    trace: float | None = 1.0,
    projection: torch.Tensor | None = None,
    triangle: bool = False,
) -> torch.Tensor:
    """Return the logarithm of the regularised covariance over time: log C', or W (log C') W' with a projection W.

    C' = trace_normalise(shrink(C, shrinkage), eps, trace), or shrink(C, shrinkage) + eps I where `trace` is None. For
    T < D it is computed through the T x T Gram matrix (`factored_log`; on a GPU `products`), else through the D x D
    covariance. Both are decomposed in float64: in float32, rounding of 1e-7 is 1% of an eigenvalue near eps = 1e-5.
    Only the Gram matrix stays in float32, if shrinkage keeps the eigenvalues far from 0.

    Args:
        frames: `(B, T, D)`, float32 or float64.
        lengths: `(B,)` in frames.
        shrinkage: alpha in `shrink`.
        eps: as in `trace_normalise`.
        trace: as in `trace_normalise`; None for no normalisation.
        projection: W `(d, D)`, applied after the logarithm.
        triangle: return the `upper_triangle` of the matrices instead.

    Returns:
        `(B, D, D)`, with a projection `(B, d, d)`; with `triangle` `(B, D(D+1)/2)` or `(B, d(d+1)/2)`.

    Raises:
        ValueError: frames are NaN, infinite, or too large to square; or the shapes do not fit.
    """
    check_shapes(frames, lengths)
    size, needs_gradient = frames.shape[2], torch.is_grad_enabled() and frames.requires_grad
    arguments = (frames, lengths, shrinkage, eps, trace)
    if frames.shape[1] < size and products.are_faster(frames, shrinkage):
        result = products.log_covariance(*arguments, projection)
        return upper_triangle(result) if triangle else result
    with autocast_off(frames.device):
        if frames.shape[1] < size:
            if projection is not None and not needs_gradient:
                result = factored_log(*arguments).project(projection)
            else:
                result = _project(GramLog.apply(*arguments), projection)
        elif has_kernel(frames, needs_gradient):
            rows, slices = frames.flatten(0, 1).unsqueeze(1), Slices.of_batch(frames, lengths)
            triangles = CovarianceLogTriangle.apply(rows, *slices, *arguments[2:])
            if triangle and projection is None:
                return triangles
            result = _project(symmetric(triangles, size), projection)
        else:
            result = _project(CovarianceLog.apply(*arguments), projection)
        return upper_triangle(result) if triangle else result


def regularised_covariance(
    frames: torch.Tensor, lengths: torch.Tensor, shrinkage: float, eps: float, trace: float | None = 1.0
) -> torch.Tensor:
    """Return the regularised covariance C' of `log_covariance`, in float64.

    Args:
        frames: `(B, T, D)`.
        lengths: `(B,)` in frames.
        shrinkage: alpha in `shrink`.
        eps: as in `trace_normalise`.
        trace: as in `trace_normalise`; None for no normalisation.

    Returns:
        `(B, D, D)`.

    Raises:
        ValueError: frames are NaN, infinite, or too large to square; or the shapes do not fit.
    """
    matrices = covariance(frames, lengths, torch.float64)
    require_finite(trace_of(matrices))
    if shrinkage:
        matrices = shrink(matrices, shrinkage)
    return _affine(matrices, 1, eps) if trace is None else trace_normalise(matrices, eps, trace)


def has_kernel(frames: torch.Tensor, needs_gradient: bool) -> bool:
    """Return whether a compiled kernel computes logarithms of the covariances of frames `(..., D)`."""
    is_suitable = frames.device.type == "cpu" and frames.shape[-1] <= fast.MAX_SIZE
    return is_suitable and fast.load("log and gradient" if needs_gradient else "log", frames.dtype) is not None


def _project(matrices: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    return matrices if weight is None else weight @ matrices @ weight.T


def _affine(matrices: torch.Tensor, scale: torch.Tensor | float, ridge: torch.Tensor | float) -> torch.Tensor:
    """Return scale C + ridge I for matrices `(B, D, D)`; scale and ridge are numbers or `(B,)`."""
    size = matrices.shape[-1]
    scale, ridge = (torch.as_tensor(x, dtype=matrices.dtype, device=matrices.device) for x in (scale, ridge))
    identity = torch.eye(size, dtype=matrices.dtype, device=matrices.device)
    return scale[..., None, None] * matrices + ridge[..., None, None] * identity
