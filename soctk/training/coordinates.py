"""The coordinates in which the linear head gets descriptors: the primal or the dual form.

A linear classifier with L2 regularisation depends on its inputs only through their inner products. Descriptors longer
than the number of training utterances therefore lose nothing when they are expressed in an orthonormal basis of the
space that the training utterances span: the dual form. Shorter descriptors are used as they are: the primal form.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpstrf

from soctk.training.blocks import Block, BlockKey
from soctk.training.recentre import Recentring


class Combination(NamedTuple):
    """The weights `(K, P)` and the biases `(K,)` of a classifier on one block, as factors of its descriptors.

    Attributes:
        factors: `(K + 1, N)`. The product of the first K rows with the descriptors are the weights; that of the last
            row is the mean of the re-centred training descriptors, from which the biases follow.
    """

    factors: np.ndarray


Weights = tuple[np.ndarray, np.ndarray]  # `(K, P)` and the biases `(K,)`
Part = Combination | Weights  # a classifier on one block


def weights_of(classifiers: Sequence[Sequence[Part]], blocks: Sequence[Sequence[Block]]) -> list[Weights]:
    """Return the weights `(K, sum of P)` and the biases `(K,)` of classifiers on re-centred descriptors.

    The descriptors of a block are read once for all classifiers (Block.times).

    Args:
        classifiers: the parts of each classifier (Coordinates.parts), all with the same K.
        blocks: the block of each part.
    """
    done = [list(parts) for parts in classifiers]
    waiting: dict[int, tuple[Block, list[tuple[int, int, Combination]]]] = {}
    for i, (parts, own) in enumerate(zip(classifiers, blocks, strict=True)):
        for j, (part, block) in enumerate(zip(parts, own, strict=True)):
            if isinstance(part, Combination):
                waiting.setdefault(id(block), (block, []))[1].append((i, j, part))
    for block, places in waiting.values():
        products = block.times(np.stack([part.factors for _, _, part in places]))
        for (i, j, _), product in zip(places, products, strict=True):
            weight, mean = np.split(product, [-1])
            done[i][j] = weight, -(weight @ mean[0])
    return [_side_by_side(parts) for parts in done]


class Coordinates(Protocol):
    """The inputs of a linear classifier; its weights can be converted to weights on descriptors.

    Attributes:
        values: `(N, R)`, one row per utterance.
    """

    values: np.ndarray

    def parts(self, on_values: np.ndarray) -> list[Part]:
        """Return the same classifier on re-centred descriptors, one part for each block (weights_of).

        Args:
            on_values: the weights `(K, R)` of the classifier on `values`.
        """


class Primal:
    """The standardised blocks side by side."""

    def __init__(self, blocks: Sequence["StandardisedValues"]):
        self._blocks = blocks
        self.values = np.concatenate([block.values for block in blocks], axis=1)

    def parts(self, on_values: np.ndarray) -> list[Part]:
        """See Coordinates.parts."""
        ends = np.cumsum([block.values.shape[1] for block in self._blocks])[:-1]
        pairs = zip(self._blocks, np.split(on_values, ends, axis=1), strict=True)
        return [block.weight_from_values(part) for block, part in pairs]


class Dual:
    """Coordinates in an orthonormal basis of the space that the training utterances span.

    The inner products of the blocks are added, because the blocks are parts of one vector.
    """

    def __init__(self, blocks: Collection[Block], fitted: Sequence[int], recentring: Recentring | None):
        total: Any = 0
        self._blocks = []
        for block in blocks:
            products, standardised = standardise(block, fitted, recentring)
            total += products
            self._blocks.append(standardised)
        self._basis = Basis(total, fitted)
        self.values = self._basis.values

    def parts(self, on_values: np.ndarray) -> list[Part]:
        """See Coordinates.parts."""
        factors = self._basis.factors(on_values)
        return [block.part(factors) for block in self._blocks]


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
    return Dual(blocks, fitted, recentring)


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
            products, _ = standardise(block, fitted, recentring)
            for number in using:
                sums[number] = sums[number] + products if number in sums else products
    for number, keys in enumerate(choices):
        if is_dual[number]:
            yield Basis(sums.pop(number), fitted).values
        else:
            yield make_coordinates([blocks[key] for key in keys], fitted, recentring).values


class StandardisedBlock(Protocol):
    """A block, centred and scaled such that the variances of the training utterances sum to 1 over the dimensions."""

    def part(self, factors: np.ndarray) -> Part:
        """Return a classifier on re-centred descriptors.

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

    def part(self, factors: np.ndarray) -> Weights:
        """See StandardisedBlock.part."""
        return self.weight_from_values(factors @ self.values[self._fitted])

    def weight_from_values(self, on_values: np.ndarray) -> Weights:
        """Return the result of `part` for a classifier with the weights `(K, P)` on `values`."""
        weight = on_values / self._scale
        mean = _recentred(self._descriptors, self._fitted, self._recentring)[self._fitted].mean(0)
        return weight, -(weight @ mean)


