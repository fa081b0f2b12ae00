"""Progress of long tasks: a bar at a terminal, one line per minute in a log."""

import sys
from collections.abc import Iterable, Sized
from typing import IO, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 60
_LINE = "{desc}: {n_fmt}/{total_fmt} {unit} [{elapsed}, {remaining} left{postfix}]"


def track(items: Iterable[Item], description: str, unit: str, total: int | None = None) -> "tqdm[Item]":
    """Return an iterable over the items that reports progress on standard error as it is consumed.

    Args:
        items: the items to process.
        description: the name of the task, such as "extract".
        unit: the name of an item, such as "utt".
        total: the number of items; by default the length of `items`.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    return tqdm(items, description, total, unit=unit, **_style(sys.stderr))


def counter(description: str, unit: str, total: int) -> "tqdm[None]":
    """Return a progress report as a context manager; the caller advances it with `update(n)`."""
    return tqdm(desc=description, total=total, unit=unit, **_style(sys.stderr))


def message(text: str, file: IO[str] | None = None) -> None:
    """Print a line, to standard output by default, without breaking a progress bar."""
    tqdm.write(text, file=file or sys.stdout)


class _Lines:
    """A stream that writes each state of a progress bar on a new line; tqdm itself overwrites one line with \\r."""

    def __init__(self, stream: IO[str]):
        self._stream = stream

    def write(self, text: str) -> None:
        text = text.strip()  # also removes the carriage return at its beginning
        if text:
            self._stream.write(f"{text}\n")

    def flush(self) -> None:
        self._stream.flush()


def _style(stream: IO[str]) -> dict:
    """Return tqdm's options: a bar if the stream is a terminal, otherwise lines for a log."""
    if stream.isatty():
        return {"file": stream}
    options = {"file": _Lines(stream), "mininterval": SECONDS_BETWEEN_LINES, "maxinterval": SECONDS_BETWEEN_LINES}
    return {**options, "delay": SECONDS_BETWEEN_LINES / 2, "bar_format": _LINE, "leave": False}
