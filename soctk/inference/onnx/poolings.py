"""The poolings of soctk.pooling in numpy, for models that run without torch: frames `(T, D)` -> descriptor `(P,)`.

Each class has the options, the parameters and the equations of the layer with its name in soctk.pooling.layers. All
sums and eigendecompositions are in float64.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from soctk.schema import Section

Weights = Mapping[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]

_PROJECTION = "projection.weight"


class Pooling(Section):
    """The base class; its fields are the options of the pooling."""

    def shapes(self, size: int) -> Shapes:
        """Return the shapes of the parameters, by name, for frames of the width `size`."""
        del size
        return {}

    def output_size(self, size: int) -> int:
        """Return P for frames of the width `size`."""
        raise NotImplementedError

    def pool(self, frames: np.ndarray, weights: Weights) -> np.ndarray:
        """Return the descriptor `(P,)` of frames `(T, D)` in float64."""
        raise NotImplementedError


class Mean(Pooling):
    """The mean over time."""

    def output_size(self, size):  # noqa: D102
        return size

    def pool(self, frames, weights):  # noqa: D102
        del weights
        return frames.mean(0)


class Stats(Pooling):
    """Mean and standard deviation over time (Snyder et al. 2018)."""

    eps: PositiveFloat

    def output_size(self, size):  # noqa: D102
        return 2 * size

    def pool(self, frames, weights):  # noqa: D102
        del weights
        variance = np.square(frames - frames.mean(0)).sum(0) / max(len(frames) - 1, 1)
        return np.concatenate([frames.mean(0), np.sqrt(np.maximum(variance, self.eps))])


class ASP(Pooling):
    """Attentive statistics pooling (Okabe, Koshinaka & Shinoda 2018)."""

    hidden: PositiveInt
    eps: PositiveFloat

    def shapes(self, size):  # noqa: D102
        return {
            "attention.0.weight": (self.hidden, size),
            "attention.0.bias": (self.hidden,),
            "attention.2.weight": (1, self.hidden),
        }

    def output_size(self, size):  # noqa: D102
        return 2 * size

    def pool(self, frames, weights):  # noqa: D102
        hidden = np.tanh(frames @ weights["attention.0.weight"].T + weights["attention.0.bias"])
        scores = hidden @ weights["attention.2.weight"][0]
        attention = np.exp(scores - scores.max())
        attention /= attention.sum()
        mean = attention @ frames
        variance = attention @ np.square(frames - mean)
        return np.concatenate([mean, np.sqrt(np.maximum(variance, self.eps))])


class _SecondOrder(Pooling):
    """The options of regularisation; see `_regularise`."""

    eps: Annotated[float, Field(ge=1e-12)]
    shrinkage: Annotated[float, Field(ge=0, le=1)]
    normalisation: Literal["trace", "mean", "none"]


class SOC(_SecondOrder):
    """Second-Order Correlation pooling with the log-Euclidean map (arXiv 2606.06550)."""

    d: PositiveInt

    def shapes(self, size):  # noqa: D102
        return {_PROJECTION: (self.d, size)}

    def output_size(self, size):  # noqa: D102
        del size
        return self.d * (self.d + 1) // 2

    def pool(self, frames, weights):  # noqa: D102
        return _upper_triangle(self._matrix(frames @ weights[_PROJECTION].T))

    def _matrix(self, frames: np.ndarray) -> np.ndarray:
        return _log_covariance(frames, self)


class SOCNoLEM(SOC):
    """SOC without the logarithm: the upper triangle of the regularised covariance."""

    def _matrix(self, frames):
        centred = frames - frames.mean(0)
        scale, ridge = _regularise(centred, self)
        return scale * centred.T @ centred + ridge * np.eye(frames.shape[1])


class SOCFull(_SecondOrder):
    """The logarithm of the D x D covariance, projected after the logarithm if 0 < d < D; off-diagonal times sqrt 2."""

    d: NonNegativeInt

    def shapes(self, size):  # noqa: D102
        return {"projection": (self.d, size)} if 0 < self.d < size else {}

    def output_size(self, size):  # noqa: D102
        rows = min(self.d, size) or size
        return rows * (rows + 1) // 2

    def pool(self, frames, weights):  # noqa: D102
        logarithm = _log_covariance(frames, self, weights.get("projection"))
        off_diagonal = np.sqrt(2) * (1 - np.eye(len(logarithm))) + np.eye(len(logarithm))
        return _upper_triangle(logarithm * off_diagonal)


class Correlation(Pooling):
    """The correlations between features over time, above the diagonal (Stafylakis et al. 2022)."""

    eps: PositiveFloat

    def output_size(self, size):  # noqa: D102
        return size * (size - 1) // 2

    def pool(self, frames, weights):  # noqa: D102
        del weights
        centred = frames - frames.mean(0)
        scaled = centred / np.sqrt(np.maximum(np.square(centred).sum(0), self.eps))
        return (scaled.T @ scaled)[np.triu_indices(frames.shape[1], 1)]


POOLINGS: dict[str, type[Pooling]] = {
    "mean": Mean,
    "stats": Stats,
    "asp": ASP,
    "soc": SOC,
    "soc_nolem": SOCNoLEM,
    "soc_full": SOCFull,
    "corr": Correlation,
}


def _regularise(centred: np.ndarray, options: _SecondOrder) -> tuple[float, float]:
    """Return a and r of the regularised covariance C' = a X'X + r I of centred frames X `(T, D)`.

    C' = ((1-alpha) C + alpha (tr C / D) I) / (tr C / trace + eps) + eps I, with C = X'X / (T-1); the divisor is 1 for
    the normalisation `none`.
    """
    degrees, size = max(len(centred) - 1, 1), centred.shape[1]
    trace = np.square(centred).sum() / degrees
    divisor = {"trace": trace + options.eps, "mean": trace / size + options.eps, "none": 1.0}[options.normalisation]
    return (1 - options.shrinkage) / degrees / divisor, options.shrinkage * trace / size / divisor + options.eps


def _log_covariance(frames: np.ndarray, options: _SecondOrder, projection: np.ndarray | None = None) -> np.ndarray:
    """Return log C' `(D, D)`, or W (log C') W' with a projection W, by a decomposition of T x T or D x D.

    With X = Q diag(sqrt s) V', log C' = log(r) I + Y'Y, where Y = diag(sqrt w(s)) Q'X and w(s) = log(1 + a s / r) / s.
    """
    centred = frames - frames.mean(0)
    scale, ridge = _regularise(centred, options)
    basis = np.eye(frames.shape[1]) if projection is None else projection
    if len(frames) < frames.shape[1]:
        spectrum, vectors = np.linalg.eigh(centred @ centred.T)
        ratio = scale / ridge * np.maximum(spectrum, 0) + 1e-25  # so that 0 gives w = a / r
        factor = np.sqrt(scale / ridge * np.log1p(ratio) / ratio)[:, None] * (vectors.T @ centred)
        projected = factor if projection is None else factor @ projection.T
        return np.log(ridge) * (basis @ basis.T) + projected.T @ projected
    spectrum, vectors = np.linalg.eigh(centred.T @ centred)
    projected = basis @ vectors
    return projected * np.log(scale * np.maximum(spectrum, 0) + ridge) @ projected.T


def _upper_triangle(matrix: np.ndarray) -> np.ndarray:
    return matrix[np.triu_indices(len(matrix))]
