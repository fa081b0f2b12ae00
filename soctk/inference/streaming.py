"""Streams: emotions of sound while it arrives."""

from collections.abc import Callable, Iterable
from typing import Any

from soctk.inference import waveforms
from soctk.inference.result import TimedResult
from soctk.inference.windows import Cutter, Part


class Stream:
    """Sound that arrives piece by piece, classified in windows: the same answers as Recogniser.windows on the whole.

    A window is classified when its last sample arrives. If a hop is nearly as long as a window, the window waits for
    50 ms more, which could be the end of the sound. A stream is used by one thread; threads may share the model.

    Args:
        classify: classifies windows.
        cutter: cuts the sound into windows.
        channel: 1, 2, ..., or mix for the mean of all channels.
    """

    def __init__(self, classify: Callable[[Iterable[Part]], list[TimedResult]], cutter: Cutter, channel: str):
        self._classify, self._cutter, self._channel = classify, cutter, channel
        self._is_finished = False

    def push(self, samples: Any) -> list[TimedResult]:
        """Add samples; return the answers for the windows that they complete.

        Args:
            samples: any number of samples, `(samples,)` or `(channels, samples)`; see Recogniser.__call__.

        Raises:
            ValueError: the samples cannot be used, or the stream is finished.
        """
        if self._is_finished:
            raise ValueError("the stream is finished; use a new one: model.stream(sample_rate)")
        chosen = waveforms.check(samples, self._channel)
        return self._classify(self._cutter.push(chosen))

    def finish(self) -> list[TimedResult]:
        """End the sound; return the answer for the last window, unless the windows before it have all of the sound.

        Raises:
            ValueError: the stream has less than 50 ms of sound.
        """
        self._is_finished = True
        return self._classify(self._cutter.finish())
