"""The linear head of a corpus whose descriptors do not fit into memory several times.

The choice among candidates and values of C is made on a part of the training utterances, by the usual inner fits. One
fit with this choice then reads the descriptors of all training utterances from a file, part by part.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from soctk import progress
from soctk.corpus.splits import Split
from soctk.errors import SoctkError
from soctk.parallel import one_thread
from soctk.schema import Config, LinearConfig
from soctk.training.blocks import Block
from soctk.training.candidates import Candidate
from soctk.training.classes import Classes
from soctk.training.inner_fits import InnerFits
from soctk.training.logistic_parts import LogisticInParts
from soctk.training.training_data import TrainingData

SAMPLE = 20_000  # training utterances that choose the candidate and C
_ROWS = 1 << 12  # in a part


@dataclass(frozen=True)
class StandardisedParts:
    """The descriptors of some rows, standardised as by coordinates.StandardisedValues, in parts.

    Attributes:
        blocks: the descriptors `(N, P)` of each block, in float16.
        rows: the rows to read, ascending.
        mean: of the training rows, `(sum of P,)`.
        scale: `(sum of P,)`; infinite where the training rows do not vary.
        device: of the parts.
    """

    blocks: Sequence[np.ndarray]
    rows: np.ndarray
    mean: torch.Tensor
    scale: torch.Tensor
    device: str

    @classmethod
    def of(cls, blocks: Sequence[np.ndarray], fitted: np.ndarray, device: str) -> "StandardisedParts":
        """Return the parts of the training rows."""
        means, scales = [], []
        for block in blocks:
            total, squares = np.zeros(block.shape[1]), np.zeros(block.shape[1])
            shift = block[fitted[0]].astype(np.float64)  # keeps the variance accurate for large means
            for rows in _divided(fitted):
                values = block[rows].astype(np.float64) - shift
                total += values.sum(0)
                squares += np.square(values).sum(0)
            average = total / len(fitted)
            variance = squares / len(fitted) - average**2
            varies = variance > 1e-12 * variance.max(initial=0)
            means.append(shift + average)
            scales.append(np.where(varies, np.sqrt(variance * max(1, varies.sum())), np.inf))
        mean, scale = (torch.from_numpy(np.concatenate(each)).float().to(device) for each in (means, scales))
        return cls(blocks, fitted, mean, scale, device)

    def __len__(self) -> int:
        return -(-len(self.rows) // _ROWS)

    def __getitem__(self, number: int) -> torch.Tensor:
        """Return a part `(rows, sum of P)` in float32."""
        rows = self.rows[number * _ROWS : (number + 1) * _ROWS]
        values = np.concatenate([block[rows] for block in self.blocks], axis=1)
        return torch.from_numpy(values).to(self.device).float().sub_(self.mean).div_(self.scale)


def choose(
    inputs: TrainingData, config: LinearConfig, split: Split, seed: int, nj: int, device: str
) -> tuple[Candidate, float, list[dict[str, Any]]]:
    """Return the candidate and the C of a run, and the records of the inner fits on a part of its utterances."""
    sample, own = _sample(inputs, split, seed)
    inner = InnerFits.compute(sample, config, [(own, seed)], nj, device)
    candidate, C = inner.choose(own, seed)
    return candidate, C, inner.records(own, seed)


def solve(
    inputs: TrainingData, candidate: Candidate, config: LinearConfig, utterances: Sequence[str], C: float, nj: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit the head to training utterances with one C.

    Args:
        inputs: the corpus.
        candidate: what the run chose.
        config: the settings of the head.
        utterances: the training utterances.
        C: the inverse strength of the regularisation.
        nj: how many parts are read and multiplied at a time, each by one thread; it does not change the result.

    Returns:
        The weights `(K, sum of P)` and the biases `(K,)` on descriptors, and the outputs `(N, K)` for all rows.

    Raises:
        SoctkError: all training utterances have the same class.
    """
    blocks = [inputs.blocks[key].array for key in candidate.keys]
    fitted = np.sort(inputs.rows(utterances))
    with threadpool_limits(1), one_thread():
        parts = StandardisedParts.of(blocks, fitted, inputs.device)
        assert isinstance(inputs.target, Classes)
        labels = torch.from_numpy(inputs.target.labels[fitted]).long().to(inputs.device)
        shares = torch.from_numpy(inputs.target.shares_of(fitted)).to(inputs.device)
        with progress.step(f"fit the head to {len(fitted)} descriptors"):
            solver = LogisticInParts(parts, labels, shares, config.within_class_shrinkage, nj)
            solver.fit(C)
        on_values, own_bias = solver.weights()
        weight = on_values / parts.scale.cpu().numpy()
        bias = own_bias - weight @ parts.mean.cpu().numpy().astype(np.float64)
        every = replace(parts, rows=np.arange(len(blocks[0])))
        as_tensor = torch.from_numpy(on_values).float().to(inputs.device)
        outputs = np.concatenate(
            [(part @ as_tensor.T).cpu().numpy() for part in map(every.__getitem__, range(len(every)))]
        )
    return weight.astype(np.float32), bias, (outputs + own_bias).astype(np.float32)


def check(config: Config) -> None:
    """Check the settings of an experiment whose descriptors are large.

    Raises:
        SoctkError: they choose re-centring, or a target without classes.
    """
    what = f"{config.target} as --target" if config.dimensions else "re-centring"
    if config.dimensions or config.recentre.by != "none":
        raise SoctkError(
            "the descriptors of this corpus do not fit into memory, and a fit that reads them from a file has no "
            f"{what}",
            remedy="Shorten the descriptors (--set pooling.soc_full.d=64, or fewer hidden states), or use a machine "
            "with more memory (--max-memory).",
            where="--head linear",
        )


def _sample(inputs: TrainingData, split: Split, seed: int) -> tuple[TrainingData, Split]:
    """Return the data of some utterances of a run's training and validation speakers, in memory, and their split."""
    known = sorted(split.train + split.valid)
    chosen = known
    if len(known) > SAMPLE:
        drawn = np.random.default_rng(seed).permutation(len(known))[:SAMPLE]
        chosen = [known[i] for i in np.sort(drawn)]
    kept = set(chosen)
    data = inputs.data.only(kept)
    rows = inputs.with_copies(inputs.indices(data.utterances))
    blocks = {key: Block(block.array[rows].astype(np.float32), None) for key, block in inputs.blocks.items()}
    own = Split(*([utt for utt in part if utt in kept] for part in (split.train, split.valid, [])))
    return replace(inputs, data=data, blocks=blocks), own


def _divided(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS))
