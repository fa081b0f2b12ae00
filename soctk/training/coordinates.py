"""The coordinates in which the linear head gets descriptors: the primal or the dual form.

A linear classifier with L2 regularisation depends on its inputs only through their inner products. Descriptors longer
than the number of training utterances therefore lose nothing when they are expressed in an orthonormal basis of the
space that the training utterances span: the dual form. Shorter descriptors are used as they are: the primal form.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import reduce
from typing import Protocol

import numpy as np
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpstrf

from soctk.training.blocks import Block, BlockKey
from soctk.training.recentre import Recentring


class Coordinates(Protocol):
    """The inputs of a linear classifier; its weights can be converted to weights on descriptors.

    Attributes:
        values: `(N, R)`, one row per utterance.
    """

    values: np.ndarray

    def weight(self, on_values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights `(K, sum of P)` and the biases `(K,)` of the same classifier on re-centred descriptors.

        Args:
            on_values: the weights `(K, R)` of the classifier on `values`.
        """


class Primal:
    """The standardised blocks side by side."""

    def __init__(self, blocks: Sequence["StandardisedValues"]):
        self._blocks = blocks
        self.values = np.concatenate([block.values for block in blocks], axis=1)

    def weight(self, on_values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See Coordinates.weight."""
        ends = np.cumsum([block.values.shape[1] for block in self._blocks])[:-1]
        pairs = zip(self._blocks, np.split(on_values, ends, axis=1), strict=True)
        return _side_by_side([block.weight_from_values(part) for block, part in pairs])


class Dual:
    """Coordinates in an orthonormal basis of the space that the training utterances span.

    The inner products of the blocks are added, because the blocks are parts of one vector.
    """

    def __init__(self, blocks: Sequence["StandardisedBlock"], fitted: Sequence[int]):
        self._blocks = blocks
        products = reduce(np.add, [block.products() for block in blocks])[:, fitted]
        self._basis = Basis(products[fitted])
        self.values = self._basis.values(products)

    def weight(self, on_values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See Coordinates.weight."""
        factors = self._basis.factors(on_values)
        return _side_by_side([block.weight(factors) for block in self._blocks])


def make_coordinates(
    blocks: Collection[Block], fitted: Sequence[int], recentring: Recentring | None = None
) -> Coordinates:
    """Return the form with fewer columns.

    It is primal if a descriptor of all blocks together has fewer numbers than there are training utterances.

    Args:
        blocks: the descriptors of all N utterances.
        fitted: the training utterances; they alone determine mean, scale and basis.
        recentring: the re-centring of the speakers; None if descriptors are used as they are.
    """
    if sum(block.size for block in blocks) < len(fitted):
        return Primal([StandardisedValues(block.array, fitted, recentring) for block in blocks])
    return Dual([_standardise(block, fitted, recentring) for block in blocks], fitted)


def values_of_each(
    blocks: Mapping[BlockKey, Block],
    choices: Sequence[Collection[BlockKey]],
    fitted: Sequence[int],
    recentring: Recentring | None = None,
) -> Iterator[np.ndarray]:
    """Yield the values of `make_coordinates` for each of several choices among blocks.

    A block that several choices in the dual form share is standardised once. Each choice needs memory for one matrix of
    inner products; those of the single blocks are not kept.

    Args:
        blocks: the descriptors of all N utterances.
        choices: the keys of the blocks of each choice, in the order of `blocks`.
        fitted: the training utterances.
        recentring: see make_coordinates.
    """
    is_dual = [sum(blocks[key].size for key in keys) >= len(fitted) for keys in choices]
    sums: dict[int, np.ndarray] = {}
    for key, block in blocks.items():
        using = [number for number, keys in enumerate(choices) if is_dual[number] and key in keys]
        if using:
            products = _standardise(block, fitted, recentring).products()[:, fitted]
            for number in using:
                sums[number] = sums[number] + products if number in sums else products
    for number, keys in enumerate(choices):
        if is_dual[number]:
            products = sums.pop(number)
            yield Basis(products[fitted]).values(products)
        else:
            yield make_coordinates([blocks[key] for key in keys], fitted, recentring).values


class StandardisedBlock(Protocol):
    """A block, centred and scaled such that the variances of the training utterances sum to 1 over the dimensions."""

    def products(self) -> np.ndarray:
        """Return the inner products `(N, N)` of the standardised descriptors."""

    def weight(self, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights `(K, P)` and the biases `(K,)` of a classifier on re-centred descriptors.

        Args:
            factors: `(K, number of training utterances)`. Their product with the standardised training descriptors is
                the matrix of the classifier's weights on standardised descriptors.
        """


class StandardisedValues:
    """A block shorter than the number of utterances; every dimension that varies gets the same variance.

    The dimensions of such a descriptor, for example the mean of the frames, differ in kind and scale. A dimension that
    is constant over the training utterances becomes 0.

    Attributes:
        values: the standardised descriptors `(N, P)`.
    """

    def __init__(self, descriptors: np.ndarray, fitted: Sequence[int], recentring: Recentring | None):
        self._descriptors, self._fitted, self._recentring = descriptors, fitted, recentring
        values = _recentred(descriptors, fitted, recentring)
        variance = values[fitted].var(0, dtype=np.float64)
        varies = variance > 1e-12 * variance.max(initial=0)
        self._scale = np.where(varies, np.sqrt(variance * max(1, varies.sum())), np.inf).astype(np.float32)
        self.values = values - values[fitted].mean(0)
        self.values /= self._scale

    def products(self) -> np.ndarray:
        """See StandardisedBlock.products."""
        return self.values @ self.values.T

    def weight(self, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See StandardisedBlock.weight."""
        return self.weight_from_values(factors @ self.values[self._fitted])

    def weight_from_values(self, on_values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the result of `weight` for a classifier with the weights `(K, P)` on `values`."""
        weight = on_values / self._scale
        mean = _recentred(self._descriptors, self._fitted, self._recentring)[self._fitted].mean(0)
        return weight, -(weight @ mean)


class StandardisedProducts:
    """A block at least as long as the number of utterances, given by its inner products; all dimensions get one scale.

    The dimensions of such a descriptor, for example the logarithm of a covariance, are of one kind.
    """

    def __init__(self, block: Block, products: np.ndarray, fitted: Sequence[int], recentring: Recentring | None):
        self._block, self._fitted, self._recentring = block, fitted, recentring
        rows_recentred = _recentred(products.astype(np.float64), fitted, recentring)
        products = _recentred(rows_recentred.T, fitted, recentring)
        to_mean = products[:, fitted].mean(1, keepdims=True)
        centred = products - to_mean - to_mean.T + to_mean[fitted].mean()
        self._scale = np.sqrt(np.trace(centred[np.ix_(fitted, fitted)]) / len(fitted)) or np.inf
        self._products = centred / self._scale**2

    def products(self) -> np.ndarray:
        """See StandardisedBlock.products."""
        return self._products

    def weight(self, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See StandardisedBlock.weight."""
        centred = np.zeros((len(factors), len(self._products)))
        centred[:, self._fitted] = factors - factors.mean(1, keepdims=True)
        average = np.zeros((1, centred.shape[1]))
        average[:, self._fitted] = 1 / len(self._fitted)
        both = np.vstack([centred / self._scale**2, average])
        if self._recentring:
            both = self._recentring.transposed(both, self._fitted)
        weight, mean = np.split(self._block.times(both), [len(centred)])
        return weight, -(weight @ mean[0])


class Basis:
    """An orthonormal basis of the space that N vectors span, by Gram-Schmidt with pivoting.

    The pivoted Cholesky decomposition K = L L' of the inner products gives this basis; it is five times as fast as an
    eigendecomposition. It stops after R vectors, when the remaining squared norms are rounding errors of float32. If
    all vectors are 0, their one coordinate is 0.

    Args:
        products: K `(N, N)`, the inner products of the vectors.
    """

    def __init__(self, products: np.ndarray):
        factor, order, rank, _ = dpstrf(products, lower=1, tol=1e-5 * products.diagonal().max())
        if not products.diagonal().any():
            factor, order, rank = np.ones((1, 1)), np.array([1]), 1
        self._factor, self._kept, self._count = factor[:rank, :rank], order[:rank] - 1, len(products)

    def coordinates(self, products: np.ndarray) -> np.ndarray:
        """Return the coordinates `(M, R)` of M vectors whose inner products with the N vectors are `(M, N)`."""
        return solve_triangular(self._factor, products[:, self._kept].T, lower=True, check_finite=False).T

    def values(self, products: np.ndarray) -> np.ndarray:
        """Return `coordinates` in float32."""
        return self.coordinates(products).astype(np.float32)

    def factors(self, coordinates: np.ndarray) -> np.ndarray:
        """Return factors `(K, N)` whose product with the N vectors has the coordinates `(K, R)`."""
        factors = np.zeros((len(coordinates), self._count))
        factors[:, self._kept] = solve_triangular(self._factor, coordinates.T, lower=True, trans="T").T
        return factors


def _standardise(block: Block, fitted: Sequence[int], recentring: Recentring | None) -> StandardisedBlock:
    if block.products is None:
        return StandardisedValues(block.array, fitted, recentring)
    return StandardisedProducts(block, block.products, fitted, recentring)


def _recentred(values: np.ndarray, fitted: Sequence[int], recentring: Recentring | None) -> np.ndarray:
    return recentring.without_means(values, fitted) if recentring else values


def _side_by_side(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Join the weights of the blocks, and add their biases."""
    weights, biases = zip(*parts, strict=True)
    return np.concatenate(weights, axis=1), np.sum(biases, axis=0)
