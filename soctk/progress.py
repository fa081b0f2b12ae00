"""Progress of long tasks: a bar at a terminal, one line per minute in a log.

Bars and lines also appear while no item is completed, so that a slow item is not a silent wait.
"""

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import IO, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 60
SECONDS_BETWEEN_REFRESHES = 5  # at a terminal
_LINE = "{desc}: {n_fmt}/{total_fmt} {unit} [{elapsed}, {remaining} left{postfix}]"
_STEP = "{desc} [{elapsed}]"


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
    return _Bar(items, description, total, unit=unit, **_style(sys.stderr))


def counter(description: str, unit: str, total: int) -> "tqdm[None]":
    """Return a progress report as a context manager; the caller advances it with `update(n)`."""
    return _Bar(desc=description, total=total, unit=unit, **_style(sys.stderr))


@contextmanager
def step(description: str) -> Iterator[None]:
    """Report the elapsed time of a block that has no parts to count, if it takes long."""
    style = _style(sys.stderr)
    with _Bar(desc=description, **{**style, "bar_format": _STEP, "delay": style.get("delay", 2), "leave": False}):
        yield


def message(text: str, file: IO[str] | None = None) -> None:
    """Print a line, to standard output by default, without breaking a progress bar."""
    _Bar.write(text, file=file or sys.stdout)


class _Bar(tqdm):
    """A bar that a thread draws again at intervals, so that its time goes on even if no item is completed."""

    def __init__(self, *args, **options):
        self._closed = threading.Event()  # first, since the destructor closes the bar
        super().__init__(*args, **options)
        seconds = SECONDS_BETWEEN_REFRESHES if self.fp.isatty() else SECONDS_BETWEEN_LINES
        threading.Thread(target=self._refresh_every, args=(seconds,), daemon=True).start()

    def __iter__(self) -> Iterator:
        """Yield the items. tqdm's own loop counts only where it draws, so `_refresh_every` would draw old numbers."""
        try:
            for item in self.iterable:
                yield item
                self.update()
        finally:
            self.close()

    def close(self) -> None:
        """Stop drawing."""
        self._closed.set()
        super().close()

    def _refresh_every(self, seconds: float) -> None:
        drawn = 0.0
        while not self._closed.wait(seconds):
            with self.get_lock():
                # tqdm estimates the remaining time from last_print_t, so the time of this drawing is kept apart.
                if not self._closed.is_set() and time.time() - max(drawn, self.last_print_t) >= seconds:
                    self.refresh()
                    drawn = time.time()


# Nothing may hold this lock while the process forks workers (soctk.parallel): it would stay locked in the workers.
_lock = threading.RLock()
_Bar.set_lock(_lock)
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


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

    def isatty(self) -> bool:
        return False


def _style(stream: IO[str]) -> dict:
    """Return tqdm's options: a bar if the stream is a terminal, otherwise lines for a log."""
    if stream.isatty():
        return {"file": stream}
    options = {"file": _Lines(stream), "mininterval": SECONDS_BETWEEN_LINES, "maxinterval": SECONDS_BETWEEN_LINES}
    return {**options, "delay": SECONDS_BETWEEN_LINES / 2, "bar_format": _LINE, "leave": False}
