"""Logistic regression on inputs that are read in parts: on a GPU, or larger than memory."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax

from soctk.errors import SoctkError
from soctk.pooling.threads import share

_COVARIANCE_ROWS = 30_000  # so many inputs, or up to twice as many, determine the covariance within classes
_COLUMNS = 1 << 10  # of the covariance, computed at a time


Result = TypeVar("Result")


class Parts(Protocol):
    """Inputs `(n, R)` in parts: a list of tensors, or an object that reads them from a file."""

    def __len__(self) -> int:
        """Return the number of parts."""

    def __getitem__(self, number: int) -> torch.Tensor:
        """Return a part `(rows, R)` in float32; all parts but the last have the same number of rows."""


class LogisticInParts:
    """Fits of one multinomial logistic regression with different C; each starts from the weights of the one before.

    The model is that of LogisticSolver, and L-BFGS minimises the same loss with the same limits, so weights differ by
    rounding. The inputs are read once for each evaluation of the loss. Instead of the inputs, the weights are
    multiplied by the map of WithinClass.

    Args:
        parts: the training inputs, all on one device; they are read many times.
        labels: their classes `(n,)`, from 0, on this device; WithinClass takes them.
        shares: the weight of each class in the likelihood of each input, `(n, K)`, on this device.
        shrinkage: the shrinkage alpha of WithinClass.
        nj: how many parts are read and multiplied at a time, each by one thread; it does not change the results.
    """

    def __init__(self, parts: Parts, labels: torch.Tensor, shares: torch.Tensor, shrinkage: float, nj: int = 1):
        self._parts, self._nj, self._num_classes = parts, nj, shares.shape[1]
        self._rows = len(parts[0])
        self._classes = shares.any(0).nonzero().flatten()
        self._shares = shares[:, self._classes].float()
        self._total = float(self._shares.sum(dtype=torch.float64))
        self._scale, self._factor = self._within_class(labels, shrinkage)
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

        def of_part(part: torch.Tensor, shares: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            logits = torch.addmm(bias, part, weight.T)
            if self._logits == 1:
                logits = torch.cat([torch.zeros_like(logits), logits], 1)
            log_posteriors = logits.log_softmax(1)
            loss = -(shares * log_posteriors).sum(dtype=torch.float64)
            difference = log_posteriors.exp_() * shares.sum(1, keepdim=True) - shares
            difference = difference[:, -self._logits :]
            return loss, difference.T @ part, difference.sum(0)

        totals = (torch.zeros((), dtype=torch.float64, device=weight.device), 0 * weight, 0 * bias)
        for result in self._of_each(of_part):
            for total, own in zip(totals, result, strict=True):
                total += own
        loss, grad_weight, grad_bias = totals
        grad_normalised = torch.linalg.solve_triangular(self._factor.T, grad_weight, upper=True, left=False)
        penalty = 1 / (C * self._total)
        gradient = torch.cat([grad_normalised / self._scale, grad_bias[:, None]], 1) / self._total
        gradient[:, :-1] += penalty * normalised
        value = float(loss) / self._total + penalty / 2 * float(normalised.double().square().sum())
        return value, gradient.double().cpu().numpy().ravel()

    def _within_class(self, labels: torch.Tensor, shrinkage: float) -> tuple[float, torch.Tensor]:
        """Return the scale and the factor L of WithinClass, from every k-th input if there are many."""
        step = max(1, len(self._shares) // _COVARIANCE_ROWS)
        chosen = torch.cat(self._of_each(lambda part, _: part[::step]))
        labels = torch.cat([own[::step] for own in labels.split(self._rows)])
        own = torch.nn.functional.one_hot(labels, self._num_classes).float()
        means = own.T @ chosen / own.sum(0).clamp(min=1)[:, None]
        chosen -= own @ means
        variance = chosen.square().mean(0).double()
        scale = float(variance.sum() / max(1, int(variance.count_nonzero()))) ** 0.5 or 1.0
        chosen *= (1 - shrinkage) ** 0.5 / scale / len(chosen) ** 0.5
        covariance = torch.cat(self._parallel(lambda columns: chosen.T @ columns, chosen.split(_COLUMNS, 1)), 1)
        covariance.diagonal().add_(shrinkage)
        return scale, torch.linalg.cholesky(covariance)

    def _of_each(self, function: Callable[[torch.Tensor, torch.Tensor], Result]) -> list[Result]:
        """Return the results of a function of each part and of its shares, in order."""

        def of_number(number: int, shares: torch.Tensor) -> Result:
            return function(self._parts[number], shares)

        shares = self._shares.split(self._rows)
        return self._parallel(of_number, range(len(self._parts)), shares)

    def _parallel(self, function: Callable[..., Result], *arguments: Iterable[Any]) -> list[Result]:
        """Return the results of a function, in order; `nj` threads with one torch thread each call it."""
        each, results = list(zip(*arguments, strict=True)), {}

        def work(number: int) -> None:
            results[number] = function(*each[number])

        share(work, range(len(each)), threads=self._nj)
        return [results[number] for number in range(len(each))]


def one_class() -> SoctkError:
    """Return the error for a head whose training utterances have one class."""
    return SoctkError(
        "all training utterances of the linear head have the same class",
        remedy="Give the folds more speakers or emotions, or choose the head mlp.",
        where="--head linear",
    )
