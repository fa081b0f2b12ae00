"""The linear head: logistic regression on descriptors; inner cross-validation chooses its regularisation."""

import warnings
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import nn

from soctk.errors import SoctkError
from soctk.schema import LinearConfig
from soctk.scoring.metrics import accuracies
from soctk.training.coordinates import Block, make_coordinates
from soctk.training.recentre import Recentring
from soctk.training.within_class import WithinClass

# If the lowest loss is at the edge of the values of C, they are extended by a decade at a time, this often at most.
DECADES = 3


def posteriors(
    blocks: Sequence[Block],
    labels: np.ndarray,
    fitted: Sequence[int],
    config: LinearConfig,
    num_classes: int,
    recentring: Recentring | None = None,
) -> np.ndarray:
    """Fit a logistic regression for each C and return the posteriors `(C, N, num_classes)` of all N utterances.

    The values of C are used in ascending order, and each fit starts from the weights of the previous fit.

    Args:
        blocks: the descriptors of all N utterances.
        labels: the classes `(N,)`, from 0.
        fitted: the training utterances.
        config: the values of C, and the shrinkage of WithinClass.
        num_classes: the number of classes; a class without a training utterance has the posterior 0. If all training
            utterances have one class, its posterior is 1.
        recentring: the re-centring of the speakers; None if descriptors are used as they are.
    """
    result = np.zeros((len(config.C), len(labels), num_classes), dtype=np.float32)
    classes = np.unique(labels[fitted])
    if len(classes) == 1:
        result[:, :, classes[0]] = 1
        return result
    with threadpool_limits(1):
        values = make_coordinates(blocks, fitted, recentring).values
        within = WithinClass(values[fitted], labels[fitted], config.within_class_shrinkage)
        inputs, model = within.normalise(values[fitted]), _classifier(min(config.C), warm_start=True)
        for i in np.argsort(config.C):
            _fit(model.set_params(C=config.C[i]), inputs, labels[fitted])
            on_values = copy(model)
            on_values.coef_ = within.weight(model.coef_)
            result[i][:, model.classes_] = on_values.predict_proba(values)
    return result


def scores(
    labels: np.ndarray, inner: Sequence[tuple[Sequence[int], np.ndarray]], values: Sequence[float]
) -> list[dict[str, Any]]:
    """Return a record for each C, in ascending order, with C, valid_loss, valid_WA and valid_UA.

    The loss is the mean of -ln p, where p is the posterior of an utterance's class; WA and UA are fractions.

    Args:
        labels: the classes `(N,)`, from 0.
        inner: pairs of validation utterances and the `posteriors` of a fit on other utterances. Each utterance
            occurs in at most one pair.
        values: the values of C, in the order of the posteriors.
    """
    reference = labels[np.concatenate([utterances for utterances, _ in inner])]
    by_C = np.concatenate([posteriors[:, utterances] for utterances, posteriors in inner], axis=1)
    records = [{"C": C, **_scores(reference, posteriors)} for C, posteriors in zip(values, by_C, strict=True)]
    return sorted(records, key=lambda record: record["C"])


def beyond(records: Sequence[Mapping[str, Any]], config: LinearConfig) -> list[float]:
    """Return the values of C to try next: two beyond the edge with the lowest loss, up to a decade away from it.

    Args:
        records: the result of `scores` for the values of C so far.
        config: the values of C to start from.

    Returns:
        The values, ascending; empty if the lowest loss is not at an edge, if `config` has one value only, or if the
        edge is DECADES decades away from the values in `config` already.
    """
    values = [record["C"] for record in records]
    best = min(records, key=lambda record: record["valid_loss"])["C"]
    reach = 0.99 * 10**DECADES  # C is rounded
    if len(config.C) == 1:
        return []
    if best == values[-1] and best < reach * max(config.C):
        return [_rounded(best * factor) for factor in (10**0.5, 10)]
    if best == values[0] and best > min(config.C) / reach:
        return [_rounded(best * factor) for factor in (0.1, 10**-0.5)]
    return []


def fit(
    head: nn.Linear,
    blocks: Sequence[Block],
    labels: np.ndarray,
    fitted: Sequence[int],
    C: float,
    config: LinearConfig,
    recentring: Recentring | None = None,
) -> None:
    """Fit a multinomial logistic regression and write its weights into `head`.

    Args:
        head: a layer `(P_1 + P_2 + ..., K)` for K classes; its inputs are descriptors, re-centred if `recentring` is
            given.
        blocks: the descriptors of all N utterances.
        labels: the classes `(N,)`, from 0.
        fitted: the training utterances.
        C: the inverse strength of the regularisation.
        config: the shrinkage of WithinClass.
        recentring: the re-centring of the speakers; None if descriptors are used as they are.

    Raises:
        SoctkError: all training utterances have the same class.
    """
    with threadpool_limits(1):
        coordinates = make_coordinates(blocks, fitted, recentring)
        values, model = coordinates.values[fitted], _classifier(C)
        within = WithinClass(values, labels[fitted], config.within_class_shrinkage)
        _fit(model, within.normalise(values), labels[fitted])
        weight, bias = coordinates.weight(within.weight(model.coef_))
        _set_weights(head, model.classes_, weight, model.intercept_ + bias)


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _scores(reference: np.ndarray, posteriors: np.ndarray) -> dict[str, float]:
    percent = accuracies(reference, posteriors.argmax(1))
    return {
        "valid_loss": float(-np.log(posteriors[np.arange(len(reference)), reference].clip(min=1e-12)).mean()),
        "valid_WA": percent["WA"] / 100,
        "valid_UA": percent["UA"] / 100,
    }


def _classifier(C: float, warm_start: bool = False) -> LogisticRegression:
    # With the default tolerance of 1e-4, a fit that starts from the weights of the previous C can stop at once.
    return LogisticRegression(C=C, tol=1e-5, max_iter=1000, warm_start=warm_start)


def _fit(model: LogisticRegression, inputs: np.ndarray, labels: np.ndarray) -> None:
    if len(np.unique(labels)) < 2:
        raise SoctkError(
            "all training utterances of the linear head have the same class",
            remedy="Give the folds more speakers or emotions, or choose the head mlp.",
            where="--head linear",
        )
    # With a large C, the line search ends at rounding errors of float32: scikit-learn warns, but no lower loss exists.
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        model.fit(inputs, labels)


def _set_weights(head: nn.Linear, classes: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> None:
    """Write the weights of a fitted classifier into `head`; a class without training utterances is never chosen."""
    if len(classes) == 2:  # scikit-learn stores the logit of the second class only; the logit of the first is 0
        weight, bias = np.vstack([0 * weight, weight]), np.append(0, bias)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(-torch.inf)
        head.weight[classes] = torch.from_numpy(weight).to(head.weight)
        head.bias[classes] = torch.from_numpy(bias).to(head.bias)
