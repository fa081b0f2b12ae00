"""Answers for recordings: for each as a whole, in windows, or while the sound arrives."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from soctk.corpus import audio
from soctk.corpus.decoding import UnusableRecording
from soctk.corpus.segments import Clip
from soctk.errors import SoctkError
from soctk.inference import pipes
from soctk.inference.outputs import Prediction
from soctk.inference.recogniser import Recogniser, Speaker
from soctk.inference.result import Result, Segment


def whole(model: Recogniser, name: str, clip: Clip, speaker: Speaker | None) -> Prediction:
    """Classify a recording, or a part of one, as a whole; the times in the answer are those in the recording.

    Raises:
        SoctkError: it cannot be used, or is longer or shorter than the model takes.
    """
    with _naming(name):
        samples, rate = audio.load_native(clip, model.settings.channel)
        posteriors = np.exp(model.log_posteriors(samples, rate, speaker)).tolist()
    return Prediction(name, clip.start, clip.start + len(samples) / rate, _result(model.emotions, posteriors))


def windows(
    model: Recogniser, name: str, clip: Clip, speaker: Speaker | None, window: float, hop: float
) -> Iterator[Prediction]:
    """Classify a recording in windows; yield an answer for each window, and then one for the whole recording.

    The posteriors of the whole are the mean of those of the windows.

    Args:
        model: the model.
        name: the name of the recording in the answers.
        clip: the recording, or a part of one.
        speaker: the speaker, for a model with re-centring.
        window: the length of a window, in s.
        hop: the time from the start of a window to the start of the next, in s.

    Raises:
        SoctkError: it cannot be used; for faults after its beginning, after the answers for the windows before.
    """
    total, count, end = np.zeros(len(model.emotions)), 0, 0.0
    with _naming(name):
        for segment in model.windows(clip, window=window, hop=hop, speaker=speaker):
            yield _of_segment(name, segment, clip.start)
            total += [segment.result.posteriors[emotion] for emotion in model.emotions]
            count, end = count + 1, segment.end
    yield Prediction(name, clip.start, clip.start + end, _result(model.emotions, (total / count).tolist()))


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


def _of_segment(name: str, segment: Segment, start: float = 0) -> Prediction:
    """Return the answer for a window of sound that begins at `start` seconds of its recording."""
    return Prediction(name, start + segment.start, start + segment.end, segment.result, is_window=True)


def _result(emotions: Sequence[str], posteriors: Sequence[float]) -> Result:
    by_emotion = dict(zip(emotions, posteriors, strict=True))
    return Result(max(by_emotion, key=by_emotion.__getitem__), by_emotion)