class StandardisedProducts:
    """A block at least as long as the number of utterances, given by its inner products; all dimensions get one scale.

    The dimensions of such a descriptor, for example the logarithm of a covariance, are of one kind.
    """

    def __init__(self, scale: float, count: int, fitted: Sequence[int], recentring: Recentring | None):
        self._scale, self._count, self._fitted, self._recentring = scale, count, fitted, recentring

    @classmethod
    def of(
        cls, products: np.ndarray, fitted: Sequence[int], recentring: Recentring | None
    ) -> tuple[np.ndarray, "StandardisedProducts"]:
        """See `standardise`.

        Args:
            products: the inner products `(N, N)` of the descriptors.
            fitted: the training utterances.
            recentring: see make_coordinates.
        """
        if recentring:
            rows_recentred = recentring.without_means(products.astype(np.float64), fitted)
            products = recentring.without_means(rows_recentred.T, fitted)
        centred = products[:, fitted].astype(np.float64)
        to_mean = centred.mean(1)
        centred -= to_mean[:, None]
        centred -= to_mean[fitted] - to_mean[fitted].mean()
        scale = np.sqrt(centred[fitted, np.arange(len(fitted))].mean()) or np.inf
        centred /= scale**2
        return centred, cls(scale, len(products), fitted, recentring)

    def part(self, factors: np.ndarray) -> Combination:
        """See StandardisedBlock.part."""
        centred = np.zeros((len(factors), self._count))
        centred[:, self._fitted] = factors - factors.mean(1, keepdims=True)
        average = np.zeros((1, self._count))
        average[:, self._fitted] = 1 / len(self._fitted)
        both = np.vstack([centred / self._scale**2, average])
        if self._recentring:
            both = self._recentring.transposed(both, self._fitted)
        return Combination(both.astype(np.float32))


class Basis:
    """An orthonormal basis of the space that training utterances span, by Gram-Schmidt with pivoting.

    The pivoted Cholesky decomposition K = L L' of their inner products gives this basis; it is five times as fast as an
    eigendecomposition. The rows of L are their coordinates. It stops after R vectors, when the remaining squared norms
    are rounding errors of float32. If all vectors are 0, their one coordinate is 0.

    Args:
        products: the inner products `(N, n)` of N vectors with those of n training utterances.
        fitted: the indices of the training utterances among the N.

    Attributes:
        values: the coordinates `(N, R)` of the N vectors, in float32.
    """

    def __init__(self, products: np.ndarray, fitted: Sequence[int]):
        own = products[fitted]
        factor, order, rank, _ = dpstrf(own, lower=1, tol=1e-5 * own.diagonal().max())
        rows = np.tril(factor[:, :rank])
        if not own.diagonal().any():
            factor, order, rank, rows = np.ones((1, 1)), np.arange(1, len(own) + 1), 1, np.zeros((len(own), 1))
        self._factor, self._kept, self._count = factor[:rank, :rank], order[:rank] - 1, len(own)
        others = np.setdiff1d(np.arange(len(products)), fitted)
        self.values = np.empty((len(products), rank), dtype=np.float32)
        self.values[np.asarray(fitted)[order - 1]] = rows
        self.values[others] = solve_triangular(
            self._factor, products[np.ix_(others, self._kept)].T, lower=True, check_finite=False
        ).T

    def factors(self, coordinates: np.ndarray) -> np.ndarray:
        """Return factors `(K, n)` whose product with the n vectors has the coordinates `(K, R)`."""
        factors = np.zeros((len(coordinates), self._count))
        factors[:, self._kept] = solve_triangular(self._factor, coordinates.T, lower=True, trans="T").T
        return factors


def standardise(
    block: Block, fitted: Sequence[int], recentring: Recentring | None = None
) -> tuple[np.ndarray, StandardisedBlock]:
    """Standardise the descriptors of a block by the training utterances.

    Inner products of blocks that are parts of one vector add up. So the inner products of any choice of blocks are a
    sum of the first results for each block.

    Args:
        block: the descriptors of all N utterances.
        fitted: the n training utterances.
        recentring: see make_coordinates.

    Returns:
        The inner products `(N, n)` of the standardised descriptors with those of the training utterances, in float64;
        and an object that turns a classifier on them into one on the descriptors, without storing `(N, n)` numbers.
    """
    if block.products is None:
        values = StandardisedValues(block.array, fitted, recentring)
        return (values.values @ values.values[fitted].T).astype(np.float64), values
    return StandardisedProducts.of(block.products, fitted, recentring)


def _recentred(values: np.ndarray, fitted: Sequence[int], recentring: Recentring | None) -> np.ndarray:
    return recentring.without_means(values, fitted) if recentring else values


def _side_by_side(parts: Sequence[Part]) -> Weights:
    """Join the weights of the blocks, and add their biases."""
    weights, biases = zip(*parts, strict=True)
    return np.concatenate(weights, axis=1), np.sum(biases, axis=0)
