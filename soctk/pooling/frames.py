"""Batches of utterances of different lengths: check the shapes, find the padding, subtract the mean over time.

Shapes: `frames` `(B, T, D)`, `lengths` `(B,)` in frames. Frames at or beyond an utterance's length are padding.
"""

from typing import NamedTuple

import torch


class Slices(NamedTuple):
    """B slices of frames `(R, N, D)`: slice b is `frames[starts[b] : starts[b] + lengths[b], blocks[b]]`, `(T, D)`.

    Attributes:
        starts: `(B,)`, the first row of each slice.
        blocks: `(B,)`, from 0 to N - 1.
        lengths: `(B,)` in frames.
    """

    starts: torch.Tensor
    blocks: torch.Tensor
    lengths: torch.Tensor

    @classmethod
    def of_batch(cls, frames: torch.Tensor, lengths: torch.Tensor) -> "Slices":
        """Return the utterances of a padded batch `(B, T, D)`, whose frames are given as `(B T, 1, D)`."""
        batch, time, _ = frames.shape
        starts = torch.arange(0, batch * time, time, device=lengths.device)
        return cls(starts, torch.zeros_like(starts), lengths)

    @classmethod
    def of_concatenated(cls, frames: torch.Tensor, lengths: torch.Tensor) -> "Slices":
        """Return the utterances of frames `(sum of T, D)`, which are given as `(sum of T, 1, D)`.

        Raises:
            ValueError: the lengths do not add up to the number of frames, or one is less than 1.
        """
        ends = lengths.cumsum(0)
        _check_total(ends[-1], frames)
        if (lengths < 1).any():
            raise ValueError(f"lengths must be at least 1, not {lengths.tolist()}")
        return cls(ends - lengths, torch.zeros_like(lengths), lengths)

    def pad(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the slices of frames `(R, N, D)` as a padded batch `(B, T, D)`; the padding is arbitrary."""
        rows, blocks, _ = frames.shape
        time = torch.arange(int(self.lengths.max()), device=frames.device)
        places = (self.starts[:, None] + time).clamp(max=rows - 1) * blocks + self.blocks[:, None]
        return frames.flatten(0, 1).index_select(0, places.flatten()).unflatten(0, places.shape)


def check_shapes(frames: torch.Tensor, lengths: torch.Tensor) -> None:
    """Check frames `(B, T, D)` and lengths `(B,)`.

    Raises:
        ValueError: the shapes do not fit, or a length is not within 1..T.
    """
    if frames.dim() != 3 or lengths.shape != frames.shape[:1]:
        raise ValueError(
            f"frames (B, T, D) and lengths (B,) are needed, not {tuple(frames.shape)} and {tuple(lengths.shape)}"
        )
    if not ((lengths >= 1) & (lengths <= frames.shape[1])).all():
        raise ValueError(f"lengths must be within 1..{frames.shape[1]}, not {lengths.tolist()}")


def require_finite(values: torch.Tensor) -> None:
    """Check values `(B, ...)` that were computed from the frames of B utterances.

    Raises:
        ValueError: some values are NaN or infinite; the message has their indices in the batch, from 0.
    """
    finite = values.isfinite()
    if not finite.all():
        wrong = (~finite).flatten(1).any(1) if finite.dim() > 1 else ~finite
        numbers = ", ".join(map(str, wrong.nonzero().flatten().tolist()))
        raise ValueError(f"frames of utterance {numbers} of the batch are NaN, infinite or too large")


def is_padding(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return `(B, T, 1)`, True for frames beyond the length of their utterance."""
    return (torch.arange(frames.shape[1], device=frames.device) >= lengths[:, None]).unsqueeze(-1)


def clear_padding(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Set padding to 0 in place, and return the frames `(B, T, D)`."""
    if (lengths < frames.shape[1]).any():
        frames.masked_fill_(is_padding(frames, lengths), 0)
    return frames


def centre(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return frames `(B, T, D)` minus their mean over time; padding is 0.

    The first frame is subtracted before the mean, so that constant frames give exactly 0.
    """
    return subtract_mean(frames - frames[:, :1], lengths)


def subtract_mean(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Subtract the mean over time in place, set padding to 0, and return the frames `(B, T, D)`."""
    clear_padding(frames, lengths)
    frames -= frames.sum(1, keepdim=True) / lengths[:, None, None]
    return clear_padding(frames, lengths)


def pad(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return concatenated frames `(sum of T, D)` as a batch `(B, T, D)`, with zeros as padding.

    Args:
        frames: the frames of all utterances, one utterance after the other.
        lengths: `(B,)` in frames.

    Raises:
        ValueError: the lengths do not add up to the number of frames.
    """
    longest = int(lengths.max())
    _check_total(lengths.sum(), frames)
    starts = torch.arange(len(lengths), device=frames.device) * longest - (lengths.cumsum(0) - lengths)
    rows = starts.repeat_interleave(lengths) + torch.arange(len(frames), device=frames.device)
    padded = frames.new_zeros(len(lengths) * longest, frames.shape[1]).index_copy(0, rows, frames)
    return padded.view(len(lengths), longest, -1)


def _check_total(total: torch.Tensor, frames: torch.Tensor) -> None:
    if int(total) != len(frames):
        raise ValueError(f"lengths add up to {int(total)}, but there are {len(frames)} frames")
