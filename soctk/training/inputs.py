"""The inputs of training: the frames of a corpus, or descriptors that are computed once."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import torch
from joblib import Parallel, delayed

from soctk import pooling, progress
from soctk.errors import SoctkError, plural
from soctk.features.copies import with_copies
from soctk.features.store import Store
from soctk.parallel import one_thread
from soctk.pooling import Pooling
from soctk.schema import Augmentation, Config, LayerNorm
from soctk.training.coordinates import Block, BlockKey, gram
from soctk.training.frame_norm import normalise, of_store
from soctk.training.recentre import Recentring

_BATCH = 8  # utterances per batch of `describe`; larger batches of soc_full make malloc release and re-request memory

_ROWS = 1 << 10  # frames to layer-normalise at a time; this many fit into the CPU cache

_ROWS_SUMMED = 1 << 12  # frames to check for NaN and infinity at a time

_LARGEST = 1e12  # of a feature; the sums of squares of larger ones overflow float32


@dataclass(frozen=True)
class Frames:
    """The frames of many utterances in memory, as one contiguous block.

    Attributes:
        block: `(sum of T, L, D)`, L hidden states of each frame, in the dtype of the store.
        lengths: T of each utterance, in frames.
    """

    block: torch.Tensor
    lengths: list[int]

    @classmethod
    def of(cls, store: Store, utterances: Sequence[str], layers: Sequence[int] | None = None) -> "Frames":
        """Read the frames of utterances for some hidden states; by default for all in the store."""
        return cls(store.load(utterances, layers), store.lengths(utterances))

    @cached_property
    def utterances(self) -> tuple[torch.Tensor, ...]:
        """The frames `(T, L, D)` of each utterance."""
        return self.block.split(self.lengths)

    def batch(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return float32 frames `(sum of T, L, D)`, one utterance after the other, and the lengths `(B,)` in frames."""
        frames = torch.cat([self.utterances[i] for i in indices])
        return frames.float(), torch.tensor([self.lengths[i] for i in indices], device=frames.device)

    def to(self, device: str) -> "Frames":
        """Return the frames on another device."""
        return Frames(self.block.to(device), self.lengths)

    def layer_normalised(self, setting: LayerNorm = True) -> "Frames":
        """Return the frames in float32, normalised; or these frames if the setting is False (frame_norm.normalise)."""
        if setting is False:
            return self
        block = torch.empty(self.block.shape, device=self.block.device)
        sizes = self.lengths if setting == "utterance" else _ROWS
        for rows, normalised in zip(self.block.split(sizes), block.split(sizes), strict=True):
            normalised[:] = normalise(rows.float(), setting)
        return Frames(block, self.lengths)


