"""The emotions of a recording over time, as a figure."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from soctk.inference.outputs import Prediction, disjoint
from soctk.inference.sources import PIPE
from soctk.reporting import drawing

_COLUMNS = 600  # columns of the figure; more cannot be distinguished
_HEIGHT, _ROW = 1.3, 0.3  # inches: all but the rows, and a row
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800)  # s between two ticks
_TICKS = 10  # at most
_NAME, _TITLE = 24, 80  # characters
_MARK = 0.9  # the place of the line for the highest posterior in a row, from its top


def draw(windows: Sequence[Prediction], emotions: Sequence[str]) -> Figure:
    """Draw the posteriors of a recording over time: a row for each emotion, darker for a higher posterior.

    A line marks the emotion with the highest posterior.
    Windows that overlap share their overlap: each is drawn to the middle of it. Time without a window, such as pauses
    between stretches of speech, is grey. A long recording has 600 columns, with the mean over the windows in each.

    Args:
        windows: the answers for the windows of one recording, at least one, by their start.
        emotions: the emotions in the order of the rows, from the top.
    """
    start, end = windows[0].start, max(window.end for window in windows)
    edges = np.linspace(start, end, _COLUMNS + 1)
    means = _means(windows, emotions, edges)
    figure = Figure(figsize=(drawing.WIDTH, _HEIGHT + _ROW * len(emotions)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor("0.85")
    image = axes.pcolormesh(edges, np.arange(len(emotions) + 1), means, cmap="Blues", vmin=0, vmax=1, rasterized=True)
    for first, last, row in _runs(means):
        axes.hlines(row + _MARK, edges[first], edges[last], colors=drawing.COLOURS[5], linewidth=2)
    axes.set_ylim(len(emotions), 0)
    axes.set_yticks(np.arange(len(emotions)) + 0.5, [drawing.clipped(name, _NAME) for name in emotions])
    axes.tick_params(axis="y", length=0)
    axes.hlines(np.arange(1, len(emotions)), start, end, colors="white", linewidth=1)
    axes.set_xlim(start, end)
    axes.set_xticks(_ticks(start, end))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _clock(seconds, end)))
    unit = "s" if end < 60 else "min:s" if end < 3600 else "h:min:s"
    axes.set_xlabel(f"time, in {unit}; the orange line marks the emotion with the highest posterior")
    name = "sound from a pipe" if windows[0].file == PIPE else windows[0].file
    axes.set_title(drawing.clipped(name, _TITLE), fontsize=10)
    figure.colorbar(image, ax=axes, label="posterior", pad=0.01, ticks=MaxNLocator(4), aspect=2.5 * len(emotions))
    return figure


def _means(windows: Sequence[Prediction], emotions: Sequence[str], edges: np.ndarray) -> np.ma.MaskedArray:
    """Return the mean posteriors `(K, columns)` between the edges of columns; they are masked where no window is."""
    times = np.ravel(disjoint(windows))
    durations = np.zeros(len(times))
    durations[1::2] = times[1::2] - times[::2]
    posteriors = np.array([[window.result.posteriors[emotion] for emotion in emotions] for window in windows])
    covered = np.diff(np.interp(edges, times, durations.cumsum()))
    integrals = (np.repeat(posteriors, 2, axis=0).T * durations).cumsum(axis=1)
    sums = np.array([np.diff(np.interp(edges, times, integral)) for integral in integrals])
    has_window = covered > 1e-6 * (edges[1] - edges[0])
    return np.ma.array(sums / np.where(has_window, covered, 1), mask=np.broadcast_to(~has_window, sums.shape))


def _runs(means: np.ma.MaskedArray) -> Iterator[tuple[int, int, int]]:
    """Yield columns in which the same row has the highest mean: the first, the one after the last, and the row."""
    highest = np.where(np.ma.getmaskarray(means)[0], -1, means.argmax(axis=0))
    bounds = [0, *(np.flatnonzero(np.diff(highest)) + 1), len(highest)]
    for first, last in pairwise(bounds):
        if highest[first] >= 0:
            yield first, last, highest[first]


def _ticks(start: float, end: float) -> np.ndarray:
    step = next((step for step in _STEPS if (end - start) / step <= _TICKS), (end - start) / _TICKS)
    if end - start <= 2:
        step = (end - start) / 4
    return np.arange(math.ceil(start / step), math.floor(end / step) + 1) * step


def _clock(seconds: float, end: float) -> str:
    """Return a time as s, min:s or h:min:s, for a recording that ends at `end`."""
    if end < 60:
        return f"{seconds:.3g}"
    minutes, rest = divmod(round(seconds), 60)
    if end < 3600:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
