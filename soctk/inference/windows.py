"""Windows of a long recording, which is read piece by piece, so that memory does not grow with its length."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from soctk.corpus import audio
from soctk.errors import SoctkError
from soctk.inference import waveforms
from soctk.inference.result import TimedResult

__all__ = ["Cutter", "Part", "TimedResult", "batches", "blocks", "check", "cut"]

Part = tuple[float, np.ndarray]  # the start of a window in s, and its samples

_BLOCK = 1 << 20  # samples of a waveform that are cut into windows at a time
_SHORTEST_HOP = 0.01  # s, about one frame
_TOGETHER = 24.0  # s of windows that are encoded at a time; more is no faster, and takes memory


class Cutter:
    """Cuts sound that arrives in pieces into windows. Window k starts at k times the hop.

    The last window ends with the sound, so it may be shorter than the others. If it would be shorter than the model
    takes, the window before it ends with the sound instead. Sound that is shorter than a window is one window.

    Args:
        rate: the sample rate, in Hz.
        window: the length of a window, in s.
        hop: the time from the start of a window to the start of the next, in s; at most `window`.
        shortest: the duration of the shortest window, in s.
    """

    def __init__(self, rate: int, window: float, hop: float, shortest: float = audio.MIN_SECONDS):
        self._rate, self._hop = rate, hop
        self._window, self._shortest = round(window * rate), math.ceil(shortest * rate)
        self._number = 0  # of the next window
        self._samples = np.zeros(0, dtype=np.float32)  # from the start of the next window
        self._overlap = 0  # the number of samples that the window before has too

    def push(self, samples: np.ndarray) -> Iterator[Part]:
        """Add samples `(samples,)`; yield the start (in s) and the samples of each window that is complete."""
        self._samples = np.concatenate([self._samples, samples])
        while len(self._samples) >= max(self._window, self._step + self._shortest):
            window = self._start / self._rate, self._samples[: self._window]
            self._overlap = self._window - self._step
            self._samples = self._samples[self._step :]
            self._number += 1
            yield window

    def finish(self) -> Iterator[Part]:
        """Yield the last window, if sound is left that no window has.

        Raises:
            ValueError: the sound is shorter than 50 ms.
        """
        if self._number == 0:
            waveforms.require_length(len(self._samples), self._rate)
        if len(self._samples) > self._overlap:
            self._overlap = len(self._samples)
            yield self._start / self._rate, self._samples

    @property
    def _start(self) -> int:
        """The start of the next window, in samples."""
        return round(self._number * self._hop * self._rate)

    @property
    def _step(self) -> int:
        """The number of samples from the start of the next window to the start of the window after it."""
        return round((self._number + 1) * self._hop * self._rate) - self._start


def blocks(recording: Any, sample_rate: int | None, channel: str) -> tuple[Iterator[np.ndarray], int]:
    """Return a recording as blocks `(samples,)`, and its sample rate in Hz; see soctk.inference.waveforms.read.

    Files are read block by block, except for formats without an exact header, such as MP3 and Ogg, which are decoded
    whole (soctk.corpus.audio.load_blocks).

    Raises:
        SoctkError: the file cannot be used; the iterator raises it for faults after the beginning of the file.
        ValueError: the waveform cannot be used.
    """
    if waveforms.is_file(recording, sample_rate):
        return audio.load_blocks(waveforms.as_clip(recording), channel)
    samples, rate = waveforms.read(recording, sample_rate, channel)
    return (samples[start : start + _BLOCK] for start in range(0, len(samples), _BLOCK)), rate


def cut(pieces: Iterable[np.ndarray], cutter: Cutter) -> Iterator[Part]:
    """Cut a recording that is read piece by piece; yield the start (in s) and the samples of each window."""
    for piece in pieces:
        yield from cutter.push(piece)
    yield from cutter.finish()


def batches(parts: Iterable[Part], rate: int) -> Iterator[list[Part]]:
    """Group windows of equal length that follow each other: at most 24 s of sound, or one window, in a batch.

    If `parts` raises an error, the windows before it are yielded first.

    Args:
        parts: the windows.
        rate: their sample rate, in Hz.
    """
    batch: list[Part] = []
    try:
        for start, samples in parts:
            size = len(samples)
            if batch and (size != len(batch[0][1]) or (len(batch) + 1) * size > _TOGETHER * rate):
                yield batch
                batch = []
            batch.append((start, samples))
    except (SoctkError, ValueError):
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def check(window: float, hop: float, shortest: float, longest: float) -> None:
    """Check the lengths of windows.

    Args:
        window: the length of a window, in s.
        hop: the time from the start of a window to the start of the next, in s.
        shortest: the duration of the shortest recording that the model takes, in s.
        longest: the duration of the longest one, in s.

    Raises:
        ValueError: the model does not take such windows, or the hop is shorter than 10 ms or longer than the window.
    """
    if not window >= shortest:
        raise ValueError(f"window is {window:g} s; choose at least {shortest:g} s")
    if not _SHORTEST_HOP <= hop <= window:
        raise ValueError(f"hop is {hop:g} s; choose {_SHORTEST_HOP:g} s to {window:g} s, the length of the window")
    if window > longest:
        raise ValueError(f"window is {window:g} s; choose at most {longest:g} s, which is what the encoder takes")
    if hop + shortest > longest:  # the last window may take a rest that is too short for a window of its own
        raise ValueError(f"hop is {hop:g} s; choose at most {longest - shortest:g} s with this encoder")
