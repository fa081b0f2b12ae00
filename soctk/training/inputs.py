"""The inputs of training: the frames of a corpus, or descriptors that are computed once."""

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from soctk import pooling, progress
from soctk.errors import SoctkError
from soctk.features.copies import with_copies
from soctk.features.interface import Store
from soctk.pooling import Pooling
from soctk.schema import Augmentation, Config, LinearConfig
from soctk.training.blocks import Block, BlockKey, PooledAgain, describe, describe_to_file, gram, of_one_layer
from soctk.training.frame_norm import of_store
from soctk.training.frames import Frames, StreamedFrames, require_finite
from soctk.training.recentre import Recentring


@dataclass(frozen=True)
class Offsets:
    """The means that re-centring subtracts from the descriptors of each speaker.

    Attributes:
        blocks: the means `(speakers, P)` of each block of descriptors.
        speakers: the index of the speaker of each utterance, `(N,)`.
    """

    blocks: Sequence[torch.Tensor]
    speakers: torch.Tensor

    def to(self, device: str) -> "Offsets":
        """Return the offsets on another device."""
        return Offsets([block.to(device) for block in self.blocks], self.speakers.to(device))


@dataclass(frozen=True)
class Descriptors:
    """The descriptors of N utterances, the inputs of a head.

    Attributes:
        blocks: the descriptors `(N, P)` of each pooling layer and hidden state.
        offsets: the means that `batch` subtracts; None without re-centring.
    """

    blocks: Sequence[torch.Tensor]
    offsets: Offsets | None = None

    @classmethod
    def of(cls, blocks: Sequence[np.ndarray], recentring: Recentring | None, fitted: Sequence[int]) -> "Descriptors":
        """Return the descriptors for a head with the training utterances `fitted`, re-centred by `recentring`."""
        tensors = [torch.from_numpy(block) for block in blocks]
        if recentring is None:
            return cls(tensors)
        means = [torch.from_numpy(recentring.means(block, fitted)) for block in blocks]
        return cls(tensors, Offsets(means, torch.from_numpy(recentring.speakers)))

    def batch(self, indices: Sequence[int]) -> tuple[torch.Tensor]:
        """Return descriptors `(B, sum of P)`."""
        rows = [block[indices] for block in self.blocks]
        if self.offsets is not None:
            speakers = self.offsets.speakers[indices]
            rows = [own - offset[speakers] for own, offset in zip(rows, self.offsets.blocks, strict=True)]
        return (torch.cat(rows, dim=1),)

    def to(self, device: str) -> "Descriptors":
        """Return the descriptors on another device."""
        return Descriptors([block.to(device) for block in self.blocks], self.offsets and self.offsets.to(device))


