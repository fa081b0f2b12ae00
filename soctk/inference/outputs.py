"""The output formats of soctk-predict: each is a function from predictions to pieces of text."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from soctk.inference.result import Result


@dataclass(frozen=True)
class Prediction:
    """The answer for a recording, or for a window of it.

    Attributes:
        file: the name of the recording.
        start: the start of the classified part, in s.
        end: its end, in s.
        result: the answer.
        is_window: whether it is a window, and not the whole recording.
        is_silent: whether all samples of this part are 0, so that the answer means nothing.
    """

    file: str
    start: float
    end: float
    result: Result
    is_window: bool = False
    is_silent: bool = False


# Arguments: the answers, the classes, and the dimensions; one of the two is empty.
Format = Callable[[Iterable[Prediction], Sequence[str], Sequence[str]], Iterator[str]]


def tsv(predictions: Iterable[Prediction], emotions: Sequence[str], dimensions: Sequence[str] = ()) -> Iterator[str]:
    """Yield a header and a line for each prediction, with tabs; a name with a tab, quote or line break is quoted."""
    return _table(predictions, emotions, dimensions, "\t", _seconds)


def comma_separated(
    predictions: Iterable[Prediction], emotions: Sequence[str], dimensions: Sequence[str] = ()
) -> Iterator[str]:
    """Yield a header and a line for each prediction, with commas (RFC 4180, with line feeds)."""
    return _table(predictions, emotions, dimensions, ",", _seconds)


def audformat(
    predictions: Iterable[Prediction], emotions: Sequence[str], dimensions: Sequence[str] = ()
) -> Iterator[str]:
    """Yield a table of audformat with a segmented index: file, start, end, with times such as 0 days 00:00:01."""
    return _table(predictions, emotions, dimensions, ",", _days)


def jsonl(predictions: Iterable[Prediction], emotions: Sequence[str], dimensions: Sequence[str] = ()) -> Iterator[str]:
    """Yield a JSON object for each prediction, one on a line.

    `posteriors` is an object, emotion -> posterior; for a model of dimensions `dimensions`, dimension -> value.
    """
    for prediction in predictions:
        result = prediction.result
        content: dict[str, object] = {
            "file": prediction.file,
            "start": round(prediction.start, 3),
            "end": round(prediction.end, 3),
        }
        if dimensions:
            content["dimensions"] = {name: round(result.dimensions[name], 6) for name in dimensions}
        else:
            content |= {"emotion": result.emotion, "confidence": round(result.confidence, 6)}
            content["posteriors"] = {emotion: round(result.posteriors[emotion], 6) for emotion in emotions}
        yield json.dumps(content, ensure_ascii=False) + "\n"


def audacity(
    predictions: Iterable[Prediction], emotions: Sequence[str], dimensions: Sequence[str] = ()
) -> Iterator[str]:
    """Yield a label track of Audacity: start, end and answer of each window; without windows, of the recording."""
    has_windows = False
    for prediction in predictions:
        if prediction.is_window or not has_windows:
            yield f"{prediction.start:.6f}\t{prediction.end:.6f}\t{prediction.result.text}\n"
        has_windows |= prediction.is_window


def textgrid(
    predictions: Iterable[Prediction], emotions: Sequence[str], dimensions: Sequence[str] = ()
) -> Iterator[str]:
    """Yield a TextGrid of Praat for one recording, with a tier for windows, if there are any, and one for the whole.

    Intervals of a tier cannot overlap. Where windows do, the boundary is the middle of what they share. Intervals of a
    tier have no gaps either: between windows, such as of speech, there are intervals without text.
    """
    every = list(predictions)
    if not every:
        return
    end = max(prediction.end for prediction in every)
    windows = [prediction for prediction in every if prediction.is_window]
    tiers = {"windows": windows, "recording": [prediction for prediction in every if not prediction.is_window]}
    tiers = {name: tier for name, tier in tiers.items() if tier}
    yield 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
    yield f"xmin = 0\nxmax = {end:.6f}\ntiers? <exists>\nsize = {len(tiers)}\nitem []:\n"
    for number, (name, tier) in enumerate(tiers.items(), start=1):
        intervals = list(_intervals(tier, end))
        yield f'    item [{number}]:\n        class = "IntervalTier"\n        name = "{name}"\n'
        yield f"        xmin = 0\n        xmax = {end:.6f}\n        intervals: size = {len(intervals)}\n"
        for index, (low, high, emotion) in enumerate(intervals, start=1):
            text = emotion.replace('"', '""')
            yield f"        intervals [{index}]:\n            xmin = {low:.6f}\n            xmax = {high:.6f}\n"
            yield f'            text = "{text}"\n'


FORMATS: dict[str, Format] = {
    "tsv": tsv,
    "csv": comma_separated,
    "jsonl": jsonl,
    "textgrid": textgrid,
    "audacity": audacity,
    "audformat": audformat,
}
# These do not name the recording, so that a file of this format describes one recording.
OF_ONE_RECORDING = ("textgrid", "audacity")
# These cannot be written while sound arrives.
WHOLE = ("textgrid",)


def _table(
    predictions: Iterable[Prediction],
    emotions: Sequence[str],
    dimensions: Sequence[str],
    delimiter: str,
    time: Callable[[float], str],
) -> Iterator[str]:
    answer = dimensions or ["emotion", "confidence", *emotions]
    yield _line(["file", "start", "end", *answer], delimiter)
    for prediction in predictions:
        result = prediction.result
        values = [result.values[name] for name in dimensions or emotions]
        named = [] if dimensions else [result.emotion, f"{result.confidence:.6f}"]
        times = [time(prediction.start), time(prediction.end)]
        yield _line([prediction.file, *times, *named, *(f"{value:.6f}" for value in values)], delimiter)


def _line(values: Sequence[str], delimiter: str) -> str:
    text = io.StringIO(newline="")
    # With this terminator, csv quotes values with a carriage return too, in each version of Python.
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerow(values)
    return text.getvalue().removesuffix("\r\n") + "\n"


def _seconds(time: float) -> str:
    return f"{time:.3f}"


def _days(time: float) -> str:
    """Return a time as pandas prints it: 0 days 00:00:01.500000."""
    rounded = timedelta(seconds=round(time, 6))
    minutes, seconds = divmod(rounded.seconds, 60)
    fraction = f".{rounded.microseconds:06}" if rounded.microseconds else ""
    return f"{rounded.days} days {minutes // 60:02}:{minutes % 60:02}:{seconds:02}{fraction}"


def _intervals(tier: Sequence[Prediction], end: float) -> Iterator[tuple[float, float, str]]:
    """Yield start, end and emotion of intervals from 0 to `end`; the emotion of a gap between windows is empty."""
    position = 0.0
    for prediction, (low, high) in zip(tier, disjoint(tier), strict=True):
        if low > position:
            yield position, low, ""
        yield low, high, prediction.result.text
        position = high
    if end > position:
        yield position, end, ""


def disjoint(windows: Sequence[Prediction]) -> list[tuple[float, float]]:
    """Return start and end of windows without their overlaps: two windows end and start in the middle of theirs."""
    bounds = [min((one.end + two.start) / 2, one.end) for one, two in pairwise(windows)]
    starts = [max(low, window.start) for low, window in zip([-math.inf, *bounds], windows, strict=True)]
    ends = [min(high, window.end) for high, window in zip([*bounds, math.inf], windows, strict=True)]
    return list(zip(starts, ends, strict=True))
