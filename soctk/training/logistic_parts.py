"""Logistic regression on inputs that are read in parts: on a GPU, or larger than memory."""

from collections.abc import Iterable

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax

from soctk.errors import SoctkError

_COVARIANCE_ROWS = 50_000  # about so many inputs determine the covariance within classes


class LogisticInParts:
    """Fits of one multinomial logistic regression with different C; each starts from the weights of the one before.

    The model is that of LogisticSolver, and L-BFGS minimises the same loss with the same limits, so weights differ by
    rounding. The inputs are read once for each evaluation of the loss. Instead of the inputs, the weights are
    multiplied by the map of WithinClass.

    Args:
        parts: the training inputs, consecutive parts `(rows, R)` in float32 on one device; it is iterated many times.
        shares: the weight of each class in the likelihood of each input, `(n, K)`, on this device.
        shrinkage: the shrinkage alpha of WithinClass.
    """

    def __init__(self, parts: Iterable[torch.Tensor], shares: torch.Tensor, shrinkage: float):
        self._parts, self._num_classes = parts, shares.shape[1]
        self._classes = shares.any(0).nonzero().flatten()
        self._shares = shares[:, self._classes].float()
        self._row_weight = self._shares.sum(1, keepdim=True)
        self._total = float(self._row_weight.sum(dtype=torch.float64))
        self._scale, self._factor = _within_class(parts, self._shares, shrinkage)
        # Two classes have one logit, that of the second class; the logit of the first is 0.
        self._logits = len(self._classes) if len(self._classes) > 2 else 1
        self._solution = np.zeros(self._logits * (self._factor.shape[0] + 1))

    def fit(self, C: float) -> None:
        """See target.Solver.fit."""
        if len(self._classes) == 1:
            return
        limits = {"maxiter": 1000, "maxls": 50, "gtol": 1e-5, "ftol": 64 * np.finfo(float).eps}  # as scikit-learn
        found = minimize(self._loss, self._solution, args=(C,), method="L-BFGS-B", jac=True, options=limits)
        self._solution = found.x

    def predict(self, values: np.ndarray) -> np.ndarray:
        """See LogisticSolver.predict."""
        posteriors = np.zeros((*values.shape[:2], self._num_classes), dtype=np.float32)
        if len(self._classes) == 1:
            posteriors[..., self._classes.cpu()] = 1
        else:
            weight, bias = self.weights()
            posteriors = np.exp(log_softmax(values @ weight.T.astype(np.float32) + bias.astype(np.float32), axis=-1))
        with np.errstate(divide="ignore"):
            return np.log(posteriors.mean(0))

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """See LogisticSolver.weights.

        Raises:
            SoctkError: all training utterances have the same class.
        """
        if len(self._classes) == 1:
            raise one_class()
        weight, bias = (own.cpu().double().numpy() for own in self._on_values(self._solution)[1:])
        if self._logits == 1:
            weight, bias = np.vstack([0 * weight, weight]), np.append(0, bias)
        every_weight = np.zeros((self._num_classes, weight.shape[1]))
        every_bias = np.full(self._num_classes, -np.inf)
        every_weight[self._classes.cpu()], every_bias[self._classes.cpu()] = weight, bias
        return every_weight, every_bias

    def _on_values(self, solution: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the weights on normalised inputs `(K, R)`, those on inputs, and the biases `(K,)`."""
        numbers = torch.from_numpy(solution).to(self._factor).unflatten(0, (self._logits, -1))
        normalised, bias = numbers[:, :-1], numbers[:, -1]
        weight = torch.linalg.solve_triangular(self._factor, normalised, upper=False, left=False) / self._scale
        return normalised, weight, bias

    def _loss(self, solution: np.ndarray, C: float) -> tuple[float, np.ndarray]:
        """Return the loss, divided by the total weight of the inputs, and its gradient."""
        normalised, weight, bias = self._on_values(solution)
        grad_weight, grad_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        loss = torch.zeros((), dtype=torch.float64, device=weight.device)
        start = 0
        for part in self._parts:
            rows = slice(start, start + len(part))
            start = rows.stop
            logits = torch.addmm(bias, part, weight.T)
            if self._logits == 1:
                logits = torch.cat([torch.zeros_like(logits), logits], 1)
            log_posteriors = logits.log_softmax(1)
            loss -= (self._shares[rows] * log_posteriors).sum(dtype=torch.float64)
            difference = (log_posteriors.exp_() * self._row_weight[rows] - self._shares[rows])[:, -self._logits :]
            grad_weight.addmm_(difference.T, part)
            grad_bias += difference.sum(0)
        grad_normalised = torch.linalg.solve_triangular(self._factor.T, grad_weight, upper=True, left=False)
        penalty = 1 / (C * self._total)
        gradient = torch.cat([grad_normalised / self._scale, grad_bias[:, None]], 1) / self._total
        gradient[:, :-1] += penalty * normalised
        value = float(loss) / self._total + penalty / 2 * float(normalised.double().square().sum())
        return value, gradient.double().cpu().numpy().ravel()


def _within_class(parts: Iterable[torch.Tensor], shares: torch.Tensor, shrinkage: float) -> tuple[float, torch.Tensor]:
    """Return the scale and the factor L of WithinClass, from every k-th input if there are many."""
    step = max(1, len(shares) // _COVARIANCE_ROWS)
    labels = torch.nn.functional.one_hot(shares.argmax(1), shares.shape[1]).float()
    start, count = 0, 0
    scatter, sums, numbers = (torch.zeros((), device=shares.device, dtype=torch.float64) for _ in range(3))
    varies = torch.zeros((), device=shares.device, dtype=torch.bool)
    for part in parts:
        own = labels[start : start + len(part)][::step]
        chosen = part[::step]
        start, count = start + len(part), count + len(chosen)
        scatter = scatter + chosen.T @ chosen
        sums, numbers = sums + own.T @ chosen, numbers + own.sum(0)
        varies = varies | chosen.any(0)
    means = sums / numbers.clamp(min=1)[:, None]
    covariance = (scatter - means.T @ (means * numbers[:, None])) / count
    average = float(covariance.diagonal().sum()) / max(1, int(varies.sum()))
    scale = average**0.5 or 1.0
    covariance = covariance.mul_((1 - shrinkage) / scale**2)
    covariance.diagonal().add_(shrinkage)
    return scale, torch.linalg.cholesky(covariance).float()


def one_class() -> SoctkError:
    """Return the error for a head whose training utterances have one class."""
    return SoctkError(
        "all training utterances of the linear head have the same class",
        remedy="Give the folds more speakers or emotions, or choose the head mlp.",
        where="--head linear",
    )
