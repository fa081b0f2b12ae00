"""Answers for recordings: for each as a whole, in windows, for its speech, or while the sound arrives."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import numpy as np

from soctk.corpus import audio
from soctk.corpus.decoding import UnusableRecording
from soctk.corpus.segments import Clip
from soctk.errors import SoctkError
from soctk.inference import pipes
from soctk.inference.outputs import Prediction
from soctk.inference.recogniser import Recogniser, Speaker
from soctk.inference.result import TimedResult


@dataclass(frozen=True)
class Division:
    """How a recording is divided into the parts that are classified.

    Attributes:
        window: the length of a window, in s; None for no windows.
        hop: the time from the start of a window to the start of the next, in s.
        is_speech: whether only stretches of speech are classified, or with a window the windows within them.
    """

    window: float | None = None
    hop: float = 1.0
    is_speech: bool = False


def recording(
    model: Recogniser, name: str, clip: Clip, speaker: Speaker | None, division: Division
) -> Iterator[Prediction]:
    """Classify a recording, or a part of one; the times in the answers are those in the recording.

    If it is divided, there is an answer for each part, and then one for the whole. The posteriors of the whole, or its
    values on dimensions, are the mean of those of the windows, or of the stretches of speech weighted by their
    durations.

    Args:
        model: the model.
        name: the name of the recording in the answers.
        clip: the recording, or a part of one.
        speaker: the speaker, for a model with re-centring.
        division: how it is divided.

    Raises:
        SoctkError: it cannot be used, is longer or shorter than the model takes, or has no speech. For faults after its
            beginning, the error comes after the answers for the windows before.
    """
    with _naming(name):
        if division.window is None and not division.is_speech:
            samples, rate = audio.load_native(clip, model.settings.channel)
            result = model.result(model.values(samples, rate, speaker))
            end = clip.start + len(samples) / rate
            yield Prediction(name, clip.start, end, result, is_silent=not samples.any())
            return
        total, weights, end = np.zeros(len(model.settings.outputs)), 0.0, clip.start
        start, is_silent = None, True
        for segment in _divide(model, clip, speaker, division):
            part = _of_segment(name, segment, clip.start)
            yield part
            is_silent &= part.is_silent
            weight = 1.0 if division.window else part.end - part.start
            total += [weight * part.result.values[output] for output in model.settings.outputs]
            start, end, weights = part.start if start is None else start, part.end, weights + weight
        yield Prediction(name, start or 0.0, end, model.result(total / weights), is_silent=is_silent)


def _divide(model: Recogniser, clip: Clip, speaker: Speaker | None, division: Division) -> Iterator[TimedResult]:
    if not division.is_speech:
        return model.windows(clip, None, division.window or 0, division.hop, speaker)
    segments = model.speech(clip, None, division.window, division.hop, speaker)
    first = next(segments, None)
    if first is None:
        raise SoctkError("no speech is found in it", remedy="Check the recording, or classify all of it (no --vad).")
    return chain([first], segments)


def live(
    model: Recogniser, name: str, handle: int, rate: int | None, speaker: Speaker | None, window: float, hop: float
) -> Iterator[Prediction]:
    """Classify the sound in a pipe while it arrives; yield an answer for each window as soon as it is complete.

    Args:
        model: the model.
        name: the name of the sound in the answers.
        handle: the file descriptor of the pipe (soctk.inference.pipes).
        rate: the sample rate of raw samples in Hz; None for a file, such as WAV.
        speaker: the speaker, for a model with re-centring.
        window: the length of a window, in s.
        hop: the time from the start of a window to the start of the next, in s.

    Raises:
        SoctkError: the sound cannot be used.
    """
    with _naming(name), pipes.live(handle, rate) as (found_rate, blocks):
        stream = model.stream(found_rate, window, hop, speaker)
        for block in blocks:
            for segment in stream.push(block):
                yield _of_segment(name, segment)
        for segment in stream.finish():
            yield _of_segment(name, segment)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Raise an error about the sound as a SoctkError with the name of the recording."""
    try:
        yield
    except UnusableRecording as error:
        raise SoctkError(str(error), remedy=error.remedy, where=name) from error
    except ValueError as error:
        raise SoctkError(str(error), remedy="Use another recording.", where=name) from error


def _of_segment(name: str, segment: TimedResult, start: float = 0) -> Prediction:
    """Return the answer for a window of sound that begins at `start` seconds of its recording."""
    times = start + segment.start, start + segment.end
    return Prediction(name, *times, segment.result, is_window=True, is_silent=segment.is_silent)
