"""Speech in a recording, found by Silero VAD (the extra `vad`), so that pauses and noise are not classified."""

import math
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache

import numpy as np
import soxr
import torch

from soctk.errors import SoctkError, install, missing_package
from soctk.inference.windows import Cutter, Part

Stretch = tuple[int, int]  # the first sample of a stretch of speech, and the first sample after it

LONGEST = 15.0  # s; a longer stretch is cut at its longest pause
_PAUSE = 0.5  # s; a shorter pause does not end a stretch
_RATE, _FRAME = 16000, 512  # Hz and samples, the input of the detector

_detecting = threading.Lock()  # the detector keeps its state from frame to frame


def find(pieces: Iterable[np.ndarray], rate: int, longest: float = LONGEST) -> list[Stretch]:
    """Return the stretches of speech in a recording.

    Speech of less than 0.25 s is left out, and a pause of less than 0.5 s does not end a stretch.

    Args:
        pieces: the samples of the recording, `(samples,)` each.
        rate: their sample rate, in Hz.
        longest: the duration of the longest stretch, in s. A longer one is cut at its longest pause.

    Raises:
        SoctkError: a package is missing.
    """
    count = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal count
        for piece in pieces:
            count += len(piece)
            yield piece

    detect = _detector()
    with _detecting:
        detect.reset_states()
        probabilities = [detect(torch.from_numpy(frame), _RATE).item() for frame in _frames(counted(), rate)]
    scale = rate / _RATE
    return [
        (min(round(start * scale), count), min(round(end * scale), count))
        for start, end in stretches(probabilities, math.ceil(count / scale), longest)
    ]


def stretches(probabilities: Sequence[float], samples: int, longest: float) -> list[Stretch]:
    """Return the stretches of speech, in samples at 16 kHz.

    Args:
        probabilities: the probability of speech in each frame of 32 ms.
        samples: the number of samples of the recording.
        longest: the duration of the longest stretch, in s.
    """
    found = _silero().get_speech_timestamps_from_probs(
        probabilities,
        sampling_rate=_RATE,
        min_silence_duration_ms=round(1000 * _PAUSE),
        max_speech_duration_s=longest,
        audio_length_samples=samples,
    )
    return [(one["start"], one["end"]) for one in found]


def cut(
    pieces: Iterable[np.ndarray], speech: Sequence[Stretch], rate: int, new_cutter: Callable[[], Cutter]
) -> Iterator[Part]:
    """Cut the speech of a recording into windows; yield the start (in s) and the samples of each window.

    Args:
        pieces: the samples of the recording, `(samples,)` each.
        speech: the stretches of speech, in order.
        rate: the sample rate, in Hz.
        new_cutter: returns a new cutter, for each stretch one.
    """
    left = list(reversed(speech))
    cutter, position = new_cutter(), 0
    for piece in pieces:
        while left and left[-1][0] < position + len(piece):
            start, end = left[-1]
            yield from _moved(cutter.push(piece[max(0, start - position) : end - position]), start / rate)
            if end > position + len(piece):
                break
            yield from _moved(cutter.finish(), start / rate)
            left.pop()
            cutter = new_cutter()
        position += len(piece)


def _moved(parts: Iterator[Part], seconds: float) -> Iterator[Part]:
    return ((seconds + start, samples) for start, samples in parts)


def _frames(pieces: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Yield a recording at 16 kHz in frames of 512 samples; the last one is filled up with zeros."""
    resampler = soxr.ResampleStream(rate, _RATE, 1, dtype="float32")
    rest = np.zeros(0, dtype=np.float32)
    for piece in _last_empty(pieces):
        samples = np.concatenate([rest, resampler.resample_chunk(piece, last=len(piece) == 0)])
        whole = len(samples) // _FRAME * _FRAME
        yield from samples[:whole].reshape(-1, _FRAME)
        rest = samples[whole:]
    if len(rest):
        yield np.pad(rest, (0, _FRAME - len(rest)))


def _last_empty(pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the pieces that have samples, and then one without."""
    yield from (piece for piece in pieces if len(piece))
    yield np.zeros(0, dtype=np.float32)


@cache
def _detector():
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it looks for its file in an old way
            return _silero().load_silero_vad(onnx=True)
    except ImportError as error:
        raise _missing(error) from error


@cache
def _silero():
    threads = torch.get_num_threads()
    try:
        import silero_vad

    except ImportError as error:
        raise _missing(error) from error
    finally:
        torch.set_num_threads(threads)  # silero_vad sets it to 1
    if not hasattr(silero_vad, "get_speech_timestamps_from_probs"):
        raise SoctkError("this version of the package silero-vad is too old", remedy=install("vad"))
    return silero_vad


def _missing(error: ImportError) -> SoctkError:
    return missing_package(error.name or "silero-vad", "vad", "the detection of speech")
