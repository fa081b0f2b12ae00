"""The linear head: logistic regression on descriptors, its regularisation chosen by inner cross-validation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, recall_score
from threadpoolctl import threadpool_limits
from torch import nn

from soctk.config import LinearConfig
from soctk.errors import SoctkError

Pair = tuple[Sequence[int], Sequence[int]]


def gram(descriptors: np.ndarray, step: int = 256) -> np.ndarray | None:
    """Return the inner products `(N, N)` of centred descriptors `(N, P)`; None where P < N, which do not need them.

    Half of the products are computed, a few rows at a time, and mirrored.
    """
    if descriptors.shape[1] < len(descriptors):
        return None
    rows = torch.from_numpy(descriptors - descriptors.mean(0))
    products = torch.zeros(len(rows), len(rows))
    for start in range(0, len(rows), step):
        end = start + step
        products[start:end, :end] = rows[start:end] @ rows[:end].T
    return (products.tril() + products.tril(-1).T).numpy()


@dataclass(frozen=True)
class Coordinates:
    """Descriptors as a linear classifier needs them: in no more dimensions than there are training utterances.

    A linear classifier with L2 regularisation sees inner products alone. So for more dimensions P than utterances
    nothing is lost in an orthonormal basis of the space that the training utterances span: this is the dual form.
    Otherwise the descriptors themselves are taken.

    Attributes:
        values: `(N, R)`.
        basis: `(R, N)`, the basis vectors as sums of training descriptors less their mean; None for the descriptors.
    """

    values: np.ndarray
    basis: np.ndarray | None

    @classmethod
    def of(cls, descriptors: np.ndarray, products: np.ndarray | None, train: Sequence[int]) -> "Coordinates":
        """Return the coordinates of descriptors `(N, P)` with their inner products `(N, N)`, of `gram`."""
        if products is None:
            return cls(descriptors, None)
        to_train = products[:, train].astype(np.float64)
        to_mean = to_train.mean(1, keepdims=True)
        centred = to_train - to_mean - to_mean[train].T + to_mean[train].mean()
        spectrum, vectors = np.linalg.eigh(centred[train])
        kept = spectrum > max(spectrum[-1], 0) * 1e-6  # what is smaller is rounding of the products in float32
        scaled = vectors[:, kept] / np.sqrt(spectrum[kept])
        basis = np.zeros((scaled.shape[1], len(descriptors)), dtype=np.float32)
        basis[:, train] = scaled.T
        return cls((centred @ scaled).astype(np.float32), basis)

    def scale(self, train: Sequence[int]) -> np.ndarray:
        """Return what to divide the values by, `(R,)`, for a variance of 1 in sum over the utterances `train`.

        Descriptors get the same variance in each dimension, as numbers of different kinds should; coordinates, of
        descriptors whose numbers are of one kind, keep the variances that they have. A dimension that does not vary
        is divided by infinity.
        """
        variance = self.values[train].var(0, dtype=np.float64)
        if self.basis is not None:
            return np.full(len(variance), np.sqrt(variance.sum()) or np.inf)
        varies = variance > 1e-12 * variance.max(initial=0)
        return np.where(varies, np.sqrt(variance * max(1, varies.sum())), np.inf)

    def weight(
        self, of_values: np.ndarray, descriptors: np.ndarray, train: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return weights `(K, P)` on the descriptors and a bias `(K,)` that do what `(K, R)` on the values do."""
        if self.basis is None:
            return of_values, np.zeros(len(of_values))
        of_utterances = (of_values @ self.basis).astype(np.float32)
        average = np.zeros((1, len(descriptors)), dtype=np.float32)
        average[:, train] = 1 / len(train)
        of_utterances -= of_utterances.sum(1, keepdims=True) * average
        weight, mean = np.split(np.vstack([of_utterances, average]) @ descriptors, [len(of_utterances)])
        return weight, -(weight @ mean[0])


