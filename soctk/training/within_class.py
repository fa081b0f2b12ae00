"""Within-class covariance normalisation (WCCN; Hatch, Kajarekar & Stolcke 2006), a method of speaker recognition."""

import numpy as np
from scipy.linalg import cholesky, solve_triangular


class WithinClass:
    """A linear map that gives inputs the same variance within classes in every direction.

    Directions in which utterances of one class vary much, for example by speaker, carry little information about the
    class. Let S be the covariance of the values around the means of their classes, and let
    LL' = (1-alpha) S + alpha (tr S / R) I; then values v become L^-1 v. With alpha = 1 the values are only scaled, to a
    mean variance of 1 within classes.

    Args:
        values: the training inputs `(N, R)`; a column of zeros is not counted in R.
        labels: their classes `(N,)`.
        shrinkage: alpha.
    """

    def __init__(self, values: np.ndarray, labels: np.ndarray, shrinkage: float):
        residuals = values.copy()
        for label in np.unique(labels):
            residuals[labels == label] -= values[labels == label].mean(0)
        average = residuals.var(0).sum() / max(1, values.any(0).sum())
        self._scale, self._factor = float(np.sqrt(average)) or 1.0, None
        if shrinkage < 1:
            residuals /= self._scale
            covariance = (1 - shrinkage) / len(values) * (residuals.T @ residuals)
            covariance[np.diag_indices(len(covariance))] += shrinkage
            self._factor = cholesky(covariance, lower=True)

    def normalise(self, values: np.ndarray) -> np.ndarray:
        """Return the normalised values `(N, R)`."""
        scaled = values / self._scale
        if self._factor is None:
            return scaled
        return solve_triangular(self._factor, scaled.T, lower=True, overwrite_b=True, check_finite=False).T

    def weight(self, on_normalised: np.ndarray) -> np.ndarray:
        """Return the weights `(K, R)` on values that give the same logits as these weights on normalised values."""
        if self._factor is not None:
            on_normalised = solve_triangular(self._factor, on_normalised.T, lower=True, trans="T").T
        return on_normalised / self._scale
