"""The features of a corpus as training takes them: frames, or descriptors that are made once."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from joblib import Parallel, delayed
from torch.nn.functional import layer_norm

from soctk import pooling
from soctk.config import Config
from soctk.errors import SoctkError
from soctk.features.speed import with_copies
from soctk.features.store import Store
from soctk.parallel import one_thread
from soctk.training.linear import Block, gram
from soctk.training.recentre import Recentring

_BATCH = 8  # what soc_full makes of more is memory that malloc gives back and asks for again each time

_ROWS = 1 << 10  # normalised at a time, few enough for the cache


@dataclass(frozen=True)
class Frames:
    """The frames of many utterances as one contiguous block.

    Attributes:
        block: `(sum of T, L, D)`, L hidden states of each frame, in the dtype of the store.
        lengths: T of each utterance, in frames.
    """

    block: torch.Tensor
    lengths: list[int]

    @classmethod
    def of(cls, store: Store, utterances: Sequence[str], layers: Sequence[int] | None = None) -> "Frames":
        """Read the frames of utterances; of all hidden states in the store unless `layers` names some."""
        return cls(store.load(utterances, layers), store.lengths(utterances))

    @cached_property
    def _utterances(self) -> tuple[torch.Tensor, ...]:
        return self.block.split(self.lengths)

    def batch(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return float32 frames `(sum of T, L, D)`, one utterance after the other, and lengths `(B,)` in frames."""
        frames = torch.cat([self._utterances[i] for i in indices])
        return frames.float(), torch.tensor([self.lengths[i] for i in indices], device=frames.device)

    def to(self, device: str) -> "Frames":
        """Return the frames on another device."""
        return Frames(self.block.to(device), self.lengths)

    def layer_normalised(self) -> "Frames":
        """Return the frames in float32, each normalised over its D features."""
        block = torch.empty(self.block.shape, device=self.block.device)
        for rows, normalised in zip(self.block.split(_ROWS), block.split(_ROWS), strict=True):
            normalised[:] = layer_norm(rows.float(), rows.shape[-1:])
        return Frames(block, self.lengths)


