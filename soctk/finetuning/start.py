"""The head at the start of fine-tuning: the linear fit to descriptors of the frozen encoder, on the training speakers.

soctk-train fits the linear head to training and validation speakers. Here validation speakers choose the epoch, so the
first fit does not see them. C is chosen on the training speakers; in a published partition with dev, on dev.

The head has seen its training utterances: it classifies nearly all of them correctly, so their loss has hardly a
gradient. Crossed heads give a loss of the size of that of new speakers: the training speakers are divided into parts,
and the utterances of a part are classified by a head that was fitted to the other parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from soctk import parallel, progress
from soctk.corpus import splits
from soctk.corpus.datadir import DataDir
from soctk.corpus.splits import Split
from soctk.schema import Config, LinearConfig, Protocol
from soctk.training import large, linear
from soctk.training.candidates import Candidate
from soctk.training.coordinates import weights_of
from soctk.training.inner_fits import Chosen, InnerFits
from soctk.training.linear import Solution
from soctk.training.training_data import TrainingData

# A fit gives a class without training utterances the bias -inf. The loss of an utterance of this class, which another
# part may have, would be infinite; with label smoothing, that of every utterance would be. This bias keeps the class as
# improbable, with a finite loss.
LOWEST_BIAS = -30.0


class Head(NamedTuple):
    """A fitted linear head: weights `(K, P)` and biases `(K,)`."""

    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class HeadStart:
    """The heads of a run at its start.

    Attributes:
        candidate: the hidden states and pooling layers that the run chose.
        C: the regularisation that the run chose.
        head: the head, fitted to all training utterances.
        crossed: the crossed heads; empty if they are not used.
        part: training utterance -> the number of the crossed head that did not see its speaker.
    """

    candidate: Candidate
    C: float
    head: Head
    crossed: Sequence[Head]
    part: dict[str, int]

    def crossed_tensors(self, device: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weights `(parts, K, P)` and the biases `(parts, K)` of the crossed heads."""
        weight = torch.from_numpy(np.stack([head.weight for head in self.crossed])).float()
        bias = torch.from_numpy(np.stack([head.bias for head in self.crossed])).float()
        return weight.to(device), bias.clamp(min=LOWEST_BIAS).to(device)


def fit(
    inputs: TrainingData, config: LinearConfig, runs: Sequence[tuple[Split, int]], is_crossed: bool, nj: int
) -> list[HeadStart]:
    """Choose C, hidden states and poolings for each run, and fit its heads.

    Args:
        inputs: the frozen descriptors of the corpus.
        config: the settings of the head.
        runs: the split and the seed of each run.
        is_crossed: whether to fit crossed heads too.
        nj: how many fits are done at a time; it does not change the result.

    Raises:
        SoctkError: all utterances of a fit have the same class.
    """
    inputs = _dividing(inputs)
    parts = [_parts(inputs, split) if is_crossed else [] for split, _ in runs]
    if inputs.is_large:
        return [_fit_large(inputs, config, run, own, nj) for run, own in zip(runs, parts, strict=True)]
    asked = [(_choosing_split(inputs, split), seed) for split, seed in runs]
    # The fits compute with numpy, on the CPU.
    inner = InnerFits.compute(inputs, config, asked, nj, "cpu")
    choices = [inner.choose(split, seed) for split, seed in asked]
    fitted = [_fitted(split, own) for (split, _), own in zip(runs, parts, strict=True)]
    jobs = [
        partial(_solve, (number, place), inputs.only(choice.candidate), config, utterances, choice.C)
        for number, (lists, choice) in enumerate(zip(fitted, choices, strict=True))
        for place, utterances in enumerate(lists)
    ]
    solved = dict(progress.track(parallel.run(jobs, nj, "cpu"), "fit heads", "fit", len(jobs)))
    keys = sorted(solved)
    blocks = [[inputs.blocks[key] for key in choices[number].candidate.keys] for number, _ in keys]
    with threadpool_limits(1):  # the rounding of a product would depend on the number of threads
        weights = weights_of([solved[key].parts for key in keys], blocks)
    heads = {key: Head(weight, bias + solved[key].bias) for key, (weight, bias) in zip(keys, weights, strict=True)}
    return [_start(number, choice, heads, parts[number]) for number, choice in enumerate(choices)]


def _fitted(split: Split, parts: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the utterances of each head: all for the head of the run; for a crossed head, those outside its part."""
    return [split.train, *(sorted(set(split.train).difference(part)) for part in parts)]


def _fit_large(
    inputs: TrainingData, config: LinearConfig, run: tuple[Split, int], parts: list[list[str]], nj: int
) -> HeadStart:
    """Return the start of a run on a corpus whose descriptors are in files (soctk.training.large)."""
    split, seed = run
    candidate, C, _ = large.choose(inputs, config, _choosing_split(inputs, split), seed, nj, "cpu")
    solved = [large.solve(inputs, candidate, config, own, C, nj) for own in _fitted(split, parts)]
    heads = {(0, place): Head(weight, bias) for place, (weight, bias, _) in enumerate(solved)}
    return _start(0, Chosen(candidate, C), heads, parts)


def _start(number: int, choice: Chosen, heads: dict[tuple[int, int], Head], parts: list[list[str]]) -> HeadStart:
    crossed = [heads[number, 1 + place] for place in range(len(parts))]
    part = {utterance: place for place, own in enumerate(parts) for utterance in own}
    return HeadStart(choice.candidate, choice.C, heads[number, 0], crossed, part)


def divides_speakers(data: DataDir, config: Config) -> bool:
    """Return whether C is chosen by parts of the training speakers, not by folds or by a published partition."""
    return not data.split and _dividing_protocol(data, config).startswith("cross-")


def _dividing_protocol(data: DataDir, config: Config) -> Protocol:
    """Return a protocol under which the training utterances alone can be divided into parts.

    They are divided by the folds of the corpus. With fewer than two training folds, and where the protocol has no such
    division, each fifth of the speakers is a part.
    """
    return "cross-lingual" if config.protocol == "emobox" or len(data.folds) < 4 else config.protocol


def _dividing(inputs: TrainingData) -> TrainingData:
    """Return the inputs with the protocol that divides the training utterances."""
    protocol = _dividing_protocol(inputs.data, inputs.config)
    return replace(inputs, config=inputs.config.model_copy(update={"protocol": protocol}))


def _choosing_split(inputs: TrainingData, split: Split) -> Split:
    """Return a split for the choice of C: the training utterances alone, or train and dev of a published partition."""
    return split if splits.has_dev(inputs.data) else Split(split.train, [], split.test)


def _parts(inputs: TrainingData, split: Split) -> list[list[str]]:
    """Return the parts of the training utterances for crossed heads."""
    if splits.has_dev(inputs.data):
        return splits.divide_by_speaker(inputs.data, split.train)
    only = Split(split.train, [], split.test)
    return [scored for _, scored in splits.inner_splits(inputs.data, only, inputs.config.protocol)]


def _solve(
    key: tuple[int, int], inputs: TrainingData, config: LinearConfig, utterances: Sequence[str], C: float
) -> tuple[tuple[int, int], Solution]:
    return key, linear.solve(inputs.blocks.values(), inputs.target, inputs.rows(utterances), C, config)