def fit(
    head: nn.Linear,
    descriptors: Sequence[np.ndarray],
    products: Sequence[np.ndarray | None],
    labels: np.ndarray,
    train: Sequence[int],
    inner: Sequence[Pair],
    config: LinearConfig,
) -> list[dict[str, Any]]:
    """Set the weights of `head` to those of a multinomial logistic regression; return a record for each C tried.

    Each C is fitted on the first half of every pair in `inner` and scored on the second; that with the lowest
    log-loss over all of those utterances is fitted on `train`.

    Args:
        head: `(P_1 + P_2 + ..., K)`, K classes.
        descriptors: of all N utterances, a block `(N, P_i)` for each pooling layer.
        products: of each block, what `gram` returns.
        labels: classes `(N,)` from 0.
        train: utterances to learn from.
        inner: pairs of utterances to fit on and to score on, all from `train`.
        config: the C to choose from.

    Raises:
        SoctkError: the utterances to fit on are all of one class.
    """
    with threadpool_limits(1):
        blocks = [Coordinates.of(*block, train) for block in zip(descriptors, products, strict=True)]
        records = _choose(blocks, labels, inner, config.C, head.out_features)
        best = min(records, key=lambda record: record["valid_loss"])["C"]
        model = _classifier(best)
        _fit(model, _standardised(blocks, train), labels, train)
        _set_weights(head, model, blocks, descriptors, train)
    return records


def _standardised(blocks: Sequence[Coordinates], train: Sequence[int]) -> np.ndarray:
    """Return the values of all blocks side by side, centred and scaled as the utterances `train` need it."""
    return np.concatenate(
        [((b.values - b.values[train].mean(0)) / b.scale(train)).astype(np.float32) for b in blocks], axis=1
    )


def _choose(
    blocks: Sequence[Coordinates], labels: np.ndarray, inner: Sequence[Pair], candidates: Sequence[float], classes: int
) -> list[dict[str, Any]]:
    """Return a record for each C, from the strongest regularisation on: one fit starts where the last one ended."""
    ascending = sorted(candidates)
    posteriors = np.zeros((len(ascending), len(labels), classes))
    for fitted, scored in inner:
        inputs = _standardised(blocks, fitted)
        model = _classifier(ascending[0], warm_start=True)
        for i, C in enumerate(ascending):
            _fit(model.set_params(C=C), inputs, labels, fitted)
            posteriors[i][np.ix_(scored, model.classes_)] = model.predict_proba(inputs[scored])
    scored = np.concatenate([scored for _, scored in inner])
    return [{"C": C, **_scores(labels[scored], posteriors[i, scored])} for i, C in enumerate(ascending)]


def _scores(reference: np.ndarray, posteriors: np.ndarray) -> dict[str, float]:
    hypothesis = posteriors.argmax(1)
    return {
        "valid_loss": float(-np.log(posteriors[np.arange(len(reference)), reference].clip(min=1e-12)).mean()),
        "valid_WA": accuracy_score(reference, hypothesis),
        "valid_UA": recall_score(reference, hypothesis, average="macro", zero_division=0),
    }


def _classifier(C: float, warm_start: bool = False) -> LogisticRegression:
    return LogisticRegression(C=C, max_iter=1000, warm_start=warm_start)


def _fit(model: LogisticRegression, inputs: np.ndarray, labels: np.ndarray, train: Sequence[int]) -> None:
    if len(np.unique(labels[train])) < 2:
        raise SoctkError(
            "the utterances to fit the linear head on are all of one class",
            remedy="Give the folds more speakers or emotions, or choose the head mlp.",
            where="--head linear",
        )
    model.fit(inputs[train], labels[train])


def _set_weights(
    head: nn.Linear,
    model: LogisticRegression,
    blocks: Sequence[Coordinates],
    descriptors: Sequence[np.ndarray],
    train: Sequence[int],
) -> None:
    """Write the classifier of the standardised values into `head` as one of the descriptors.

    A class without a training utterance, of which the classifier knows nothing, is never chosen.
    """
    coefficients, bias = model.coef_, model.intercept_.copy()
    if len(model.classes_) == 2:  # scikit-learn keeps the second class's logit alone; the first one's is 0
        coefficients, bias = np.vstack([0 * coefficients, coefficients]), np.append(0, bias)
    weights, start = [], 0
    for block, of_block in zip(blocks, descriptors, strict=True):
        of_values = coefficients[:, start : start + block.values.shape[1]] / block.scale(train)
        start += block.values.shape[1]
        weight, offset = block.weight(of_values, of_block, train)
        weights.append(weight)
        bias += offset - of_values @ block.values[train].mean(0)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(-torch.inf)
        head.weight[model.classes_] = torch.from_numpy(np.concatenate(weights, axis=1)).to(head.weight)
        head.bias[model.classes_] = torch.from_numpy(bias).to(head.bias)
