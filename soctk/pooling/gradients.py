"""Autograd Functions with gradients in closed form, for `soctk.pooling.spd`.

Autograd through eigenvectors gives NaN where eigenvalues are equal; these gradients stay finite. They are of first
order: they cannot be differentiated again. Autocast has no effect on these Functions.

Notation: X the centred frames, G half of the sum of the incoming gradient and its transpose, `*` the elementwise
product, a and r as in `soctk.pooling.regularisation`.
"""

# ruff: noqa: D102  (forward and backward are documented by torch)

from importlib import import_module

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from soctk.onednn import bmm
from soctk.pooling import divided_differences
from soctk.pooling.autocast import without_autocast
from soctk.pooling.decomposition import eigh
from soctk.pooling.frames import Slices, centre, clear_padding, require_finite, subtract_mean
from soctk.pooling.regularisation import Regularisation, constants


def trace_of(matrices: torch.Tensor) -> torch.Tensor:
    """Return the traces `(B,)` of matrices `(B, D, D)`."""
    return matrices.diagonal(dim1=-2, dim2=-1).sum(-1)


def add_to_diagonal(matrices: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Add values `(B,)` times the identity to matrices `(B, D, D)` in place, and return the matrices."""
    matrices.diagonal(dim1=-2, dim2=-1).add_(values.unsqueeze(-1))
    return matrices


def is_well_conditioned(size: int, shrinkage: float) -> bool:
    """Return whether shrinkage alpha keeps the eigenvalues of C' `(D, D)` close enough for a Gram matrix in float32.

    The largest eigenvalue is at most 1 + (1-alpha) D / alpha times the smallest. Below 1000, rounding in float32
    changes the logarithm by less than 1e-5.
    """
    return (1 - shrinkage) * size < 1000 * shrinkage


def gram_precision(frames: torch.Tensor, shrinkage: float) -> torch.Tensor:
    """Return frames `(B, T, D)` in the dtype for their Gram matrix: unchanged if well-conditioned, else float64."""
    return frames if is_well_conditioned(frames.shape[-1], shrinkage) else frames.double()


def symmetric(triangles: torch.Tensor, size: int) -> torch.Tensor:
    """Return the symmetric matrices `(B, D, D)` with the given upper triangles `(B, D(D+1)/2)`."""
    rows, columns = torch.triu_indices(size, size)
    places = torch.empty(size, size, dtype=torch.long)
    places[rows, columns] = places[columns, rows] = torch.arange(len(rows))
    return triangles.index_select(1, places.flatten()).unflatten(1, (size, size))


class Deviations(Function):
    """The frames minus their mean over time."""

    @staticmethod
    @without_autocast
    def forward(ctx, frames, lengths):
        ctx.save_for_backward(lengths)
        return centre(frames, lengths)

    @staticmethod
    @without_autocast
    @once_differentiable
    def backward(ctx, gradient):
        return subtract_mean(gradient.clone(), *ctx.saved_tensors), None


class Covariance(Function):
    """The covariance in one pass over the frames; the gradient for X is 2 X G / (T-1)."""

    @staticmethod
    @without_autocast
    def forward(ctx, frames, lengths, dtype):
        shifted = clear_padding(frames - frames[:, :1], lengths)
        wide = shifted.to(dtype)
        total, count = wide.sum(1, keepdim=True), lengths[:, None, None].to(dtype)
        products = torch.baddbmm(total.mT @ (total / count), wide.mT, wide, beta=-1)
        degrees = (count - 1).clamp(min=1)
        ctx.save_for_backward(shifted, (total / count).to(frames.dtype), degrees, lengths)
        return products.div_(degrees)

    @staticmethod
    @without_autocast
    @once_differentiable
    def backward(ctx, gradient):
        shifted, average, degrees, lengths = ctx.saved_tensors
        both_sides = ((gradient + gradient.mT) / degrees).to(shifted.dtype)
        grad_frames = torch.baddbmm(average @ both_sides, shifted, both_sides, beta=-1)
        return clear_padding(grad_frames, lengths), None, None


class MatrixLog(Function):
    """log C = U diag(log s) U' for C = U diag(s) U'; the gradient is U (L * (U'GU)) U'.

    L are the divided differences of the logarithm.
    """

    @staticmethod
    @without_autocast
    def forward(ctx, matrices, floor):
        spectrum, vectors = eigh(matrices)
        ctx.save_for_backward(spectrum, vectors)
        ctx.floor = floor
        return (vectors * spectrum.clamp(min=floor).log().unsqueeze(-2)) @ vectors.mT

    @staticmethod
    @without_autocast
    @once_differentiable
    def backward(ctx, gradient):
        spectrum, vectors = ctx.saved_tensors
        inner = vectors.mT @ (gradient + gradient.mT) @ vectors
        slopes = divided_differences.floored_log_slopes(spectrum, ctx.floor)
        return vectors @ inner.mul_(slopes).div_(2) @ vectors.mT, None


class CovarianceLog(Function):
    """log(a P + r I) for P = X'X = U diag(s) U', through the D x D matrix P.

    With M = L * (U'GU), L the divided differences of the logarithm at a s + r, the gradients are: U M U' for the
    argument of the logarithm; sum_i M_ii s_i for a; tr M for r; and 2 X U (a M + c I) U' for X, where c is the gradient
    of tr P, on which a and r depend. The gradient for X has the mean 0 over time, so the frames have the same gradient.
    """

    @staticmethod
    @without_autocast
    def forward(ctx, frames, lengths, shrinkage, eps, trace):
        centred = centre(frames, lengths)
        wide = centred.double()
        products = wide.mT @ wide
        terms = Regularisation.from_squares(trace_of(products), lengths, products.shape[-1], shrinkage, eps, trace)
        spectrum, vectors = eigh(products)
        spectrum.clamp_(min=0)
        regularised = torch.addcmul(terms.ridge.unsqueeze(-1), terms.scale.unsqueeze(-1), spectrum)
        vectors = vectors.to(frames.dtype)
        ctx.save_for_backward(centred, spectrum, regularised, vectors, *terms)
        return bmm(vectors * regularised.log().to(frames.dtype).unsqueeze(-2), vectors.mT)

    @staticmethod
    @without_autocast
    @once_differentiable
    def backward(ctx, gradient):
        centred, spectrum, regularised, vectors, *terms = ctx.saved_tensors
        terms = Regularisation(*terms)
        inner = bmm(bmm(vectors.mT, gradient + gradient.mT), vectors)  # 2 U'GU, with the 2 of the gradient for X
        inner.mul_(divided_differences.log_slopes(spectrum * terms.scale.unsqueeze(-1), regularised, inner.dtype))
        diagonal = inner.diagonal(dim1=1, dim2=2).double()
        grad_squares = terms.grad_squares((diagonal * spectrum).sum(-1), diagonal.sum(-1))
        inner = add_to_diagonal(inner.mul_(terms.scale.to(inner.dtype)[:, None, None]), grad_squares)
        return bmm(centred, bmm(bmm(vectors, inner), vectors.mT)), None, None, None, None


class CovarianceLogTriangle(Function):
    """The upper triangle of `CovarianceLog` for slices of frames, by the kernels of `soctk.pooling.fast`.

    Call `fast.load` before.
    """

    @staticmethod
    @without_autocast
    def forward(ctx, frames, starts, blocks, lengths, shrinkage, eps, trace):
        kernels = import_module("soctk.pooling.fast.kernels")
        slices = Slices(starts, blocks, lengths)
        triangles, squares, saved = kernels.log_of_covariance(frames, slices, constants(shrinkage, eps, trace))
        require_finite(squares)
        ctx.save_for_backward(frames, *slices, saved)
        return triangles

    @staticmethod
    @without_autocast
    @once_differentiable
    def backward(ctx, gradient):
        kernels = import_module("soctk.pooling.fast.kernels")
        frames, *slices, saved = ctx.saved_tensors
        grad_frames = kernels.gradient_of_log(gradient, frames, Slices(*slices), saved)
        return grad_frames, None, None, None, None, None, None


class GramLog(Function):
    """log(a X'X + r I) through the T x T Gram matrix K = XX' = Q diag(s) Q': log(r) I + X' w(K) X.

    w is `divided_differences.gram_weight`. With R = Q'X and M = 2 R G R', the gradients are:
    Q (2 diag(w) R G + (W * M) R) for X, W the divided differences of w; sum_i M_ii / (r + a s_i) / 2 for a; and
    (tr G - a times the gradient for a) / r for r. As a and r depend on tr K, twice its gradient times X is added.
    """

    @staticmethod
    @without_autocast
    def forward(ctx, frames, lengths, shrinkage, eps, trace):
        centred = centre(gram_precision(frames, shrinkage), lengths)
        gram = bmm(centred, centred.mT)
        terms = Regularisation.from_squares(trace_of(gram), lengths, centred.shape[-1], shrinkage, eps, trace)
        spectrum, vectors = eigh(gram)
        weight = divided_differences.gram_weight(spectrum, terms.scale, terms.ridge)
        rotated = bmm(vectors.mT, centred)  # in full precision: w is largest where R should be 0
        factor = (rotated * weight.sqrt().unsqueeze(2)).to(frames.dtype)
        vectors, rotated = vectors.to(frames.dtype), rotated.to(frames.dtype)
        ctx.save_for_backward(spectrum.clamp(min=0), vectors, rotated, weight, *terms)
        return add_to_diagonal(bmm(factor.mT, factor), terms.ridge.log())

    @staticmethod
    @without_autocast
    @once_differentiable
    def backward(ctx, gradient):
        spectrum, vectors, rotated, weight, *terms = ctx.saved_tensors
        terms = Regularisation(*terms)
        scale, ridge = terms.scale.unsqueeze(-1), terms.ridge.unsqueeze(-1)
        both = gradient + gradient.mT
        outer = bmm(rotated, both)
        inner = bmm(outer, rotated.mT)
        grad_scale = (inner.diagonal(dim1=1, dim2=2) / (ridge + scale * spectrum)).sum(-1) / 2
        grad_ridge = (trace_of(both) / 2 - terms.scale * grad_scale) / terms.ridge
        grad_squares = terms.grad_squares(grad_scale, grad_ridge)
        slopes = divided_differences.gram_weight_slopes(spectrum, terms.scale, terms.ridge, inner.dtype)
        # One factor after the other: ratio * ratio may overflow in this dtype.
        ratio = (scale / ridge).unsqueeze(-1).to(inner.dtype)
        grad_gram = add_to_diagonal(inner.mul_(slopes).mul_(ratio).mul_(ratio), 2 * grad_squares)
        grad_rotated = torch.baddbmm(outer.mul_(weight.unsqueeze(-1).to(outer.dtype)), grad_gram, rotated)
        return bmm(vectors, grad_rotated), None, None, None, None