@dataclass(frozen=True)
class StreamedFrames:
    """The frames of many utterances, read from the store batch by batch, for corpora larger than memory.

    Attributes:
        store: the feature store.
        utterances: ids.
        layers: the hidden states to read.
        layer_norm: how frames are normalised.
        device: the device of the batches.
    """

    store: Store
    utterances: Sequence[str]
    layers: Sequence[int]
    layer_norm: LayerNorm
    device: str = "cpu"

    @property
    def lengths(self) -> list[int]:
        """T of each utterance, in frames."""
        return self.store.lengths(self.utterances)

    def batch(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """See Frames.batch.

        Raises:
            SoctkError: frames are NaN, infinite or too large.
        """
        utterances = [self.utterances[i] for i in indices]
        frames = Frames.of(self.store, utterances, self.layers)
        _require_finite(frames, utterances, self.store.where)
        frames = frames.to(self.device).layer_normalised(self.layer_norm)
        return frames.batch(range(len(indices)))

    def to(self, device: str) -> "StreamedFrames":
        """Return the frames, with batches on another device."""
        return replace(self, device=device)


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
    """The features of a corpus. Descriptors of poolings without trained parameters are computed once and kept.

    Attributes:
        store: the feature store.
        utterances: ids; all results are in this order.
        device: the device on which descriptors are computed.
        max_bytes: the most bytes of float32 frames to hold in memory; larger corpora are read batch by batch.
    """

    store: Store
    utterances: Sequence[str]
    device: str = "cpu"
    max_bytes: float = field(default_factory=half_of_memory)
    _blocks: dict[str, Block] = field(default_factory=dict, init=False, repr=False)

    def layers(self, config: Config) -> list[int]:
        """Return the hidden states of the settings; with a choice inside folds, those of all candidates."""
        layers = config.frames.layers
        if layers == "last":
            return self.store.layers[-1:]
        return self.store.layers if isinstance(layers, str) else layers

    @property
    def has_one_frame(self) -> bool:
        """Whether each utterance has one frame."""
        return set(self.store.lengths(self.utterances)) == {1}

    def speeds(self, config: Config) -> list[float]:
        """Return the speeds of the copies that the settings choose.

        Raises:
            SoctkError: the store has no copies at one of these speeds.
        """
        stored = self.store.settings.get("speeds", [])
        chosen = stored if config.frames.speeds == "all" else config.frames.speeds
        for speed in chosen:
            if speed not in stored:
                speeds = ", ".join(f"{s:g}" for s in stored)
                raise SoctkError(
                    f"the store has no copies at speed {speed:g}; "
                    + (f"its copies are at {speeds}" if speeds else "it has no copies"),
                    remedy="Choose other speeds, or extract into another store (--speed-perturb).",
                    where=self.store.where,
                )
        return chosen

    def augmentations(self, config: Config) -> list[Augmentation]:
        """Return the augmentations of the copies, for training only, that the settings choose.

        Raises:
            SoctkError: the store has no copies with one of these augmentations.
        """
        stored = self.store.settings.get("augmentations", [])
        chosen = stored if config.frames.augment == "all" else config.frames.augment
        for name in chosen:
            if name not in stored:
                raise SoctkError(
                    f"the store has no copies with {name}; "
                    + (f"it has copies with {', '.join(stored)}" if stored else "it has no augmented copies"),
                    remedy="Choose other augmentations, or extract into another store (--augment).",
                    where=self.store.where,
                )
        return chosen

    def _layer_norm(self, config: Config) -> LayerNorm:
        return of_store(config.frames.layer_norm, self.store.settings)

    def frames(self, config: Config, layers: Sequence[int]) -> Frames | StreamedFrames:
        """Return the frames of all utterances, then of each kind of copies, for some hidden states.

        Raises:
            SoctkError: frames are missing from the store, or are NaN, infinite or too large (StreamedFrames check each
                batch when it is read).
        """
        utterances = with_copies(self.utterances, self.speeds(config), self.augmentations(config))
        count = sum(self.store.lengths(utterances)) * len(layers) * self.store.settings["hidden_size"]
        if 4 * count > self.max_bytes:
            return StreamedFrames(self.store, utterances, layers, self._layer_norm(config))
        with progress.step("read features"):
            frames = Frames.of(self.store, utterances, layers)
            _require_finite(frames, utterances, self.store.where)
            return frames.layer_normalised(self._layer_norm(config))

    def blocks(self, config: Config, nj: int = 1) -> dict[BlockKey, Block]:
        """Return the descriptors of all utterances, then of each kind of copies.

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
        for layer in self.layers(config):
            shared = [layer, self._layer_norm(config), self.speeds(config), self.augmentations(config)]
            keys = {name: json.dumps([*shared, name, options]) for name, options in config.pooling.items()}
            missing = [name for name, key in keys.items() if key not in self._blocks]
            if missing:
                frames = self.frames(config, [layer]).to(self.device)
                for name in missing:
                    pool = pooling.create(name, self.store.settings["hidden_size"], config.pooling).to(self.device)
                    descriptors = describe(partial(_pool_one_layer, pool), frames, nj).numpy()
                    with progress.step("inner products of descriptors"):
                        self._blocks[keys[name]] = Block(descriptors, gram(descriptors))
            blocks |= {(layer, name): self._blocks[key] for name, key in keys.items()}
        return blocks


def describe(model: Callable[..., torch.Tensor], frames: Frames | StreamedFrames, nj: int = 1) -> torch.Tensor:
    """Return the descriptors `(N, P)` of all utterances, on the CPU.

    Utterances of similar length share a batch. Each of the `nj` threads takes one batch at a time; the result does not
    depend on their number.

    Args:
        model: computes the descriptors `(B, P)` of a batch, given its frames and lengths (Frames.batch).
        frames: the frames of N utterances.
        nj: the number of threads.
    """
    by_length = sorted(range(len(frames.lengths)), key=frames.lengths.__getitem__)
    batches = [by_length[start : start + _BATCH] for start in range(0, len(by_length), _BATCH)]

    @torch.inference_mode()
    def describe_batch(indices: list[int]) -> tuple[list[int], torch.Tensor]:
        return indices, model(*frames.batch(indices)).cpu()

    with one_thread():
        run = Parallel(nj, backend="threading", return_as="generator_unordered")
        described = progress.track(run(map(delayed(describe_batch), batches)), "pool", "batch", len(batches))
        results: Iterator[tuple[list[int], torch.Tensor]] = iter(described)
        indices, rows = next(results)
        descriptors = rows.new_empty(len(by_length), rows.shape[1])
        descriptors[indices] = rows
        for indices, rows in results:
            descriptors[indices] = rows
    return descriptors


def _pool_one_layer(pool: Pooling, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the descriptors of frames `(sum of T, 1, D)`."""
    return pool.pool_concatenated(frames[:, 0], lengths)


def _require_finite(frames: Frames, utterances: Sequence[str], where: str) -> None:
    """Raise SoctkError if frames of the utterances, read from the store `where`, are NaN, infinite or too large."""
    sums = torch.cat([rows.flatten(1).sum(1, dtype=torch.float32) for rows in frames.block.split(_ROWS_SUMMED)])
    each = zip(utterances, sums.split(frames.lengths), frames.utterances, strict=True)
    # The sum of many numbers may be large too, so an utterance with a large sum is checked number by number.
    wrong = [utt for utt, own, numbers in each if not _is_usual(own) and not _is_usual(numbers)]
    if wrong:
        raise SoctkError(
            f"{plural(len(wrong), 'utterance has', 'utterances have')} features that are NaN, infinite or larger than "
            f"{_LARGEST:g}, such as {wrong[0]}",
            remedy="Look at these recordings (soctk-check), and extract into a new store (stage 1).",
            where=where,
        )


def _is_usual(numbers: torch.Tensor) -> bool:
    return bool((numbers.float().abs() <= _LARGEST).all())  # False for NaN; float16 would round the limit to infinity
