"""The look of all figures, and how they are written: every label is drawn as it is, whatever characters it has."""

import math
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from soctk import progress
from soctk.reporting.wording import label
from soctk.scoring.score import ExperimentScores

# Figures are 8 inches wide and legible at 800 pixels.
WIDTH, DPI = 8, 150
# Okabe & Ito's palette (2008), which colour-blind readers can distinguish, with grey in place of yellow, which is hard
# to see on white. The markers repeat the same information as the colours.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_FONT = "DejaVu Sans"  # part of matplotlib


@dataclass(frozen=True)
class Picture:
    """A figure with its caption.

    Attributes:
        name: the path of its file in the directory of figures, without extension.
        caption: what exactly is drawn.
        figure: the figure.
        experiment: the name of the experiment; None for a figure of all experiments.
    """

    name: str
    caption: str
    figure: Figure
    experiment: str | None = None


def write(figure: Figure, target: Path | IO[bytes], style: str = "png") -> None:
    """Write a figure as png, svg or pdf.

    No label is mathematical notation: `$` and braces are drawn as they are. Characters that matplotlib's own font lacks
    come from other installed fonts. If no font has them, they are drawn as boxes, and one message says so.
    """
    texts = figure.findobj(Text)
    characters = {character for text in texts for character in text.get_text()}
    fonts = [_FONT, *_other_fonts("".join(sorted(characters)))]
    for text in texts:
        text.set_parse_math(False)
        text.set_fontfamily(fonts)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(target, format=style, dpi=DPI)


def series(index: int) -> dict[str, Any]:
    """Return the colour and the marker of a class; classes with the same colour have different markers."""
    turn = index // len(COLOURS)
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[(index + turn) % len(MARKERS)]}


def legend_below(axes: Axes, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Put a legend below half a figure, in as many columns as fit."""
    axes.legend(
        handles,
        labels,  # labels that begin with _ are shown only if they are given here
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
        ncols=_columns(labels),
        fontsize=9,
        frameon=False,
        handletextpad=0.1,
        columnspacing=0.8,
        markerscale=1.5,
    )


def legend_height(labels: Sequence[str]) -> float:
    """Return the height of `legend_below`, in inches."""
    return 0.2 * math.ceil(len(labels) / _columns(labels))


def _columns(labels: Sequence[str]) -> int:
    width_in_points = 22 + 6 * max(map(len, labels))
    return max(1, min(int(WIDTH / 2 * 72 / width_in_points), len(labels)))


def short(name: str, width: int = 34) -> str:
    """Break a long name into two lines after the hyphen, plus sign or slash nearest to its middle.

    The middle of a line that is still longer than `width` is replaced by an ellipsis.
    """
    if len(name) <= width:
        return name
    breaks = [i for i, letter in enumerate(name) if letter in "-+/"] or [len(name) // 2]
    middle = min(breaks, key=lambda i: abs(i - len(name) // 2)) + 1
    return f"{clipped(name[:middle], width)}\n{clipped(name[middle:], width)}"


def clipped(name: str, width: int = 28) -> str:
    """Replace the middle of a long name by an ellipsis."""
    half = width // 2
    return name if len(name) <= width else f"{name[:half]}…{name[-half:]}"


def title(experiment: ExperimentScores) -> str:
    """Return the printed name of an experiment, in two lines if it is long."""
    return short(label(experiment), 70)


@cache
def _other_fonts(characters: str) -> list[str]:
    """Return installed fonts that together have the characters that matplotlib's own font lacks."""
    missing = {character for character in characters if character.isprintable()} - _own_characters()
    fonts = []
    while missing:
        installed = _installed_characters()
        best = max(installed, key=lambda name: len(missing & installed[name]), default=None)
        if best is None or not missing & installed[best]:
            _warn_of_boxes("".join(sorted(missing)))
            break
        fonts.append(best)
        missing -= installed[best]
    return fonts


@cache
def _own_characters() -> frozenset[str]:
    return _characters(font_manager.findfont(_FONT))


@cache
def _installed_characters() -> dict[str, frozenset[str]]:
    """Return the characters of each installed font, without the fonts for mathematics that matplotlib brings along."""
    own = matplotlib.get_data_path()
    regular = {
        entry.name: entry.fname
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and entry.weight in (400, "normal", "regular") and not entry.fname.startswith(own)
    }
    return {name: _characters(path) for name, path in sorted(regular.items())}


def _characters(path: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):  # matplotlib's list of fonts can name fonts that were removed
        return frozenset()


_warned: set[str] = set()


def _warn_of_boxes(characters: str) -> None:
    """Say, once in a process, that characters are drawn as boxes."""
    if not _warned:
        text = f"no installed font has the characters {characters}, so the figures show boxes"
        progress.message(f"{text}; install one that has them, such as Noto Sans CJK", file=sys.stderr)
    _warned.update(characters)
