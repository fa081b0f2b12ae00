"""The linear head on descriptors, for any target; inner cross-validation chooses its regularisation."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from soctk.schema import LinearConfig
from soctk.training.blocks import Block
from soctk.training.coordinates import Part, make_coordinates, weights_of
from soctk.training.recentre import Recentring
from soctk.training.target import Target

# If the lowest loss is at the edge of the values of C, they are extended by a decade at a time, this often at most.
DECADES = 3


def predictions(
    values: np.ndarray,
    target: Target,
    fitted: Sequence[int],
    config: LinearConfig,
    copies: int = 1,
    tested: int | None = None,
    device: str = "cpu",
) -> np.ndarray:
    """Fit the head for each C and return the predictions `(C, N, K)` for all N utterances.

    The values of C are used in ascending order; a fit may start from the weights of the previous fit.

    Args:
        values: the coordinates of all N utterances and their copies, fitted to the training rows
            (soctk.training.coordinates).
        target: what is predicted, with K outputs.
        fitted: the training rows.
        config: the values of C, and the settings of the target's solver.
        copies: how many rows each utterance has: row i + c N is copy c of utterance i.
        tested: the predictions are the mean over this many copies, from the first; None for all.
        device: where large fits may be done.
    """
    with threadpool_limits(1):
        solver = target.solver(values[fitted], fitted, config, device)
        by_copy = values.reshape(copies, -1, values.shape[1])[:tested]
        result: list[Any] = [None] * len(config.C)
        for i in np.argsort(config.C):
            solver.fit(config.C[i])
            result[i] = solver.predict(by_copy)
    return np.stack(result)


def scores(
    target: Target, inner: Sequence[tuple[Sequence[int], np.ndarray]], values: Sequence[float]
) -> list[dict[str, Any]]:
    """Return a record for each C, in ascending order, with C and the validation scores (Target.scores).

    Args:
        target: what is predicted.
        inner: pairs of validation utterances and the `predictions` of a fit on other utterances. Each utterance
            occurs in at most one pair.
        values: the values of C, in the order of the predictions.
    """
    scored = np.concatenate([utterances for utterances, _ in inner])
    by_C = np.concatenate([predicted[:, utterances] for utterances, predicted in inner], axis=1)
    records = [{"C": C, **target.scores(predicted, scored)} for C, predicted in zip(values, by_C, strict=True)]
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


class Solution(NamedTuple):
    """A fitted head with K outputs.

    Attributes:
        parts: its weights on each block (soctk.training.coordinates.weights_of).
        bias: the biases `(K,)`, to which those of the parts are added.
        outputs: the outputs `(N, K)` for all N rows, in float32.
    """

    parts: list[Part]
    bias: np.ndarray
    outputs: np.ndarray


def solve(
    blocks: Collection[Block],
    target: Target,
    fitted: Sequence[int],
    C: float,
    config: LinearConfig,
    recentring: Recentring | None = None,
    device: str = "cpu",
) -> Solution:
    """Fit the head to training rows with one C.

    Args:
        blocks: the descriptors of all N utterances and their copies.
        target: what is predicted.
        fitted: the training rows.
        C: the inverse strength of the regularisation.
        config: the settings of the target's solver.
        recentring: the re-centring of the speakers; None if descriptors are used as they are.
        device: where a large fit may be done.

    Raises:
        SoctkError: all training utterances have the same class.
    """
    with threadpool_limits(1):
        coordinates = make_coordinates(blocks, fitted, recentring)
        solver = target.solver(coordinates.values[fitted], fitted, config, device)
        solver.fit(C)
        on_values, bias = solver.weights()
        outputs = (coordinates.values @ on_values.T + bias).astype(np.float32)
        return Solution(coordinates.parts(on_values), bias, outputs)


def fit(
    head: nn.Linear,
    blocks: Collection[Block],
    target: Target,
    fitted: Sequence[int],
    C: float,
    config: LinearConfig,
    recentring: Recentring | None = None,
    device: str = "cpu",
) -> None:
    """Fit the head to training rows with one C, and write its weights into `head`.

    Args:
        head: a layer `(P_1 + P_2 + ..., K)` for K outputs; its inputs are descriptors, re-centred if `recentring` is
            given.
        blocks: see `solve`, as all other arguments.
        target: what is predicted.
        fitted: the training rows.
        C: the inverse strength of the regularisation.
        config: the settings of the target's solver.
        recentring: the re-centring of the speakers.
        device: where a large fit may be done.

    Raises:
        SoctkError: all training utterances have the same class.
    """
    solution = solve(blocks, target, fitted, C, config, recentring, device)
    [(weight, bias)] = weights_of([solution.parts], [list(blocks)])
    set_weights(head, weight, solution.bias + bias)


def set_weights(head: nn.Linear, weight: np.ndarray, bias: np.ndarray) -> None:
    """Write weights `(K, P)` and biases `(K,)` into a head."""
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.from_numpy(bias))


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
