"""Pure functions on symmetric positive definite (SPD) matrices; batched over the leading dimension.

Shapes: B utterances, T frames, D features a frame.
"""

import torch


def padding(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return `(B, T, 1)` bool for frames `(B, T, D)`: whether a frame is beyond its utterance's length `(B,)`.

    Raises:
        ValueError: a length is not within 1..T, or the shapes do not fit.
    """
    if frames.dim() != 3 or lengths.shape != frames.shape[:1]:
        raise ValueError(
            f"frames (B, T, D) and lengths (B,) are needed, not {tuple(frames.shape)} and {tuple(lengths.shape)}"
        )
    if not ((lengths >= 1) & (lengths <= frames.shape[1])).all():
        raise ValueError(f"lengths must be within 1..{frames.shape[1]}, not {lengths.tolist()}")
    positions = torch.arange(frames.shape[1], device=frames.device)
    return (positions >= lengths[:, None]).unsqueeze(-1)


def mean(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the mean over time `(B, D)` of frames `(B, T, D)`; frames at or beyond `lengths` `(B,)` do not count."""
    return frames.masked_fill(padding(frames, lengths), 0).sum(1) / lengths[:, None].to(frames.dtype)


def covariance(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the unbiased covariance over time `(B, D, D)` of frames `(B, T, D)`; padding does not count.

    C = 1/(T-1) sum_t (x_t - m)(x_t - m)', m the mean over time. One frame has the covariance 0.
    """
    centred = (frames - mean(frames, lengths).unsqueeze(1)).masked_fill(padding(frames, lengths), 0)
    degrees = (lengths - 1).clamp(min=1).to(frames.dtype)
    return centred.mT @ centred / degrees[:, None, None]


def trace_normalise(matrices: torch.Tensor, eps: float) -> torch.Tensor:
    """Return C / (tr C + eps) + eps I for matrices `(B, D, D)`: free of scale, and positive definite even for C = 0."""
    trace = matrices.diagonal(dim1=-2, dim2=-1).sum(-1)
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    return matrices / (trace + eps)[:, None, None] + eps * identity


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

    Elements off the diagonal are not scaled by sqrt(2), so lengths are not kept; it is the layer's published form.
    """
    rows, columns = torch.triu_indices(*matrices.shape[-2:], device=matrices.device)
    return matrices[:, rows, columns]


class _MatrixLog(torch.autograd.Function):
    @staticmethod
    def forward(ctx, matrices, floor):
        eigenvalues, vectors = torch.linalg.eigh(matrices)
        ctx.save_for_backward(eigenvalues, vectors)
        ctx.floor = floor
        return (vectors * eigenvalues.clamp(min=floor).log().unsqueeze(-2)) @ vectors.mT

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        eigenvalues, vectors = ctx.saved_tensors
        inner = vectors.mT @ ((gradient + gradient.mT) / 2) @ vectors
        return vectors @ (_divided_differences_of_log(eigenvalues, ctx.floor) * inner) @ vectors.mT, None


def _divided_differences_of_log(s: torch.Tensor, floor: float) -> torch.Tensor:
    """Return `(B, D, D)`: (f(a) - f(b))/(a - b), f = log max(., floor), for each pair of eigenvalues `(B, D)`.

    For near values the difference of logarithms cancels; with r = (a-b)/(a+b) it is 2 artanh(r), and the series
    artanh(r)/r = 1 + r^2/3 + r^4/5 + ... is exact to double precision after nine terms for r <= 0.1. Where both are
    below the floor f is constant.
    """
    clamped = s.clamp(min=floor)
    a, b = clamped.unsqueeze(-1), clamped.unsqueeze(-2)
    r = (a - b) / (a + b)
    near = r.abs() <= 0.1
    series = sum(r.square() ** k / (2 * k + 1) for k in range(9)) * 2 / (a + b)
    far = (a.log() - b.log()) / torch.where(near, torch.ones_like(r), a - b)
    slope = torch.where(near, series, far)
    # With one of the two below the floor, a - b is larger than between their clamped values; with both, f(a) = f(b).
    distance = s.unsqueeze(-1) - s.unsqueeze(-2)
    below = s < floor
    either = below.unsqueeze(-1) | below.unsqueeze(-2)
    chord = (a - b) / torch.where(distance == 0, torch.ones_like(distance), distance)
    return torch.where(either, slope * chord, slope)
