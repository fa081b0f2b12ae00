"""Regularisation of covariances, which makes them positive definite, and its derivatives."""

from typing import NamedTuple

import torch

from soctk.pooling.frames import require_finite


def regularise(squares, degrees, size, shrinkage, eps, per_trace, floor):
    """Return the scale a and the ridge r of the regularised covariance C' = a X'X + r I.

    C' = ((1-alpha) C + alpha (tr C / D) I) / (per_trace tr C + floor) + eps I, with C = X'X / degrees.
    The function works on numbers, on tensors, and inside kernels that numba compiles.

    Args:
        squares: tr X'X.
        degrees: the degrees of freedom, T - 1.
        size: D.
        shrinkage: alpha.
        eps: the multiple of the identity that is added at the end.
        per_trace: 1 / (the trace that C is normalised to); 0 for no normalisation.
        floor: eps, which keeps the divisor above 0; 1 for no normalisation.

    Returns:
        a, r, and the derivatives of a and of r with respect to tr X'X.
    """
    trace = squares / degrees
    divisor, divisor_slope = trace * per_trace + floor, per_trace / degrees
    scale, ridge = (1 - shrinkage) / divisor / degrees, shrinkage * trace / size / divisor
    ridge_slope = shrinkage / size / divisor / degrees - ridge / divisor * divisor_slope
    return scale, ridge + eps, -scale / divisor * divisor_slope, ridge_slope


def constants(shrinkage: float, eps: float, trace: float | None) -> tuple[float, float, float, float]:
    """Return the last four arguments of `regularise`.

    All are converted to float, because numba compiles a kernel again for each new type of its arguments.

    Args:
        shrinkage: alpha.
        eps: as in `regularise`.
        trace: the trace that C is normalised to; None for no normalisation.
    """
    per_trace, floor = (0.0, 1.0) if trace is None else (1 / trace, float(eps))
    return float(shrinkage), float(eps), per_trace, floor


class Regularisation(NamedTuple):
    """The regularised covariances C' = a X'X + r I of a batch; all attributes are `(B,)`.

    Attributes:
        scale: a.
        ridge: r.
        scale_slope: the derivative of a with respect to tr X'X.
        ridge_slope: the derivative of r with respect to tr X'X.
    """

    scale: torch.Tensor
    ridge: torch.Tensor
    scale_slope: torch.Tensor
    ridge_slope: torch.Tensor

    @classmethod
    def from_squares(
        cls, squares: torch.Tensor, lengths: torch.Tensor, size: int, shrinkage: float, eps: float, trace: float | None
    ) -> "Regularisation":
        """Return the regularisation of a batch.

        Args:
            squares: tr X'X `(B,)` of the centred frames X.
            lengths: `(B,)` in frames.
            size: D.
            shrinkage: alpha.
            eps: as in `regularise`.
            trace: the trace that C is normalised to; None for no normalisation.

        Raises:
            ValueError: a trace is NaN or infinite.
        """
        require_finite(squares)
        degrees = (lengths - 1).clamp(min=1).to(squares.dtype)
        return cls(*regularise(squares, degrees, size, *constants(shrinkage, eps, trace)))

    def grad_squares(self, grad_scale: torch.Tensor, grad_ridge: torch.Tensor) -> torch.Tensor:
        """Return the gradient `(B,)` for tr X'X, given the gradients `(B,)` for a and r."""
        return self.scale_slope * grad_scale + self.ridge_slope * grad_ridge
