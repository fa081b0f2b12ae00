"""Logistic regression on the coordinates of descriptors, the linear head for classes; scikit-learn fits it."""

import warnings
from copy import copy

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from soctk.training.logistic_parts import LogisticInParts, one_class
from soctk.training.within_class import WithinClass

_LARGE = 1 << 24  # numbers; a GPU fits fewer of them no faster than the CPU


def solver(
    values: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    shrinkage: float,
    weights: np.ndarray | None = None,
    device: str = "cpu",
) -> "Solver":
    """Return the faster solver for these inputs; the arguments but the device are those of LogisticSolver."""
    if device == "cpu" or values.size < _LARGE:
        return LogisticSolver(values, labels, num_classes, shrinkage, weights)
    shares = np.eye(num_classes)[labels] if weights is None or weights.ndim == 1 else weights
    if weights is not None and weights.ndim == 1:
        shares = shares * weights[:, None]
    inputs, classes, likelihood = (torch.from_numpy(each).to(device) for each in (values, labels, shares))
    return LogisticInParts([inputs], classes.long(), likelihood, shrinkage)


class LogisticSolver:
    """Fits of one multinomial logistic regression with different C; each starts from the weights of the one before.

    Args:
        values: the training inputs `(n, R)`.
        labels: their classes `(n,)`, from 0.
        num_classes: K. A class without a training utterance has the posterior 0.
        shrinkage: the shrinkage alpha of WithinClass.
        weights: the weight of each input in the likelihood, `(n,)`; or the weights of its copies with each class,
            `(n, K)`, if it has a distribution over classes; None for the weight 1.
    """

    def __init__(
        self,
        values: np.ndarray,
        labels: np.ndarray,
        num_classes: int,
        shrinkage: float,
        weights: np.ndarray | None = None,
    ):
        self._labels, self._num_classes, self._weights = labels, num_classes, weights
        copied = None
        if weights is not None and weights.ndim == 2:
            copied, self._labels = np.nonzero(weights)
            self._weights = weights[copied, self._labels]
        self._classes = np.unique(self._labels)
        if len(self._classes) > 1:
            self._within = WithinClass(values, labels, shrinkage)
            inputs = self._within.normalise(values)
            self._inputs = inputs if copied is None else inputs[copied]
            # With the default tolerance of 1e-4, a fit that starts from the weights of the previous C can stop at once.
            self._model = LogisticRegression(tol=1e-5, max_iter=1000, warm_start=True)

    def fit(self, C: float) -> None:
        """See target.Solver.fit."""
        if len(self._classes) == 1:
            return
        # With a large C, the line search ends at rounding errors of float32: scikit-learn warns, but no lower loss
        # exists.
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            self._model.set_params(C=C).fit(self._inputs, self._labels, self._weights)

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Return the log-posteriors `(N, K)` for values `(copies, N, R)`: of the mean of the posteriors over copies.

        If all training utterances have one class, its posterior is 1.
        """
        copies, count, size = values.shape
        posteriors = np.zeros((copies * count, self._num_classes), dtype=np.float32)
        if len(self._classes) == 1:
            posteriors[:, self._classes] = 1
        else:
            on_values = copy(self._model)
            on_values.coef_ = self._within.weight(self._model.coef_)
            posteriors[:, self._classes] = on_values.predict_proba(values.reshape(-1, size))
        with np.errstate(divide="ignore"):
            return np.log(posteriors.reshape(copies, count, -1).mean(0))

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """See target.Solver.weights. A class without training utterances has the bias -inf, so it is never chosen.

        Raises:
            SoctkError: all training utterances have the same class.
        """
        if len(self._classes) == 1:
            raise one_class()
        own_weight, own_bias = self._within.weight(self._model.coef_), self._model.intercept_
        if len(self._classes) == 2:  # scikit-learn has the logit of the second class only; the logit of the first is 0
            own_weight, own_bias = np.vstack([0 * own_weight, own_weight]), np.append(0, own_bias)
        weight = np.zeros((self._num_classes, own_weight.shape[1]), dtype=own_weight.dtype)
        bias = np.full(self._num_classes, -np.inf)
        weight[self._classes], bias[self._classes] = own_weight, own_bias
        return weight, bias


Solver = LogisticSolver | LogisticInParts