def half_of_memory() -> float:
    """Return half of the machine's memory, in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2


@dataclass
class Features:
    """The features of a corpus. The blocks of poolings without trained parameters are computed once and kept.

    Attributes:
        store: the feature store.
        utterances: ids; all results are in this order.
        device: the device on which descriptors are computed.
        max_bytes: the most bytes of float32 frames to hold in memory; larger corpora are read batch by batch. Half as
            many bytes of descriptors are kept (`blocks`).
    """

    store: Store
    utterances: Sequence[str]
    device: str = "cpu"
    max_bytes: float = field(default_factory=half_of_memory)
    _blocks: dict[str, Block] = field(default_factory=dict, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a process that gets a copy: without the blocks, which it can compute."""
        return {**self.__dict__, "_blocks": {}}

    def layers(self, config: Config) -> list[int]:
        """Return the hidden states of the settings; with a choice inside folds, those of all candidates."""
        layers = config.frames.layers
        if layers == "last":
            return self.store.last_layers
        if isinstance(layers, str):
            return self.store.layers
        return sorted(layers, key=lambda layer: self.store.parts.index(self.store.select([layer])[0]))

    @property
    def has_one_frame(self) -> bool:
        """Whether each utterance has one frame."""
        return any(set(store.lengths(self.utterances)) == {1} for store in self.store.parts)

    def hidden_sizes(self, layers: Sequence[int]) -> list[int]:
        """Return the frame width D of each of some hidden states."""
        return [self.store.select([layer])[0].settings["hidden_size"] for layer in layers]

    def check_copies(self, config: Config) -> None:
        """Check that the store has the copies that the settings choose.

        Raises:
            SoctkError: it lacks some.
        """
        self.speeds(config)
        self.augmentations(config)

    def speeds(self, config: Config) -> list[float]:
        """Return the speeds of the copies that the settings choose.

        Raises:
            SoctkError: the store has no copies at one of these speeds.
        """
        return self._copies("speeds", config.frames.speeds, "copies at speed {}", "--speed-perturb")

    def augmentations(self, config: Config) -> list[Augmentation]:
        """Return the augmentations of the copies, for training only, that the settings choose.

        Raises:
            SoctkError: the store has no copies with one of these augmentations.
        """
        return self._copies("augmentations", config.frames.augment, "copies with {}", "--augment")

    def _copies(self, setting: str, chosen: Any, named: str, option: str) -> list[Any]:
        stored = self.store.settings.get(setting, [])
        wanted = stored if chosen == "all" else chosen
        for one in wanted:
            if one not in stored:
                rest = ", ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in stored)
                raise SoctkError(
                    f"the store has no {named.format(one)}; "
                    + (f"it has {named.format(rest)}" if rest else "it has none"),
                    remedy=f"Choose other {setting}, or extract into another store ({option}).",
                    where=self.store.where,
                )
        return wanted

    def frames(self, config: Config, layers: Sequence[int]) -> Frames | StreamedFrames:
        """Return the frames of all utterances, then of each kind of copies, for some hidden states.

        Frames in memory are in float32 and layer-normalised.

        Raises:
            SoctkError: frames are missing from the store, or are NaN, infinite or too large (StreamedFrames check each
                batch when it is read).
        """
        frames = self._read(config, layers)
        return frames.layer_normalised(frames.layer_norm) if isinstance(frames, Frames) else frames

    def _read(self, config: Config, layers: Sequence[int]) -> Frames | StreamedFrames:
        """Return `frames`, but those in memory in the dtype of the store; each batch is layer-normalised when read."""
        streamed = self._streamed(config, layers)
        utterances = streamed.utterances
        if 4 * sum(streamed.lengths) * sum(self.hidden_sizes(layers)) > self.max_bytes:
            return streamed
        with progress.step("read features"):
            frames = Frames.of(streamed.store, utterances, streamed.layers)
            require_finite(frames, utterances, streamed.store.where)
            return replace(frames, layer_norm=streamed.layer_norm)

    def blocks(self, config: Config, nj: int = 1) -> dict[BlockKey, Block]:
        """Return the descriptors of all utterances, then of each kind of copies, with their inner products.

        For the head linear, descriptors are kept in memory while they fit into half of `max_bytes`. Those of further
        blocks are pooled again when weights are computed; until then, the inner products are enough. The descriptors of
        one block at a time are in memory for the inner products. Descriptors that are shorter than the number of
        utterances have no inner products: all of a corpus are written to a file, in float16, if `are_large`. The head
        mlp needs all descriptors in memory.

        Args:
            config: the settings, with pooling layers without trained parameters.
            nj: the number of threads.

        Returns:
            (hidden state, name of the pooling layer) -> block: all pooling layers of the first hidden state, then of
            the second, and so on.

        Raises:
            SoctkError: `frames` raises it.
        """
        blocks: dict[BlockKey, Block] = {}
        in_memory = not isinstance(config.head, LinearConfig)
        is_large = not in_memory and self.are_large(config)
        for layer in self.layers(config):
            shared = [layer, config.frames.layer_norm, self.speeds(config), self.augmentations(config), is_large]
            keys = {name: json.dumps([*shared, name, options]) for name, options in config.pooling.items()}
            missing = [name for name, key in keys.items() if not self._has_block(key, in_memory)]
            self._blocks |= {
                keys[name]: block for name, block in self._new_blocks(config, layer, missing, nj, is_large).items()
            }
            blocks |= {(layer, name): self._blocks[key] for name, key in keys.items()}
        return blocks

    def _streamed(self, config: Config, layers: Sequence[int]) -> StreamedFrames:
        utterances = with_copies(self.utterances, self.speeds(config), self.augmentations(config))
        store, own = self.store.select(layers)
        return StreamedFrames(store, utterances, own, of_store(config.frames.layer_norm, store.settings))

    def _has_block(self, key: str, in_memory: bool) -> bool:
        return key in self._blocks and (self._blocks[key].is_kept or not in_memory)

    def are_large(self, config: Config) -> bool:
        """Return whether descriptors are too large for fits in memory, with poolings without trained parameters.

        Such a fit has the descriptors, and three copies of those of its training utterances, in float32.
        """
        sizes = [
            pooling.create(name, self.hidden_sizes([layer])[0], config.pooling).output_size
            for layer in self.layers(config)
            for name in config.pooling
        ]
        count = len(self._streamed(config, self.layers(config)[:1]).utterances)
        return sum(sizes) < count and 16 * count * sum(sizes) > self.max_bytes

    def _new_blocks(
        self, config: Config, layer: int, names: Sequence[str], nj: int, is_large: bool
    ) -> dict[str, Block]:
        """Return the blocks of some pooling layers on one hidden state, by the names of the pooling layers."""
        blocks: dict[str, Block] = {}
        if not names:
            return blocks
        frames, streamed = self._read(config, [layer]).to(self.device), self._streamed(config, [layer]).to(self.device)
        for name in names:
            pool = pooling.create(name, self.hidden_sizes([layer])[0], config.pooling).to(self.device)
            if is_large:
                model = partial(of_one_layer, pool)
                blocks[name] = Block(describe_to_file(model, frames, pool.output_size, nj), None)
                continue
            room = self.max_bytes / 2 - _bytes_kept([*self._blocks.values(), *blocks.values()])
            room = room if isinstance(config.head, LinearConfig) else math.inf
            blocks[name] = _new_block(pool, frames, streamed, room, nj)
        return blocks


def _new_block(pool: Pooling, frames: Frames | StreamedFrames, streamed: StreamedFrames, room: float, nj: int) -> Block:
    """Return a block; if its descriptors have more than `room` bytes, they are pooled again when they are read."""
    descriptors = describe(partial(of_one_layer, pool), frames, nj).numpy()
    with progress.step("inner products of descriptors"):
        products = gram(descriptors)
    is_kept = products is None or descriptors.nbytes <= room
    return Block(descriptors if is_kept else PooledAgain(pool, streamed, nj), products)


def _bytes_kept(blocks: Iterable[Block]) -> int:
    """Return the bytes of those descriptors in memory that could be pooled again."""
    return sum(block.array.nbytes for block in blocks if block.is_kept and block.products is not None)
