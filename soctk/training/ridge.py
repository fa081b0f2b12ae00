"""Ridge regression on the coordinates of descriptors, the linear head for dimensions."""

import numpy as np
from scipy.linalg import eigh


class RidgeSolver:
    """Fits of one ridge regression with different C, all from one eigendecomposition.

    The weights w and the biases b minimise C sum_i |y_i - w x_i - b|^2 + |w|^2. So C is the inverse of the strength
    (`alpha` of scikit-learn's Ridge is 1 / C), and the biases are not penalised. With the centred inputs X `(n, R)`,
    X'X = V diag(s) V', w = V diag(1 / (s + 1/C)) V'X'Y (Hoerl & Kennard 1970). R is at most n, because the inputs are
    coordinates (soctk.training.coordinates).

    Args:
        values: the training inputs `(n, R)`.
        labels: their values `(n, K)` on K dimensions.
    """

    def __init__(self, values: np.ndarray, labels: np.ndarray):
        self._mean, self._mean_label = values.mean(0, dtype=np.float64), labels.mean(0)
        centred = values - self._mean
        self._eigenvalues, self._vectors = eigh(centred.T @ centred, overwrite_a=True, check_finite=False)
        self._products = self._vectors.T @ (centred.T @ (labels - self._mean_label))
        self._weight = np.zeros((labels.shape[1], values.shape[1]))

    def fit(self, C: float) -> None:
        """See target.Solver.fit."""
        strengths = np.maximum(self._eigenvalues, 0) + 1 / C
        self._weight = (self._vectors @ (self._products / strengths[:, None])).T

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Return the predicted values `(N, K)` for values `(copies, N, R)`: the mean over copies."""
        weight, bias = self.weights()
        return values.mean(0) @ weight.T + bias

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """See target.Solver.weights."""
        return self._weight, self._mean_label - self._weight @ self._mean
