"""The final fits of the linear head, with the choices of the inner fits; all runs share one read of the descriptors."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from soctk import parallel, progress
from soctk.corpus.splits import Split
from soctk.schema import LinearConfig
from soctk.training import large, linear
from soctk.training.candidates import Candidate
from soctk.training.coordinates import weights_of
from soctk.training.inner_fits import InnerFits
from soctk.training.linear import Solution
from soctk.training.training_data import TrainingData


class OuterFit(NamedTuple):
    """The linear head of a run, fitted to its training and validation utterances.

    Attributes:
        candidate: the hidden states and pooling layers that the run chose.
        records: the validation scores of the inner fits (InnerFits.records).
        weight: `(K, P_1 + P_2 + ...)`, on re-centred descriptors.
        bias: `(K,)`.
        outputs: the outputs `(N, K)` for all N rows of the inputs.
    """

    candidate: Candidate
    records: Sequence[dict[str, Any]]
    weight: np.ndarray
    bias: np.ndarray
    outputs: np.ndarray

    def apply(self, head: nn.Module, inputs: TrainingData, split: Split) -> torch.Tensor:
        """Set the weights of a head; return the predictions `(N, K)` for the test utterances, in their order."""
        assert isinstance(head, nn.Linear)
        linear.set_weights(head, self.weight, self.bias)
        outputs = torch.from_numpy(self.outputs[inputs.tested_rows(split.test)])
        return inputs.target.predictions(outputs.unflatten(0, (inputs.tested, -1)))


def fit_runs(
    inputs: TrainingData, config: LinearConfig, runs: Sequence[tuple[Split, int]], nj: int, device: str
) -> list[OuterFit]:
    """Choose by the inner fits of each run (InnerFits.compute), and fit its head.

    The fits need the inner products of descriptors only. The weights of all runs are computed together, because they
    need the descriptors, which may have to be pooled again.

    Args:
        inputs: the corpus.
        config: the settings of the head.
        runs: the split and the seed of each run.
        nj: how many fits are done at a time.
        device: `cpu` or `cuda`; it determines how workers are started.

    Raises:
        SoctkError: all training utterances of a run have the same class.
    """
    if inputs.is_large:
        return [_fit_large(inputs, config, split, seed, nj, device) for split, seed in runs]
    inner = InnerFits.compute(inputs, config, runs, nj, device)
    choices = [inner.choose(split, seed) for split, seed in runs]
    jobs = [
        partial(_solve, number, inputs.only(candidate), config, split, seed, C)
        for number, ((split, seed), (candidate, C)) in enumerate(zip(runs, choices, strict=True))
    ]
    solved = dict(progress.track(parallel.run(jobs, nj, device), "fit", "run", len(jobs)))
    solutions = [solved[number] for number in range(len(runs))]
    blocks = [[inputs.blocks[key] for key in candidate.keys] for candidate, _ in choices]
    with threadpool_limits(1):  # the rounding of a product would depend on the number of threads
        weights = weights_of([solution.parts for solution in solutions], blocks)
    return [
        OuterFit(candidate, inner.records(split, seed), weight, bias + solution.bias, solution.outputs)
        for (split, seed), (candidate, _), solution, (weight, bias) in zip(
            runs, choices, solutions, weights, strict=True
        )
    ]


def _fit_large(inputs: TrainingData, config: LinearConfig, split: Split, seed: int, nj: int, device: str) -> OuterFit:
    candidate, C, records = large.choose(inputs, config, split, seed, nj, device)
    return OuterFit(candidate, records, *large.solve(inputs, candidate, config, split.train + split.valid, C, nj))


def _solve(
    number: int, inputs: TrainingData, config: LinearConfig, split: Split, seed: int, C: float
) -> tuple[int, Solution]:
    fitted = inputs.rows(sorted(split.train + split.valid))
    blocks, recentring = inputs.blocks.values(), inputs.recentring(seed)
    return number, linear.solve(blocks, inputs.target, fitted, C, config, recentring, inputs.device)
