"""Pure functions on symmetric positive definite (SPD) matrices and on the frames that they are the covariances of.

Shapes: B utterances, T frames, D features a frame; `lengths` `(B,)` says how many frames of each utterance count.
Gradients are in closed form and of first order: they cannot be differentiated again.
"""

from typing import NamedTuple

import torch

from soctk.onednn import bmm
from soctk.pooling.fast import kernels
from soctk.pooling.threads import share


def padding(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return `(B, T, 1)` bool for frames `(B, T, D)`: whether a frame is beyond its utterance's length `(B,)`.

    Raises:
        ValueError: a length is not within 1..T, or the shapes do not fit.
    """
    _check_shapes(frames, lengths)
    return _beyond(frames, lengths)


def mean(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the mean over time `(B, D)` of frames `(B, T, D)`."""
    return frames.masked_fill(padding(frames, lengths), 0).sum(1) / lengths[:, None].to(frames.dtype)


def deviations(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return frames `(B, T, D)` less their mean over time; 0 where there is padding.

    The first frame is taken off before the mean is, so that constant frames come out as exactly 0.
    """
    _check_shapes(frames, lengths)
    return _Deviations.apply(frames, lengths)


def covariance(frames: torch.Tensor, lengths: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return the unbiased covariance over time `(B, D, D)` of frames `(B, T, D)`.

    With y_t = x_t - x_1 and m their mean, C = (sum_t y_t y_t' - T m m') / (T-1): one pass over the frames. The shift
    (Chan, Golub & LeVeque 1983) keeps it sound for large means, for x_1 is one of the frames: T m m' is never more than
    T times the rest. One frame has the covariance 0.

    Args:
        frames: of any dtype.
        lengths: in frames.
        dtype: what the products are summed and returned in, such as float64 for frames in float32; that of the frames
            where it is None. The gradient is computed in that of the frames.
    """
    _check_shapes(frames, lengths)
    return _Covariance.apply(frames, lengths, dtype or frames.dtype)


def shrink(matrices: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return (1-alpha) C + alpha (tr C / D) I for matrices `(B, D, D)`, 0 <= alpha <= 1 (Ledoit & Wolf 2004)."""
    return _affine(matrices, 1 - alpha, alpha * _trace(matrices) / matrices.shape[-1])


def trace_normalise(matrices: torch.Tensor, eps: float, trace: float = 1.0) -> torch.Tensor:
    """Return C / (tr C / trace + eps) + eps I for matrices `(B, D, D)`: positive definite even for C = 0.

    With a trace of 1 it is the normalisation of arXiv 2606.06550; with D, the mean eigenvalue is 1. As long as
    tr C / trace is much larger than eps the result does not depend on the scale of C.
    """
    return _affine(matrices, 1 / (_trace(matrices) / trace + eps), eps)


def matrix_log(matrices: torch.Tensor, floor: float = 1e-7) -> torch.Tensor:
    """Return the logarithm of SPD matrices `(B, D, D)`: U diag(log s) U' for C = U diag(s) U'.

    The gradient is the closed form of Daleckii and Krein (1965), as in Ionescu et al. (2015, arXiv 1509.07838):
    U (L * (U' G U)) U', with L_ij = (log s_i - log s_j) / (s_i - s_j), and 1/s_i where the eigenvalues are equal, so it
    is finite for repeated eigenvalues, where autograd through the eigenvectors gives NaN.

    Args:
        matrices: symmetric; only the part of the gradient that is symmetric comes back.
        floor: eigenvalues below it, which rounding can bring about, count as `floor`, a constant.
    """
    return _MatrixLog.apply(matrices, floor)


def upper_triangle(matrices: torch.Tensor) -> torch.Tensor:
    """Return the upper triangle, row by row, of matrices `(B, D, D)` as vectors `(B, D(D+1)/2)`.

    Elements off the diagonal are not scaled, so lengths are not kept; it is the SOC layer's published form.
    """
    rows, columns = torch.triu_indices(*matrices.shape[-2:], device=matrices.device)
    return matrices.flatten(1).index_select(1, rows * matrices.shape[-1] + columns)


def tangent_vector(matrices: torch.Tensor) -> torch.Tensor:
    """Return the upper triangle of matrices `(B, D, D)` with sqrt(2) on what is off the diagonal, `(B, D(D+1)/2)`.

    An isometry: inner products of the vectors are those of the matrices, <A, B> = tr(A'B) (Barachant et al. 2012).
    """
    rows, columns = torch.triu_indices(*matrices.shape[-2:], device=matrices.device)
    scale = matrices.new_ones(len(rows)).masked_fill_(rows != columns, 2**0.5)
    return upper_triangle(matrices) * scale


class FactoredLog(NamedTuple):
    """Logarithms log C = base I + factor' factor of B matrices D x D, in memory for R x D: what they add to base I.

    Attributes:
        base: `(B,)`.
        factor: `(B, R, D)`.
    """

    base: torch.Tensor
    factor: torch.Tensor

    def dense(self) -> torch.Tensor:
        """Return log C `(B, D, D)`."""
        return _add_to_diagonal(bmm(self.factor.mT, self.factor), self.base)

    def project(self, weight: torch.Tensor) -> torch.Tensor:
        """Return W (log C) W' `(B, d, d)` for a weight W `(d, D)`: base W W' + (Y W')'(Y W'), Y the factor."""
        projected = self.factor @ weight.T
        return self.base[:, None, None] * (weight @ weight.T) + projected.mT @ projected


def factored_log(
    frames: torch.Tensor, lengths: torch.Tensor, shrinkage: float, eps: float, trace: float | None = 1.0
) -> FactoredLog:
    """Return the logarithm of the regularised covariance of frames `(B, T, D)` through their T x T Gram matrix.

    With the deviations X = Q diag(sqrt s) V' and C = X'X/(T-1), the regularised C' = a C + r I (`log_covariance`) has
    log C' = log(r) I + Y'Y, Y = diag(sqrt(w(s))) Q'X, w(s) = log(1 + a s / (r (T-1))) / s: for T < D that is a
    decomposition of T x T instead of D x D. w is finite at s = 0, where it is a / (r (T-1)).

    No gradient comes back through it; `log_covariance` has one.
    """
    with torch.no_grad():
        centred = deviations(_widened(frames, shrinkage), lengths)
        gram = bmm(centred, centred.mT)
        terms = _Regularisation.of(_trace(gram), lengths, centred.shape[-1], shrinkage, eps, trace)
        spectrum, vectors = _eigh(gram)
        weighted = vectors * _weight(spectrum, terms.scale, terms.ridge).sqrt().unsqueeze(1)
        factor = bmm(weighted.mT, centred).to(frames.dtype)
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
    """Return log C' `(B, D, D)`, C' the regularised covariance C of frames `(B, T, D)`; or W (log C') W' `(B, d, d)`.

    C' = trace_normalise(shrink(C, shrinkage), eps, trace), or shrink(C, shrinkage) + eps I where `trace` is None. It is
    computed through the smaller one of the D x D covariance and the T x T Gram matrix (`factored_log`), with a gradient
    either way; and in double precision, for in float32 rounding of 1e-7 is 1% of an eigenvalue near eps = 1e-5 (but the
    Gram matrix in float32 where shrinkage keeps eigenvalues far from 0).

    Args:
        frames: in float32 or float64.
        lengths: in frames.
        shrinkage: alpha of `shrink`.
        eps: of `trace_normalise`.
        trace: of `trace_normalise`; None for no normalisation.
        projection: W `(d, D)`, applied after the logarithm; none where it is None.
        triangle: return the `upper_triangle` of the result instead.

    Raises:
        ValueError: frames that count are NaN, infinite, or too large to square; or the shapes do not fit.
    """
    _check_shapes(frames, lengths)
    few_frames = frames.shape[1] < frames.shape[2]
    arguments = (frames, lengths, shrinkage, eps, trace)
    if few_frames and projection is not None and not (torch.is_grad_enabled() and frames.requires_grad):
        result = factored_log(*arguments).project(projection)
    elif few_frames:
        result = _project(_GramLog.apply(*arguments), projection)
    elif frames.device.type != "cpu" or frames.shape[2] > kernels.MAX_SIZE:
        result = _project(_CovarianceLog.apply(*arguments), projection)
    else:
        triangles = _CovarianceLogTriangle.apply(*arguments)
        if triangle and projection is None:
            return triangles
        result = _project(_symmetric(triangles, frames.shape[2]), projection)
    return upper_triangle(result) if triangle else result


def regularised_covariance(
    frames: torch.Tensor, lengths: torch.Tensor, shrinkage: float, eps: float, trace: float | None = 1.0
) -> torch.Tensor:
    """Return C' `(B, D, D)` of `log_covariance` in float64.

    Raises:
        ValueError: frames that count are NaN, infinite, or too large to square; or the shapes do not fit.
    """
    matrices = covariance(frames, lengths, torch.float64)
    require_finite(_trace(matrices))
    if shrinkage:
        matrices = shrink(matrices, shrinkage)
    return _affine(matrices, 1, eps) if trace is None else trace_normalise(matrices, eps, trace)


def require_finite(values: torch.Tensor) -> None:
    """Check values `(B, ...)` that were computed of B utterances.

    Raises:
        ValueError: some are NaN or infinite; the message has the places of their utterances in the batch.
    """
    finite = values.isfinite()
    if not finite.all():
        which = (~finite).flatten(1).any(1) if finite.dim() > 1 else ~finite
        numbers = which.nonzero().flatten().tolist()
        raise ValueError(
            f"frames of utterance {', '.join(map(str, numbers))} of the batch are NaN, infinite or too large"
        )


def _project(matrices: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    return matrices if weight is None else weight @ matrices @ weight.T


def _symmetric(triangles: torch.Tensor, size: int) -> torch.Tensor:
    """Return the matrices `(B, D, D)` of `upper_triangle`s."""
    rows, columns = torch.triu_indices(size, size)
    places = torch.empty(size, size, dtype=torch.long)
    places[rows, columns] = places[columns, rows] = torch.arange(len(rows))
    return triangles.index_select(1, places.flatten()).unflatten(1, (size, size))


def _trace(matrices: torch.Tensor) -> torch.Tensor:
    return matrices.diagonal(dim1=-2, dim2=-1).sum(-1)


def _affine(matrices: torch.Tensor, scale: torch.Tensor | float, ridge: torch.Tensor | float) -> torch.Tensor:
    """Return scale C + ridge I for matrices `(B, D, D)`, scale and ridge numbers or `(B,)`."""
    size = matrices.shape[-1]
    scale, ridge = (torch.as_tensor(x, dtype=matrices.dtype, device=matrices.device) for x in (scale, ridge))
    identity = torch.eye(size, dtype=matrices.dtype, device=matrices.device)
    return scale[..., None, None] * matrices + ridge[..., None, None] * identity


def _add_to_diagonal(matrices: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Add values `(B,)` times the identity to matrices `(B, D, D)` in place, and return these."""
    matrices.diagonal(dim1=-2, dim2=-1).add_(values.unsqueeze(-1))
    return matrices


class _Regularisation(NamedTuple):
    """C' of `log_covariance` as a X'X + r I for deviations X `(B, T, D)`; all `(B,)`.

    Attributes:
        scale: a.
        ridge: r.
        scale_slope: the derivative of a by tr X'X.
        ridge_slope: that of r.
    """

    scale: torch.Tensor
    ridge: torch.Tensor
    scale_slope: torch.Tensor
    ridge_slope: torch.Tensor

    @classmethod
    def of(
        cls, squares: torch.Tensor, lengths: torch.Tensor, size: int, shrinkage: float, eps: float, trace: float | None
    ) -> "_Regularisation":
        """Return that of deviations `(B, T, size)` with tr X'X `squares` `(B,)`."""
        require_finite(squares)
        degrees = (lengths - 1).clamp(min=1).to(squares.dtype)
        return cls(*kernels.regularise(squares, degrees, size, *cls.constants(shrinkage, eps, trace)))

    @staticmethod
    def constants(shrinkage: float, eps: float, trace: float | None) -> tuple[float, float, float, float]:
        """Return the last arguments of `kernels.regularise`."""
        normalisation = (0.0, 1.0) if trace is None else (1 / trace, float(eps))
        return (float(shrinkage), float(eps), *normalisation)  # kernels are compiled for the types that they are given

    def of_squares(self, of_scale: torch.Tensor, of_ridge: torch.Tensor) -> torch.Tensor:
        """Return the gradient `(B,)` of tr X'X for those of a and r."""
        return self.scale_slope * of_scale + self.ridge_slope * of_ridge


def _widened(frames: torch.Tensor, shrinkage: float) -> torch.Tensor:
    """Return frames `(B, T, D)` in the dtype for their Gram matrix: float64 unless shrinkage makes that needless.

    With it no eigenvalue of C' is more than (1-alpha) D / alpha times the smallest: below 1000 rounding in float32 is
    within 1e-5 of the logarithm.
    """
    return frames if (1 - shrinkage) * frames.shape[-1] < 1000 * shrinkage else frames.double()


def _weight(spectrum: torch.Tensor, scale: torch.Tensor, ridge: torch.Tensor) -> torch.Tensor:
    """Return w(s) = log(1 + a s / r) / s `(B, T)` for the Gram matrices' eigenvalues s `(B, T)`, a and r `(B,)`."""
    ratio = (scale / ridge).unsqueeze(-1)
    return ratio * _log1p_quotient(ratio * spectrum.clamp(min=0))


def _log1p_quotient(x: torch.Tensor) -> torch.Tensor:
    """Return log(1 + x) / x for x >= 0; 1 at 0, thanks to what is added, which changes no other value."""
    x = x + 1e-25
    return x.log1p() / x


def _check_shapes(frames: torch.Tensor, lengths: torch.Tensor) -> None:
    if frames.dim() != 3 or lengths.shape != frames.shape[:1]:
        raise ValueError(
            f"frames (B, T, D) and lengths (B,) are needed, not {tuple(frames.shape)} and {tuple(lengths.shape)}"
        )
    if not ((lengths >= 1) & (lengths <= frames.shape[1])).all():
        raise ValueError(f"lengths must be within 1..{frames.shape[1]}, not {lengths.tolist()}")


def _beyond(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    return (torch.arange(frames.shape[1], device=frames.device) >= lengths[:, None]).unsqueeze(-1)


def _clear_padding(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Set frames beyond the lengths to 0 in place, and return all."""
    if (lengths < frames.shape[1]).any():
        frames.masked_fill_(_beyond(frames, lengths), 0)
    return frames


def _deviations(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    return _subtract_mean(frames - frames[:, :1], lengths)


def _subtract_mean(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Subtract the mean over time in place, clear the padding, and return the frames."""
    _clear_padding(frames, lengths)
    frames -= frames.sum(1, keepdim=True) / lengths[:, None, None]
    return _clear_padding(frames, lengths)


class _Deviations(torch.autograd.Function):
    @staticmethod
    def forward(ctx, frames, lengths):
        ctx.save_for_backward(lengths)
        return _deviations(frames, lengths)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return _subtract_mean(gradient.clone(), *ctx.saved_tensors), None


class _Covariance(torch.autograd.Function):
    @staticmethod
    def forward(ctx, frames, lengths, dtype):
        shifted = _clear_padding(frames - frames[:, :1], lengths)
        wide = shifted.to(dtype)
        total, count = wide.sum(1, keepdim=True), lengths[:, None, None].to(dtype)
        products = torch.baddbmm(total.mT @ (total / count), wide.mT, wide, beta=-1)
        degrees = (count - 1).clamp(min=1)
        ctx.save_for_backward(shifted, (total / count).to(frames.dtype), degrees, lengths)
        return products.div_(degrees)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        shifted, average, degrees, lengths = ctx.saved_tensors
        both_sides = ((gradient + gradient.mT) / degrees).to(shifted.dtype)
        of_frames = torch.baddbmm(average @ both_sides, shifted, both_sides, beta=-1)
        return _clear_padding(of_frames, lengths), None, None


class _MatrixLog(torch.autograd.Function):
    @staticmethod
    def forward(ctx, matrices, floor):
        spectrum, vectors = _eigh(matrices)
        ctx.save_for_backward(spectrum, vectors)
        ctx.floor = floor
        return (vectors * spectrum.clamp(min=floor).log().unsqueeze(-2)) @ vectors.mT

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        spectrum, vectors = ctx.saved_tensors
        inner = vectors.mT @ (gradient + gradient.mT) @ vectors
        slopes = _divided_differences_of_log(spectrum, ctx.floor)
        return vectors @ inner.mul_(slopes).div_(2) @ vectors.mT, None


class _CovarianceLog(torch.autograd.Function):
    """log(a P + r I) for P = X'X, deviations X `(B, T, D)` of the frames, a and r as in `_Regularisation`.

    With P = U diag(s) U', G half of the incoming gradient plus its transpose and M = L * (U' G U), L the divided
    differences of log at a s + r, the gradients are U M U' for the logarithm's argument; sum_i M_ii s_i for a; tr M for
    r; and for X twice X U (a M + c I) U', c what reaches tr P through a and r. That has no mean over time, so it is the
    frames' own.
    """

    @staticmethod
    def forward(ctx, frames, lengths, shrinkage, eps, trace):
        centred = _deviations(frames, lengths)
        wide = centred.double()
        products = wide.mT @ wide
        terms = _Regularisation.of(_trace(products), lengths, products.shape[-1], shrinkage, eps, trace)
        spectrum, vectors = _eigh(products)
        spectrum.clamp_(min=0)
        regularised = torch.addcmul(terms.ridge.unsqueeze(-1), terms.scale.unsqueeze(-1), spectrum)
        vectors = vectors.to(frames.dtype)
        ctx.save_for_backward(centred, spectrum, regularised, vectors, *terms)
        return bmm(vectors * regularised.log().to(frames.dtype).unsqueeze(-2), vectors.mT)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        centred, spectrum, regularised, vectors, *terms = ctx.saved_tensors
        terms = _Regularisation(*terms)
        inner = bmm(bmm(vectors.mT, gradient + gradient.mT), vectors)  # the 2 of the gradient for X is in it
        inner.mul_(_log_slope(spectrum * terms.scale.unsqueeze(-1), regularised, inner.dtype))
        diagonal = inner.diagonal(dim1=1, dim2=2).double()
        of_squares = terms.of_squares((diagonal * spectrum).sum(-1), diagonal.sum(-1))
        inner = _add_to_diagonal(inner.mul_(terms.scale.to(inner.dtype)[:, None, None]), of_squares)
        return bmm(centred, bmm(bmm(vectors, inner), vectors.mT)), None, None, None, None


class _CovarianceLogTriangle(torch.autograd.Function):
    """The upper triangle of the same, by `soctk.pooling.fast.kernels`."""

    @staticmethod
    def forward(ctx, frames, lengths, shrinkage, eps, trace):
        regularisation = _Regularisation.constants(shrinkage, eps, trace)
        triangles, squares, saved = kernels.log_of_covariance(frames, lengths, regularisation)
        require_finite(squares)
        ctx.save_for_backward(frames, lengths, saved)
        return triangles

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        frames, lengths, saved = ctx.saved_tensors
        return kernels.gradient_of_log(gradient, frames, lengths, saved), None, None, None, None


class _GramLog(torch.autograd.Function):
    """The same through K = XX': log(a X'X + r I) = log(r) I + X' w(K) X, with the w of `_weight`.

    With K = Q diag(s) Q', R = Q'X, G the incoming gradient plus its transpose and M = R G R', the gradients are
    Q (diag(w) R G + (W * M) R) for X, W_ij the divided differences of w; sum_i M_ii / (r + a s_i) / 2 for a; and
    (tr G / 2 - a times that) / r for r. As a and r depend on tr K, twice its gradient times X comes on top.
    """

    @staticmethod
    def forward(ctx, frames, lengths, shrinkage, eps, trace):
        centred = _deviations(_widened(frames, shrinkage), lengths)
        gram = bmm(centred, centred.mT)
        terms = _Regularisation.of(_trace(gram), lengths, centred.shape[-1], shrinkage, eps, trace)
        spectrum, vectors = _eigh(gram)
        weight = _weight(spectrum, terms.scale, terms.ridge)
        rotated = bmm(vectors.mT, centred)  # as wide as they come: w is largest where this is to be 0
        factor = (rotated * weight.sqrt().unsqueeze(2)).to(frames.dtype)
        vectors, rotated = vectors.to(frames.dtype), rotated.to(frames.dtype)
        ctx.save_for_backward(spectrum.clamp(min=0), vectors, rotated, weight, *terms)
        return _add_to_diagonal(bmm(factor.mT, factor), terms.ridge.log())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        spectrum, vectors, rotated, weight, *terms = ctx.saved_tensors
        terms = _Regularisation(*terms)
        scale, ridge = terms.scale.unsqueeze(-1), terms.ridge.unsqueeze(-1)
        both = gradient + gradient.mT
        outer = bmm(rotated, both)
        inner = bmm(outer, rotated.mT)
        of_scale = (inner.diagonal(dim1=1, dim2=2) / (ridge + scale * spectrum)).sum(-1) / 2
        of_ridge = (_trace(both) / 2 - terms.scale * of_scale) / terms.ridge
        of_squares = terms.of_squares(of_scale, of_ridge)
        slopes = _divided_differences_of_weight(spectrum, terms.scale, terms.ridge, inner.dtype)
        # One factor after the other, for the square may be beyond what the dtype holds.
        ratio = (scale / ridge).unsqueeze(-1).to(inner.dtype)
        of_gram = _add_to_diagonal(inner.mul_(slopes).mul_(ratio).mul_(ratio), 2 * of_squares)
        of_rotated = torch.baddbmm(outer.mul_(weight.unsqueeze(-1).to(outer.dtype)), of_gram, rotated)
        return bmm(vectors, of_rotated), None, None, None, None


def _divided_differences_of_log(s: torch.Tensor, floor: float) -> torch.Tensor:
    """Return `(B, D, D)`: (f(a) - f(b))/(a - b), f = log max(., floor), for each pair of eigenvalues `(B, D)`."""
    f = s.clamp(min=floor)
    slope = _log_slope(f, f, s.dtype)
    below = s < floor
    if not below.any():
        return slope
    # With one of the two below the floor, a - b is larger than between their clamped values; with both, f(a) = f(b).
    difference = s.unsqueeze(-1) - s.unsqueeze(-2)
    chord = (f.unsqueeze(-1) - f.unsqueeze(-2)) / torch.where(difference == 0, 1, difference)
    return torch.where(below.unsqueeze(-1) | below.unsqueeze(-2), slope * chord, slope)


def _divided_differences_of_weight(
    spectrum: torch.Tensor, scale: torch.Tensor, ridge: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """Return `(B, T, T)`: (w(s) - w(t))/(s - t) (r/a)^2 of `_weight` for pairs of eigenvalues s, t >= 0 `(B, T)`.

    In x = a s / r and y = a t / r, x the larger one, it is (L - log(1+y)/y) / x, L the slope of log between 1 + x and
    1 + y; -1/2 at 0. The difference cancels for small x, to an error of one rounding over x beside
    1/2; the gradient, in which x is a factor of it, does not feel that.
    """
    ratio = (scale / ridge).unsqueeze(-1)
    x, quotient = ratio * spectrum, _log1p_quotient(ratio * spectrum).to(dtype)
    larger = torch.maximum(x.unsqueeze(-1), x.unsqueeze(-2)).to(dtype)
    slope = _log_slope(x, 1 + x, dtype)
    of_smaller = torch.maximum(quotient.unsqueeze(-1), quotient.unsqueeze(-2))  # log(1+y)/y falls with y
    small = larger < torch.finfo(dtype).eps ** 0.5
    return slope.sub_(of_smaller).div_(larger).masked_fill_(small, -0.5)


def _log_slope(s: torch.Tensor, shifted: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return `(B, D, D)`: (log a - log b)/(a - b) for pairs of values a, b > 0, `shifted` `(B, D)`; 1/a where a = b.

    The difference of logarithms of near values cancels; log(1 + |a - b| / min(a, b)), which is the same, does not. The
    differences a - b are taken from `s` `(B, D)`, the values less a constant.
    """
    smaller = torch.minimum(shifted.unsqueeze(-1), shifted.unsqueeze(-2))
    quotient = (s.unsqueeze(-1) - s.unsqueeze(-2)).abs_().div_(smaller)
    return _log1p_quotient(quotient.to(dtype)).div_(smaller.to(dtype))


def _eigh(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return eigenvalues `(B, D)`, in no order, and eigenvectors `(B, D, D)`, in columns, of matrices `(B, D, D)`.

    On CPU a batch of small ones is decomposed by `soctk.pooling.fast.kernels`, in float64; one of large ones by LAPACK, in which
    each is one thread's: within a matrix LAPACK gains from threads little or less than nothing.
    """
    batch, size = matrices.shape[:2]
    if matrices.device.type != "cpu" or batch <= 2:
        return tuple(torch.linalg.eigh(matrices))
    if size <= kernels.MAX_SIZE:
        return kernels.eigh(matrices)
    spectrum, vectors = matrices.new_empty(batch, size), torch.empty_like(matrices)
    step = -(-batch // (4 * torch.get_num_threads()))

    def work(start: int) -> None:
        part = slice(start, start + step)
        with torch.inference_mode():
            spectrum[part], vectors[part] = torch.linalg.eigh(matrices[part])

    share(work, range(0, batch, step))
    return spectrum, vectors
