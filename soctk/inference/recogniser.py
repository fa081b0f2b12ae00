"""The recogniser: recordings or waveforms -> frames -> descriptors -> posteriors, by a packed model."""

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from soctk.corpus import audio, level
from soctk.errors import SoctkError
from soctk.inference import bundle as bundles
from soctk.inference import frames as of_states
from soctk.inference import hub, waveforms, windows
from soctk.inference import runtime as runtimes
from soctk.inference.bundle import Bundle
from soctk.inference.result import Result, TimedResult
from soctk.inference.runtime import Runtime, RuntimeName
from soctk.inference.streaming import Stream
from soctk.inference.windows import Part


@dataclass(frozen=True)
class Speaker:
    """What re-centring knows about a speaker, from recordings without labels (`Recogniser.enrol`).

    Attributes:
        offsets: speed -> the vector `(P,)` that is subtracted from the descriptors of the speaker.
    """

    offsets: Mapping[float, np.ndarray]


class Recogniser:
    """A trained model with its encoder. Several threads may use one recogniser.

    Args:
        bundle: the packed model.
        runtime: its encoder, pooling and head.
    """

    def __init__(self, bundle: Bundle, runtime: Runtime):
        self.bundle, self.runtime = bundle, runtime
        self.settings = bundle.settings

    @classmethod
    def load(
        cls,
        model: str | PathLike[str],
        encoder: Path | None = None,
        device: str = "cpu",
        revision: str | None = None,
        runtime: RuntimeName = "torch",
    ) -> "Recogniser":
        """Load a packed model; see soctk.load."""
        bundle = bundles.read(hub.find(model, revision))
        return cls(bundle, runtimes.load(bundle, runtime, encoder, device))

    def with_channel(self, channel: str) -> "Recogniser":
        """Return this recogniser for files whose speech is in another channel: 1, 2, ..., or mix for their mean."""
        other = copy.copy(self)
        other.settings = self.settings.model_copy(update={"channel": channel})
        return other

    @property
    def emotions(self) -> list[str]:
        """The classes, in the order of the logits; empty for a model of dimensions."""
        return self.settings.emotions

    @property
    def dimensions(self) -> list[str]:
        """The dimensions, such as arousal; empty for a model of classes."""
        return list(self.settings.experiment.dimensions)

    @property
    def is_recentred(self) -> bool:
        """Whether the model needs recordings of the speaker without labels (`enrol`)."""
        return self.bundle.prior is not None

    @property
    def min_seconds(self) -> float:
        """The duration of the shortest recording that the model takes, in s: 50 ms, at the highest speed too."""
        return audio.MIN_SECONDS * max(self._speeds)

    @property
    def max_seconds(self) -> float:
        """The duration in s of the longest recording that the model takes at a time; infinite for most encoders."""
        return self.runtime.max_seconds * min(self._speeds)

    def __call__(self, recording: Any, sample_rate: int | None = None, speaker: Speaker | None = None) -> Result:
        """Classify one recording.

        Args:
            recording: the path of a file; or a waveform `(samples,)` or `(channels, samples)`, numpy or torch, in
                floating point with full scale 1, or signed integers.
            sample_rate: of a waveform, in Hz.
            speaker: the speaker, for a model with re-centring (`enrol`).

        Raises:
            SoctkError: the file cannot be used, the recording is longer or shorter than the model takes, or frames
                overflow.
            ValueError: the waveform cannot be used (soctk.inference.waveforms.read), or the speaker is missing, or not
                of this model.
        """
        samples, rate = waveforms.read(recording, sample_rate, self.settings.channel)
        return self.result(self.values(samples, rate, speaker))

    def predict(
        self, recordings: Sequence[Any], sample_rate: int | None = None, speaker: Speaker | None = None
    ) -> list[Result]:
        """Classify several recordings; see `__call__`."""
        _require_several(recordings)
        return [self(recording, sample_rate, speaker) for recording in recordings]

    def windows(
        self,
        recording: Any,
        sample_rate: int | None = None,
        window: float = 3.0,
        hop: float = 1.0,
        speaker: Speaker | None = None,
    ) -> Iterator[TimedResult]:
        """Classify a recording in windows.

        Several windows are encoded at a time, which is faster; each has the answer of its samples alone, and is scaled
        alone if the model scales recordings to one level.
        The last window ends with the recording, so it may be shorter. Memory does not grow with the length of a WAV,
        FLAC, AIFF, AU, CAF, W64 or RF64 file; other files are decoded whole.

        Args:
            recording: see `__call__`.
            sample_rate: of a waveform, in Hz.
            window: the length of a window, in s.
            hop: the time from the start of a window to the start of the next, in s; from 0.01 to `window`.
            speaker: the speaker, for a model with re-centring (`enrol`).

        Raises:
            SoctkError: the file cannot be used; for faults after its beginning, the iterator raises it.
            ValueError: `__call__` raises it; or the window is longer than the model takes, or hop or window are wrong.
        """
        self._check_windows(window, hop, speaker)
        pieces, rate = windows.blocks(recording, sample_rate, self.settings.channel)
        parts = windows.cut(pieces, windows.Cutter(rate, window, hop, self.min_seconds))
        return self._segments(parts, rate, speaker)

    def speech(
        self,
        recording: Any,
        sample_rate: int | None = None,
        window: float | None = None,
        hop: float = 1.0,
        speaker: Speaker | None = None,
    ) -> Iterator[TimedResult]:
        """Find the speech in a recording, and classify each stretch of it, or windows within the stretches.

        A pause of less than 0.5 s does not end a stretch. A stretch of more than 15 s is cut at its longest pause. The
        recording is read twice, first for the detection of speech; memory does not grow with its length (`windows`).

        Args:
            recording: see `__call__`.
            sample_rate: of a waveform, in Hz.
            window: the length of a window within speech, in s; None for the stretches themselves.
            hop: the time from the start of a window to the start of the next, in s; from 0.01 to `window`.
            speaker: the speaker, for a model with re-centring (`enrol`).

        Raises:
            SoctkError: the extra `vad` is not installed; or `windows` raises it.
            ValueError: `windows` raises it.
        """
        from soctk.inference import speech  # imports torch, which not every runtime needs

        longest = min(speech.LONGEST, self.max_seconds) if window is None else math.inf
        if window is None:
            self._check_speaker(speaker)
        else:
            self._check_windows(window, hop, speaker)
        pieces, rate = windows.blocks(recording, sample_rate, self.settings.channel)
        found = speech.find(pieces, rate, longest)
        pieces, _ = windows.blocks(recording, sample_rate, self.settings.channel)
        # A window that is longer than each stretch gives the stretches.
        size, step = (longest + 1, longest) if window is None else (window, hop)
        parts = speech.cut(pieces, found, rate, lambda: windows.Cutter(rate, size, step, self.min_seconds))
        return self._segments(parts, rate, speaker)

    def stream(self, sample_rate: int, window: float = 3.0, hop: float = 1.0, speaker: Speaker | None = None) -> Stream:
        """Return a stream, which classifies sound in windows while it arrives; the arguments are those of `windows`.

        Raises:
            ValueError: the sample rate, the window, the hop or the speaker cannot be used.
        """
        self._check_windows(window, hop, speaker)
        rate = waveforms.check_rate(sample_rate)
        return Stream(
            lambda parts: list(self._segments(parts, rate, speaker)),
            windows.Cutter(rate, window, hop, self.min_seconds),
            self.settings.channel,
        )

    def log_posteriors(self, samples: np.ndarray, rate: int, speaker: Speaker | None = None) -> np.ndarray:
        """Return the log-posteriors `(K,)` of a waveform `(samples,)` with a rate in Hz.

        With copies at other speeds in training, the posteriors are the mean over the waveform and its copies.

        Raises:
            SoctkError: `frames` raises it.
            ValueError: the model is one of dimensions, or the speaker is missing, or not of this model.
        """
        if self.dimensions:
            raise ValueError("this model predicts values on dimensions, and no posteriors; use model.values")
        return self._classify([samples], rate, speaker)[0]

    def values(self, samples: np.ndarray, rate: int, speaker: Speaker | None = None) -> np.ndarray:
        """Return the posteriors `(K,)`, or the values on the dimensions `(D,)`, of a waveform; see `log_posteriors`."""
        return self._values([samples], rate, speaker)[0]

    def result(self, values: np.ndarray) -> Result:
        """Return the answer for posteriors `(K,)`, or for values on the dimensions `(D,)`."""
        by_name = dict(zip(self.settings.outputs, values.tolist(), strict=True))
        return Result(dimensions=by_name) if self.dimensions else Result.of(by_name)

    def describe(self, samples: np.ndarray, rate: int, speed: float = 1) -> np.ndarray:
        """Return the descriptor `(P,)` of a waveform `(samples,)` with a rate in Hz, played at a speed.

        Raises:
            SoctkError: `frames` raises it.
        """
        return self._describe([samples], rate, speed)[0]

    def frames(self, samples: np.ndarray, rate: int, speed: float = 1, encoder: int = 0) -> np.ndarray:
        """Return the frames `(T, L, D)` of the L hidden states of an encoder, as training read them from the store.

        Raises:
            SoctkError: the waveform is longer than the encoder takes or shorter than 50 ms, or frames overflow.
        """
        return self._encode([samples], rate, speed, encoder)[0]

    def enrol(self, recordings: Sequence[Any], sample_rate: int | None = None) -> Speaker:
        """Return a speaker, from recordings of the speaker without labels; see `__call__` for their forms.

        Raises:
            SoctkError: `__call__` raises it.
            ValueError: there are no recordings, the model has no re-centring, or `__call__` raises it.
        """
        prior = self.bundle.prior
        if prior is None:
            raise ValueError("this model has no re-centring, so it needs no recordings of the speaker")
        _require_several(recordings)
        count, relevance = len(recordings), self.settings.experiment.recentre.relevance
        if not count:
            raise ValueError("at least one recording of the speaker is needed")
        sums = dict.fromkeys(self._speeds, relevance * prior)
        for recording in recordings:
            samples, rate = waveforms.read(recording, sample_rate, self.settings.channel)
            for speed in self._speeds:
                sums[speed] = sums[speed] + self.describe(samples, rate, speed)
        return Speaker({speed: total / (count + relevance) for speed, total in sums.items()})

    @property
    def _speeds(self) -> list[float]:
        return [1, *self.settings.speeds]

    def _check_speaker(self, speaker: Speaker | None) -> None:
        prior = self.bundle.prior
        if prior is None:
            if speaker is not None:
                raise ValueError("this model has no re-centring, so it takes no speaker")
            return
        if speaker is None:
            raise ValueError(
                "this model subtracts the mean descriptor of the speaker, so it needs recordings of the speaker "
                "(without labels): model(recording, speaker=model.enrol(recordings))"
            )
        shapes = {speed: offset.shape for speed, offset in speaker.offsets.items()}
        if shapes != dict.fromkeys(self._speeds, prior.shape):
            raise ValueError("this speaker is from another model; enrol the speaker with this one")

    def _check_windows(self, window: float, hop: float, speaker: Speaker | None) -> None:
        self._check_speaker(speaker)
        windows.check(window, hop, self.min_seconds, self.max_seconds)

    def _check_duration(self, seconds: float, speed: float) -> None:
        at_speed = "" if speed == 1 else f" at the speed {speed:g}, which the model uses too"
        if seconds > self.runtime.max_seconds:
            raise SoctkError(
                f"the recording has {seconds:.1f} s{at_speed}, and the encoder takes {self.runtime.max_seconds:g} s",
                remedy="Classify it in windows (soctk-predict --window 3, model.windows).",
            )
        if seconds < audio.MIN_SECONDS:
            raise SoctkError(
                f"the recording has {1000 * seconds:.1f} ms{at_speed}; at least {1000 * audio.MIN_SECONDS:.0f} ms are "
                "needed",
                remedy="Use a longer recording.",
            )

    def _segments(self, parts: Iterable[Part], rate: int, speaker: Speaker | None) -> Iterator[TimedResult]:
        """Classify windows, several at a time."""
        for batch in windows.batches(parts, rate):
            values = self._values([samples for _, samples in batch], rate, speaker)
            for (start, samples), of_window in zip(batch, values, strict=True):
                end = start + len(samples) / rate
                yield TimedResult(start, end, self.result(of_window), is_silent=not samples.any())

    def _classify(self, several: Sequence[np.ndarray], rate: int, speaker: Speaker | None) -> np.ndarray:
        """Return the log-posteriors `(N, K)` of N waveforms; see `log_posteriors`."""
        by_speed = [_log_softmax(logits) for logits in self._outputs(several, rate, speaker)]
        return _log_softmax(np.logaddexp.reduce(by_speed))

    def _values(self, several: Sequence[np.ndarray], rate: int, speaker: Speaker | None) -> np.ndarray:
        """Return the posteriors `(N, K)`, or the values on the dimensions `(N, D)`, of N waveforms."""
        if self.dimensions:
            return np.mean(self._outputs(several, rate, speaker), axis=0)
        return np.exp(self._classify(several, rate, speaker))

    def _outputs(self, several: Sequence[np.ndarray], rate: int, speaker: Speaker | None) -> list[np.ndarray]:
        """Return the outputs `(N, K)` of the head for N waveforms, at each speed."""
        self._check_speaker(speaker)
        offsets = speaker.offsets if speaker else dict.fromkeys(self._speeds, np.float32(0))
        return [self.runtime.logits(self._describe(several, rate, speed) - offsets[speed]) for speed in self._speeds]

    def _describe(self, several: Sequence[np.ndarray], rate: int, speed: float) -> np.ndarray:
        """Return the descriptors `(N, P)` of N waveforms; see `describe`."""
        numbers = range(len(self.settings.encoders))
        parts = [self.runtime.describe(self._encode(several, rate, speed, number), number) for number in numbers]
        return np.concatenate(parts, axis=1)

    def _encode(self, several: Sequence[np.ndarray], rate: int, speed: float, encoder: int) -> list[np.ndarray]:
        """Return the frames `(T, L, D)` of each of N waveforms; see `frames`."""
        settings = self.settings.encoders[encoder]
        prepared = [waveforms.resample(samples, rate, settings.sample_rate, speed) for samples in several]
        prepared = [level.normalise(waveform, self.settings.normalise) for waveform in prepared]
        for waveform in prepared:
            self._check_duration(len(waveform) / settings.sample_rate, speed)
        normalisation = False if settings.has_units else self.settings.experiment.frames.layer_norm
        states = self.runtime.hidden_states(prepared, encoder)
        return [of_states.frames(one, settings.dtype, normalisation) for one in states]


def _require_several(recordings: Any) -> None:
    if isinstance(recordings, str | PathLike):
        raise ValueError(f"give a list of recordings: [{str(recordings)!r}]")


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return the log-posteriors of logits `(N, K)`; some of the K, but not all, may be -inf."""
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