@dataclass(frozen=True)
class StreamedFrames:
    """The frames of many utterances, read from the store when they are asked for: for what memory does not hold.

    Attributes:
        store: where they are.
        utterances: ids.
        layers: the hidden states wanted.
        layer_norm: whether each frame is normalised over its D features.
        device: where batches go.
    """

    store: Store
    utterances: Sequence[str]
    layers: Sequence[int]
    layer_norm: bool
    device: str = "cpu"

    @property
    def lengths(self) -> list[int]:
        """T of each utterance, in frames."""
        return self.store.lengths(self.utterances)

    def batch(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the same as `Frames.batch`."""
        wanted = [self.utterances[i] for i in indices]
        frames = Frames.of(self.store, wanted, self.layers).to(self.device)
        if self.layer_norm:
            frames = frames.layer_normalised()
        return frames.batch(range(len(indices)))

    def to(self, device: str) -> "StreamedFrames":
        """Return the frames, as they come on another device."""
        return replace(self, device=device)


@dataclass(frozen=True)
class Descriptors:
    """The descriptors of N utterances, for a head to be trained on.

    Attributes:
        blocks: `(N, P)` for each pooling layer.
        offsets: what is taken away from those of each speaker, `(speakers, P)` a block; None for nothing.
        speakers: of each utterance, `(N,)`; None with offsets None.
    """

    blocks: Sequence[torch.Tensor]
    offsets: Sequence[torch.Tensor] | None = None
    speakers: torch.Tensor | None = None

    @classmethod
    def of(cls, blocks: Sequence[np.ndarray], recentring: Recentring | None, fitted: Sequence[int]) -> "Descriptors":
        """Return descriptors, re-centred if that is wanted, for a head that is fitted to the utterances `fitted`."""
        tensors = [torch.from_numpy(block) for block in blocks]
        if recentring is None:
            return cls(tensors)
        offsets = [torch.from_numpy(recentring.means(block, fitted)) for block in blocks]
        return cls(tensors, offsets, torch.from_numpy(recentring.speakers))

    def batch(self, indices: Sequence[int]) -> tuple[torch.Tensor]:
        """Return descriptors `(B, sum of P)`."""
        rows = [block[indices] for block in self.blocks]
        if self.offsets is not None:
            speakers = self.speakers[indices]
            rows = [own - offset[speakers] for own, offset in zip(rows, self.offsets, strict=True)]
        return (torch.cat(rows, dim=1),)

    def to(self, device: str) -> "Descriptors":
        """Return the descriptors on another device."""
        if self.offsets is None:
            return Descriptors([block.to(device) for block in self.blocks])
        moved = ([tensor.to(device) for tensor in tensors] for tensors in (self.blocks, self.offsets))
        return Descriptors(*moved, self.speakers.to(device))


@dataclass
class Features:
    """The features of a corpus; descriptors that were made once are kept.

    Attributes:
        store: the frames.
        utterances: ids, in the order of all results.
        device: where descriptors are computed.
        max_bytes: of float32 frames that memory may hold; more are read from the store batch by batch.
    """

    store: Store
    utterances: Sequence[str]
    device: str = "cpu"
    max_bytes: float = field(default_factory=lambda: os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2)
    _blocks: dict[str, Block] = field(default_factory=dict, init=False, repr=False)

    def layers(self, config: Config) -> list[int]:
        """Return the hidden states that are used."""
        return self.store.layers if config.frames.layers == "all" else config.frames.layers

    def speeds(self, config: Config) -> list[float]:
        """Return the speeds of the copies that are used.

        Raises:
            SoctkError: the store has no copies at one of them.
        """
        there = self.store.settings.get("speeds", [])
        wanted = there if config.frames.speeds == "all" else config.frames.speeds
        for speed in wanted:
            if speed not in there:
                raise SoctkError(
                    f"it has no copies at speed {speed:g}, only {', '.join(f'{s:g}' for s in there) or 'at 1'}",
                    remedy="Choose among these, or extract others into another store (--speed-perturb).",
                    where=self.store.where,
                )
        return wanted

    def frames(self, config: Config, layers: Sequence[int]) -> Frames | StreamedFrames:
        """Return the frames of some hidden states of all utterances, and then of their copies at each speed.

        Raises:
            SoctkError: some are not finite, or not in the store.
        """
        utterances = with_copies(self.utterances, self.speeds(config))
        numbers = sum(self.store.lengths(utterances)) * len(layers) * self.store.settings["hidden_size"]
        if 4 * numbers > self.max_bytes:
            return StreamedFrames(self.store, utterances, layers, config.frames.layer_norm)
        frames = Frames.of(self.store, utterances, layers)
        self._require_finite(frames, utterances)
        return frames.layer_normalised() if config.frames.layer_norm else frames

    def blocks(self, config: Config, nj: int = 1) -> list[Block]:
        """Return the descriptors of all utterances and copies: a block a hidden state and pooling layer, in this order.

        Args:
            config: of pooling layers without trained parameters.
            nj: how many threads share the work.
        """
        blocks = []
        for layer in self.layers(config):
            of_all = [layer, config.frames.layer_norm, self.speeds(config)]
            keys = {name: json.dumps([*of_all, name, options]) for name, options in config.pooling.items()}
            missing = [name for name, key in keys.items() if key not in self._blocks]
            frames = self.frames(config, [layer]).to(self.device) if missing else None
            for name in missing:
                pool = pooling.create(name, self.store.settings["hidden_size"], config.pooling).to(self.device)
                descriptors = describe(lambda x, lengths: pool.pool_concatenated(x[:, 0], lengths), frames, nj).numpy()  # noqa: B023
                self._blocks[keys[name]] = Block(descriptors, gram(descriptors))
            blocks += [self._blocks[key] for key in keys.values()]
        return blocks

    def _require_finite(self, frames: Frames, utterances: Sequence[str]) -> None:
        sums = torch.cat([rows.flatten(1).sum(1, dtype=torch.float32) for rows in frames.block.split(1 << 12)])
        each = zip(utterances, sums.split(frames.lengths), frames.block.split(frames.lengths), strict=True)
        # A sum is finite where all of its terms are, unless it overflows.
        wrong = [utt for utt, own, terms in each if not own.isfinite().all() and not terms.isfinite().all()]
        if wrong:
            raise SoctkError(
                f"{len(wrong)} utterances have features that are NaN or infinite, such as {wrong[0]}",
                remedy="Remove the store and extract again (stage 1).",
                where=self.store.where,
            )


def describe(model: Callable[..., torch.Tensor], frames: Frames | StreamedFrames, nj: int = 1) -> torch.Tensor:
    """Return what `model` makes of the frames of all utterances, `(N, P)` on the CPU; like lengths share a batch.

    The result does not depend on `nj`, the number of threads, each with a batch of its own.
    """

    @torch.inference_mode()
    def rows_of(indices: list[int]) -> tuple[list[int], torch.Tensor]:
        return indices, model(*frames.batch(indices)).cpu()

    by_length = sorted(range(len(frames.lengths)), key=frames.lengths.__getitem__)
    batches = [by_length[start : start + _BATCH] for start in range(0, len(by_length), _BATCH)]
    descriptors = None
    with one_thread():
        jobs = Parallel(nj, backend="threading", return_as="generator_unordered")(map(delayed(rows_of), batches))
        for indices, rows in jobs:
            if descriptors is None:
                descriptors = rows.new_empty(len(by_length), rows.shape[1])
            descriptors[indices] = rows
    return descriptors
