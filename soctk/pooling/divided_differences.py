"""Divided differences (f(a) - f(b)) / (a - b) of logarithms, accurate also where a and b are nearly equal.

The gradients of matrix functions consist of them (Daleckii & Krein 1965). The plain quotient loses its digits where a
and b are close, and is 0/0 where they are equal.
"""

import torch


def log1p_quotient(x: torch.Tensor) -> torch.Tensor:
    """Return log(1 + x) / x for x >= 0, and 1 for x = 0.

    The added 1e-25 avoids 0/0; it changes the result by less than one rounding.
    """
    x = x + 1e-25
    return x.log1p() / x


def log_slopes(values: torch.Tensor, shifted: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return `(B, D, D)`: (log a - log b) / (a - b) for each pair of values a, b > 0, and 1/a where a = b.

    The quotient is computed as log(1 + q) / q / min(a, b) with q = |a - b| / min(a, b), which does not cancel.

    Args:
        values: `(B, D)`, a, or a minus a constant, which makes the differences a - b more accurate.
        shifted: `(B, D)`, a itself.
        dtype: the dtype of the result.
    """
    smaller = torch.minimum(shifted.unsqueeze(-1), shifted.unsqueeze(-2))
    quotient = (values.unsqueeze(-1) - values.unsqueeze(-2)).abs_().div_(smaller)
    return log1p_quotient(quotient.to(dtype)).div_(smaller.to(dtype))


def floored_log_slopes(spectrum: torch.Tensor, floor: float) -> torch.Tensor:
    """Return `(B, D, D)`: the divided differences of f(s) = log max(s, floor) for each pair of eigenvalues `(B, D)`."""
    floored = spectrum.clamp(min=floor)
    slopes = log_slopes(floored, floored, spectrum.dtype)
    below = spectrum < floor
    if not below.any():
        return slopes
    # Below the floor, a - b differs from the difference of the floored values; with both below, the slope is 0.
    difference = spectrum.unsqueeze(-1) - spectrum.unsqueeze(-2)
    chord = (floored.unsqueeze(-1) - floored.unsqueeze(-2)) / torch.where(difference == 0, 1, difference)
    return torch.where(below.unsqueeze(-1) | below.unsqueeze(-2), slopes * chord, slopes)


def gram_weight(spectrum: torch.Tensor, scale: torch.Tensor, ridge: torch.Tensor) -> torch.Tensor:
    """Return w(s) = log(1 + a s / r) / s `(B, T)`, and a/r for s = 0.

    Args:
        spectrum: the eigenvalues s `(B, T)` of Gram matrices.
        scale: a `(B,)`.
        ridge: r `(B,)`.
    """
    ratio = (scale / ridge).unsqueeze(-1)
    return ratio * log1p_quotient(ratio * spectrum.clamp(min=0))


def gram_weight_slopes(
    spectrum: torch.Tensor, scale: torch.Tensor, ridge: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """Return `(B, T, T)`: (w(s) - w(t)) / (s - t) (r/a)^2, w of `gram_weight`, for each pair of eigenvalues s, t >= 0.

    With x = a s / r and y = a t / r, x >= y, the result is (L - log(1+y)/y) / x, where L is the divided difference of
    log at 1 + x and 1 + y. At x = 0 it is -1/2. For small x the difference cancels: its relative error is one rounding
    over x. The gradient is not affected, because it multiplies this value by x.

    Args:
        spectrum: `(B, T)`.
        scale: a `(B,)`.
        ridge: r `(B,)`.
        dtype: the dtype of the result.
    """
    ratio = (scale / ridge).unsqueeze(-1)
    x, quotient = ratio * spectrum, log1p_quotient(ratio * spectrum).to(dtype)
    larger = torch.maximum(x.unsqueeze(-1), x.unsqueeze(-2)).to(dtype)
    slopes = log_slopes(x, 1 + x, dtype)
    quotient_of_smaller = torch.maximum(quotient.unsqueeze(-1), quotient.unsqueeze(-2))  # log(1+y)/y falls with y
    small = larger < torch.finfo(dtype).eps ** 0.5
    return slopes.sub_(quotient_of_smaller).div_(larger).masked_fill_(small, -0.5)
