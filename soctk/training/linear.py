"""The linear head: logistic regression on descriptors, its regularisation chosen by inner cross-validation."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.linalg import cholesky, solve_triangular
from scipy.linalg.lapack import dpstrf
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, recall_score
from threadpoolctl import threadpool_limits
from torch import nn

from soctk.config import LinearConfig
from soctk.errors import SoctkError
from soctk.training.recentre import Recentring


def gram(descriptors: np.ndarray, step: int = 256) -> np.ndarray | None:
    """Return the inner products `(N, N)` of centred descriptors `(N, P)`; None where P < N, which do not need them.

    Half of the products are computed, a few rows at a time, and mirrored.
    """
    if descriptors.shape[1] < len(descriptors):
        return None
    mean = torch.from_numpy(descriptors.mean(0))
    products = torch.zeros(len(descriptors), len(descriptors))
    rows = torch.from_numpy(descriptors) - mean
    for start in range(0, len(rows), step):
        end = start + step
        products[start:end, :end] = rows[start:end] @ rows[:end].T
    return (products.tril() + products.tril(-1).T).numpy()


@dataclass(frozen=True)
class Block:
    """The descriptors of all N utterances that one pooling layer makes of one hidden state.

    Attributes:
        descriptors: `(N, P)`.
        products: what `gram` returns of them.
    """

    descriptors: np.ndarray
    products: np.ndarray | None


class Standardised:
    """A block centred and scaled by what the utterances `fitted` have: a variance of 1 in sum over the dimensions.

    The numbers of a descriptor with fewer numbers than utterances get the same variance each, as numbers of different
    kinds should; those of a longer one, which are of one kind, keep the variances that they have. A number that does
    not vary is left out.
    """

    def __init__(self, block: Block, fitted: Sequence[int], recentring: Recentring | None):
        self._block, self._fitted, self._recentring = block, fitted, recentring
        if block.products is None:
            values = self._recentred(block.descriptors)
            variance = values[fitted].var(0, dtype=np.float64)
            varies = variance > 1e-12 * variance.max(initial=0)
            self._scale = np.where(varies, np.sqrt(variance * max(1, varies.sum())), np.inf).astype(np.float32)
            self.values = values - values[fitted].mean(0)
            self.values /= self._scale
            return
        products = self._recentred(self._recentred(block.products.astype(np.float64)).T)
        to_mean = products[:, fitted].mean(1, keepdims=True)
        centred = products - to_mean - to_mean.T + to_mean[fitted].mean()
        self._scale = np.sqrt(np.trace(centred[np.ix_(fitted, fitted)]) / len(fitted)) or np.inf
        self._products = centred / self._scale**2

    def products(self) -> np.ndarray:
        """Return the inner products `(N, N)` of the standardised descriptors."""
        return self.values @ self.values.T if self._block.products is None else self._products

    def weight(self, of_fitted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the weight `(K, P)` on re-centred descriptors, and the bias, of a classifier of standardised ones.

        Args:
            of_fitted: `(K, fitted)`, the factors with which its weight is a sum of standardised descriptors.
        """
        if self._block.products is None:
            return self.weight_of_values(of_fitted @ self.values[self._fitted])
        factors = np.zeros((len(of_fitted), len(self._block.descriptors)))
        factors[:, self._fitted] = of_fitted - of_fitted.mean(1, keepdims=True)
        average = np.zeros((1, factors.shape[1]))
        average[:, self._fitted] = 1 / len(self._fitted)
        both = np.vstack([factors / self._scale**2, average])
        if self._recentring:
            both = self._recentring.transposed(both, self._fitted)
        weight, mean = np.split(both.astype(np.float32) @ self._block.descriptors, [len(factors)])
        return weight, -(weight @ mean[0])

    def weight_of_values(self, of_values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the same for a classifier with the weight `of_values` `(K, P)` on `values`."""
        weight = of_values / self._scale
        return weight, -(weight @ self._recentred(self._block.descriptors)[self._fitted].mean(0))

    def _recentred(self, values: np.ndarray) -> np.ndarray:
        return self._recentring.without_means(values, self._fitted) if self._recentring else values


class Basis:
    """An orthonormal basis of the space that N vectors span, by Gram and Schmidt: R of them, each less what is before.

    That is their inner products' pivoted Cholesky decomposition, K = L L' in the order in which most was left of them,
    at a fifth of the cost of eigenvectors; it ends where no more is left than rounding of products in float32.

    Args:
        products: K `(N, N)`.
    """

    def __init__(self, products: np.ndarray):
        factor, order, rank, _ = dpstrf(products, lower=1, tol=1e-5 * products.diagonal().max())
        self._factor, self._kept, self._count = factor[:rank, :rank], order[:rank] - 1, len(products)

    def coordinates(self, products: np.ndarray) -> np.ndarray:
        """Return the coordinates `(M, R)` of vectors with inner products `(M, N)` with those N."""
        return solve_triangular(self._factor, products[:, self._kept].T, lower=True, check_finite=False).T

    def factors(self, coordinates: np.ndarray) -> np.ndarray:
        """Return factors `(K, N)` with which vectors with these coordinates `(K, R)` are sums of those N."""
        factors = np.zeros((len(coordinates), self._count))
        factors[:, self._kept] = solve_triangular(self._factor, coordinates.T, lower=True, trans="T").T
        return factors


class Coordinates:
    """All blocks as a linear classifier needs them: in no more dimensions than there are utterances to fit on.

    A linear classifier with L2 regularisation sees inner products alone. So where there are more numbers than
    utterances nothing is lost in an orthonormal basis of the space that the fitted utterances span, the blocks' inner
    products added: this is the dual form. Otherwise the numbers themselves are taken.

    Attributes:
        values: `(N, R)`.
    """

    def __init__(self, blocks: Sequence[Block], fitted: Sequence[int], recentring: Recentring | None = None):
        self._blocks = [Standardised(block, fitted, recentring) for block in blocks]
        self._basis = None
        if sum(block.descriptors.shape[1] for block in blocks) < len(fitted):
            self.values = np.concatenate([block.values for block in self._blocks], axis=1)
            return
        products = sum(block.products() for block in self._blocks)
        self._basis = Basis(products[np.ix_(fitted, fitted)])
        self.values = self._basis.coordinates(products[:, fitted]).astype(np.float32)

    def weight(self, of_values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return weights `(K, sum of P)` on re-centred descriptors and a bias, that do what `(K, R)` on values do."""
        if self._basis is None:
            ends = np.cumsum([block.values.shape[1] for block in self._blocks])[:-1]
            pairs = zip(self._blocks, np.split(of_values, ends, axis=1), strict=True)
            parts = [block.weight_of_values(part) for block, part in pairs]
        else:
            parts = [block.weight(self._basis.factors(of_values)) for block in self._blocks]
        weights, biases = zip(*parts, strict=True)
        return np.concatenate(weights, axis=1), np.sum(biases, axis=0)


class WithinClass:
    """Within-class covariance normalisation (WCCN; Hatch, Kajarekar & Stolcke 2006), as for speaker recognition.

    What utterances of one class differ in, such as their speakers, is what a classifier should rely on least. With S
    the covariance of values around the means of their classes, and LL' = (1-alpha) S + alpha (tr S / R) I, values v
    become L^-1 v. With alpha = 1 they are only scaled, to a variance of 1 within classes.

    Args:
        values: `(N, R)`; a column of zeros does not count in R.
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
        """Return what values `(N, R)` become."""
        scaled = values / self._scale
        if self._factor is None:
            return scaled
        return solve_triangular(self._factor, scaled.T, lower=True, overwrite_b=True, check_finite=False).T

    def weight(self, of_normalised: np.ndarray) -> np.ndarray:
        """Return weights `(K, R)` that do on values what these do on normalised ones."""
        if self._factor is not None:
            of_normalised = solve_triangular(self._factor, of_normalised.T, lower=True, trans="T").T
        return of_normalised / self._scale


def posteriors(
    blocks: Sequence[Block],
    labels: np.ndarray,
    fitted: Sequence[int],
    config: LinearConfig,
    num_classes: int,
    recentring: Recentring | None = None,
) -> np.ndarray:
    """Return the posteriors `(C, N, num_classes)` of all N utterances, by a logistic regression for each C.

    From the strongest regularisation on, one fit starts where the last one ended.

    Args:
        blocks: the descriptors of all N utterances.
        labels: classes `(N,)` from 0.
        fitted: utterances to learn from.
        config: the C, and the shrinkage of `WithinClass`.
        num_classes: how many there are; a class that none of `fitted` is of has the posterior 0.
        recentring: of the speakers, if there is to be one.

    Raises:
        SoctkError: the utterances to fit on are all of one class.
    """
    result = np.zeros((len(config.C), len(labels), num_classes), dtype=np.float32)
    with threadpool_limits(1):
        values = Coordinates(blocks, fitted, recentring).values
        within = WithinClass(values[fitted], labels[fitted], config.within_class_shrinkage)
        inputs, model = within.normalise(values[fitted]), _classifier(min(config.C), warm_start=True)
        for i in np.argsort(config.C):
            _fit(model.set_params(C=config.C[i]), inputs, labels[fitted])
            of_values = copy(model)
            of_values.coef_ = within.weight(model.coef_)
            result[i][:, model.classes_] = of_values.predict_proba(values)
    return result


def scores(
    labels: np.ndarray, inner: Sequence[tuple[Sequence[int], np.ndarray]], config: LinearConfig
) -> list[dict[str, Any]]:
    """Return a record of validation scores for each C, ascending.

    Args:
        labels: classes `(N,)` from 0.
        inner: utterances, and the `posteriors` by a fit on others; each utterance once.
        config: the C.
    """
    scored = labels[np.concatenate([utterances for utterances, _ in inner])]
    found = np.concatenate([by_C[:, utterances] for utterances, by_C in inner], axis=1)
    records = [{"C": C, **_scores(scored, of_C)} for C, of_C in zip(config.C, found, strict=True)]
    return sorted(records, key=lambda record: record["C"])


def fit(
    head: nn.Linear,
    blocks: Sequence[Block],
    labels: np.ndarray,
    train: Sequence[int],
    C: float,
    config: LinearConfig,
    recentring: Recentring | None = None,
) -> None:
    """Set the weights of `head` to those of a multinomial logistic regression.

    Args:
        head: `(P_1 + P_2 + ..., K)`, K classes; of re-centred descriptors, if they are.
        blocks: the descriptors of all N utterances.
        labels: classes `(N,)` from 0.
        train: utterances to learn from.
        C: the inverse of the strength of the regularisation.
        config: the shrinkage of `WithinClass`.
        recentring: of the speakers, if there is to be one.

    Raises:
        SoctkError: the utterances to fit on are all of one class.
    """
    with threadpool_limits(1):
        coordinates = Coordinates(blocks, train, recentring)
        values, model = coordinates.values[train], _classifier(C)
        within = WithinClass(values, labels[train], config.within_class_shrinkage)
        _fit(model, within.normalise(values), labels[train])
        weight, bias = coordinates.weight(within.weight(model.coef_))
        _set_weights(head, model.classes_, weight, model.intercept_ + bias)


def _scores(reference: np.ndarray, posteriors: np.ndarray) -> dict[str, float]:
    hypothesis = posteriors.argmax(1)
    return {
        "valid_loss": float(-np.log(posteriors[np.arange(len(reference)), reference].clip(min=1e-12)).mean()),
        "valid_WA": accuracy_score(reference, hypothesis),
        "valid_UA": recall_score(reference, hypothesis, average="macro", zero_division=0),
    }


def _classifier(C: float, warm_start: bool = False) -> LogisticRegression:
    # With its default tolerance a fit that starts where another C's ended may be over before it begins.
    return LogisticRegression(C=C, tol=1e-5, max_iter=1000, warm_start=warm_start)


def _fit(model: LogisticRegression, inputs: np.ndarray, labels: np.ndarray) -> None:
    if len(np.unique(labels)) < 2:
        raise SoctkError(
            "the utterances to fit the linear head on are all of one class",
            remedy="Give the folds more speakers or emotions, or choose the head mlp.",
            where="--head linear",
        )
    model.fit(inputs, labels)


def _set_weights(head: nn.Linear, classes: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> None:
    """Write a classifier of descriptors into `head`.

    A class without a training utterance, of which the classifier knows nothing, is never chosen.
    """
    if len(classes) == 2:  # scikit-learn keeps the second class's logit alone; the first one's is 0
        weight, bias = np.vstack([0 * weight, weight]), np.append(0, bias)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(-torch.inf)
        head.weight[classes] = torch.from_numpy(weight).to(head.weight)
        head.bias[classes] = torch.from_numpy(bias).to(head.bias)
