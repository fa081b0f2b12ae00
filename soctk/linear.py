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


@dataclass(frozen=True)
class Coordinates:
    """The descriptors of a corpus in an orthonormal basis of the space that they span: exact, in fewer numbers.

    A linear classifier with L2 regularisation sees inner products alone, so for more dimensions P than utterances N
    nothing is lost, and N numbers an utterance suffice: this is the dual form. Otherwise they are the descriptors.

    Attributes:
        values: `(N, R)`, R = min(N, P); a constant may have been taken off the descriptors.
        squared_scales: `(R,)` eigenvalues of the Gram matrix of the centred descriptors; None where R = P.
    """

    values: np.ndarray
    squared_scales: np.ndarray | None

    @classmethod
    def of(cls, descriptors: np.ndarray) -> "Coordinates":
        """Return the coordinates of descriptors `(N, P)`, computed through their Gram matrix where N < P."""
        if len(descriptors) >= descriptors.shape[1]:
            return cls(descriptors, None)
        spectrum, vectors = torch.linalg.eigh(_lower_gram(torch.from_numpy(descriptors - descriptors.mean(0))))
        kept = spectrum > spectrum[-1] * 1e-6  # what is smaller is rounding of the products in float32
        spectrum, vectors = spectrum[kept], vectors[:, kept]
        return cls((vectors * spectrum.sqrt()).float().numpy(), spectrum.numpy())

    def standardise(self, train: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the values `(N, R)` less their mean over the training utterances and scaled; that mean; the scale.

        A descriptor has mean squared length 1 over the training utterances. Where the values are the descriptors
        themselves each dimension has the same variance; coordinates keep the variances that they have.
        """
        mean = self.values[train].mean(0)
        centred = self.values - mean
        variance = centred[train].var(0, dtype=np.float64)
        if self.squared_scales is None:
            constant = variance <= 1e-12 * variance.max()
            scale = np.where(constant, np.inf, np.sqrt(variance * len(variance)))
        else:
            scale = np.full(len(variance), np.sqrt(variance.sum()))
        return (centred / scale).astype(np.float32), mean, scale

    def weight(self, of_values: np.ndarray, descriptors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return weights `(K, P)` on descriptors `(N, P)`, and a bias `(K,)` that do what `(K, R)` on values do."""
        if self.squared_scales is None:
            return of_values, np.zeros(len(of_values))
        origin = descriptors.mean(0)
        on_utterances = ((of_values / self.squared_scales) @ self.values.T).astype(np.float32)
        weight = on_utterances @ descriptors - on_utterances.sum(1, keepdims=True) * origin
        return weight, -weight @ origin


def _lower_gram(rows: torch.Tensor, step: int = 256) -> torch.Tensor:
    """Return the lower triangle, which is all that eigh reads, of the inner products `(N, N)` of rows, in float64."""
    products = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for start in range(0, len(rows), step):
        end = start + step
        products[start:end, :end] = rows[start:end] @ rows[:end].T
    return products


def fit(
    head: nn.Linear,
    descriptors: Sequence[np.ndarray],
    coordinates: Sequence[Coordinates],
    labels: np.ndarray,
    train: Sequence[int],
    inner: Sequence[tuple[Sequence[int], Sequence[int]]],
    config: LinearConfig,
) -> list[dict[str, Any]]:
    """Set the weights of `head` to those of a multinomial logistic regression; return a record for each C tried.

    Each C is fitted on the first half of every pair in `inner` and scored on the second; that with the lowest
    log-loss over all of those utterances is fitted on `train`.

    Args:
        head: `(P_1 + P_2 + ..., K)`, K classes.
        descriptors: of all N utterances, a block `(N, P_i)` for each pooling layer.
        coordinates: of each block.
        labels: classes `(N,)` from 0.
        train: utterances to learn from.
        inner: pairs of utterances to fit on and to score on, all from `train`.
        config: the C to choose from.
    """
    standardised = [block.standardise(train) for block in coordinates]
    inputs = np.concatenate([values for values, _, _ in standardised], axis=1)
    num_classes = head.out_features
    with threadpool_limits(1):
        records = _choose(inputs, labels, num_classes, inner, config)
        best = min(records, key=lambda record: record["valid_loss"])["C"]
        model = _classifier(best).fit(inputs[train], labels[train])
    _set_weights(head, model, descriptors, coordinates, standardised)
    return records


def _choose(inputs, labels, num_classes, inner, config: LinearConfig) -> list[dict[str, Any]]:
    """Return a record for each C, from the strongest regularisation on: one fit starts where the last one ended."""
    ascending = sorted(config.C)
    posteriors: list[list[np.ndarray]] = [[] for _ in ascending]
    for fitted, _scored in inner:
        model = _classifier(ascending[0], warm_start=True)
        for C, of_C in zip(ascending, posteriors, strict=True):
            model.set_params(C=C).fit(inputs[fitted], labels[fitted])
            every_class = np.zeros((len(_scored), num_classes))
            every_class[:, model.classes_] = model.predict_proba(inputs[_scored])
            of_C.append(every_class)
    reference = labels[np.concatenate([scored for _, scored in inner])]
    return [{"C": C, **_scores(reference, np.concatenate(of_C))} for C, of_C in zip(ascending, posteriors, strict=True)]


def _scores(reference: np.ndarray, posteriors: np.ndarray) -> dict[str, float]:
    hypothesis = posteriors.argmax(1)
    return {
        "valid_loss": float(-np.log(posteriors[np.arange(len(reference)), reference].clip(min=1e-12)).mean()),
        "valid_WA": accuracy_score(reference, hypothesis),
        "valid_UA": recall_score(reference, hypothesis, average="macro", zero_division=0),
    }


def _classifier(C: float, warm_start: bool = False) -> LogisticRegression:
    return LogisticRegression(C=C, max_iter=1000, warm_start=warm_start)


def _set_weights(head: nn.Linear, model: LogisticRegression, descriptors, coordinates, standardised) -> None:
    """Write the classifier of the standardised values into `head` as one of the descriptors.

    A class without a training utterance, of which the classifier knows nothing, is never chosen.
    """
    coefficients, intercept = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn keeps the second class's logit alone; the first one's is 0
        coefficients, intercept = np.vstack([0 * coefficients, coefficients]), np.append(0, intercept)
    weights, bias, start = [], intercept.copy(), 0
    for block, of_block, (values, mean, scale) in zip(descriptors, coordinates, standardised, strict=True):
        of_values = coefficients[:, start : start + values.shape[1]] / scale
        weight, offset = of_block.weight(of_values, block)
        weights.append(weight)
        bias += offset - of_values @ mean
        start += values.shape[1]
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(-torch.inf)
        head.weight[model.classes_] = torch.from_numpy(np.concatenate(weights, axis=1)).to(head.weight)
        head.bias[model.classes_] = torch.from_numpy(bias).to(head.bias)
