"""The frames of many utterances: in memory, or read from the feature store batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from soctk.errors import SoctkError, plural
from soctk.features.interface import Store
from soctk.pooling.threads import share
from soctk.schema import LayerNorm
from soctk.training.frame_norm import normalise

_ROWS = 1 << 10  # frames to layer-normalise at a time; this many fit into the CPU cache

_ROWS_SUMMED = 1 << 12  # frames to check for NaN and infinity at a time

UTTERANCES_OF_A_PART = 8  # of the parts of a batch that threads work on

_LARGEST = 1e12  # of a feature; the sums of squares of larger ones overflow float32


@dataclass(frozen=True)
class Frames:
    """The frames of many utterances in memory, as one contiguous block.

    Attributes:
        block: `(sum of T, L, D)`, L hidden states of each frame, in the dtype of the store.
        lengths: T of each utterance, in frames.
        layer_norm: how `batch` normalises the frames.
    """

    block: torch.Tensor
    lengths: list[int]
    layer_norm: LayerNorm = False

    @classmethod
    def of(cls, store: Store, utterances: Sequence[str], layers: Sequence[int] | None = None) -> "Frames":
        """Read the frames of utterances for some hidden states; by default for all in the store."""
        return cls(store.load(utterances, layers), store.lengths(utterances))

    @cached_property
    def utterances(self) -> tuple[torch.Tensor, ...]:
        """The frames `(T, L, D)` of each utterance."""
        return self.block.split(self.lengths)

    def batch(self, indices: Sequence[int], threads: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """Return float32 frames `(sum of T, L, D)`, one utterance after the other, and the lengths `(B,)` in frames.

        Args:
            indices: the utterances.
            threads: how many threads copy the frames.
        """
        lengths = [self.lengths[i] for i in indices]
        utterances = [self.utterances[i] for i in indices]
        if threads == 1:
            frames = torch.cat(utterances).float()
        else:
            frames = self.block.new_empty(sum(lengths), *self.block.shape[1:], dtype=torch.float32)
            places = frames.split(lengths)

            def copy(start: int) -> None:
                part = slice(start, start + UTTERANCES_OF_A_PART)
                for place, utterance in zip(places[part], utterances[part], strict=True):
                    place.copy_(utterance)

            share(copy, range(0, len(indices), UTTERANCES_OF_A_PART), caller_works=True, threads=threads)
        frames = Frames(frames, lengths).layer_normalised(self.layer_norm).block
        return frames, torch.tensor(lengths, device=frames.device)

    def select(self, indices: Sequence[int]) -> "Selection":
        """Return the inputs of the utterances with these indices."""
        return Selection(self, indices)

    def to(self, device: str) -> "Frames":
        """Return the frames on another device."""
        return Frames(self.block.to(device), self.lengths, self.layer_norm)

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
class Selection:
    """Some of the utterances of frames in memory; nothing is copied.

    Attributes:
        frames: the frames.
        indices: the utterances.
    """

    frames: Frames
    indices: Sequence[int]

    def batch(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """See Frames.batch; the indices are those among the selected utterances."""
        return self.frames.batch([self.indices[i] for i in indices])


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

    def batch(self, indices: Sequence[int], threads: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """See Frames.batch.

        Raises:
            SoctkError: frames are NaN, infinite or too large.
        """
        return self.select(indices).batch(range(len(indices)), threads)

    def select(self, indices: Sequence[int]) -> Frames:
        """Read the inputs of the utterances with these indices.

        Raises:
            SoctkError: frames are NaN, infinite or too large.
        """
        utterances = [self.utterances[i] for i in indices]
        frames = Frames.of(self.store, utterances, self.layers)
        require_finite(frames, utterances, self.store.where)
        return replace(frames, layer_norm=self.layer_norm).to(self.device)

    def to(self, device: str) -> "StreamedFrames":
        """Return the frames, with batches on another device."""
        return replace(self, device=device)


def require_finite(frames: Frames, utterances: Sequence[str], where: str) -> None:
    """Check frames of the utterances that were read from the store `where`.

    Raises:
        SoctkError: frames are NaN, infinite or too large.
    """
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
