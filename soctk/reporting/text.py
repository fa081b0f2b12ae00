"""Tables and sentences for a terminal of 80 columns."""

from collections.abc import Sequence

from tabulate import MIN_PADDING, tabulate

WIDTH = 80

# The headers of the columns that contain words; all other columns contain numbers.
_WORDS = ("source", "differences", "and", "", "metric", "value")


def table(rows: Sequence[Sequence[object]], headers: Sequence[str], style: str) -> str:
    """Return a table with words left-aligned and numbers right-aligned; `style` is a table format of tabulate.

    Numbers must be given as text; they are printed unchanged.
    """
    alignment = ("left", *("left" if header in _WORDS else "right" for header in headers[1:]))
    return tabulate(rows, headers, style, colalign=alignment, disable_numparse=True)


def narrow_table(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> str:
    """Return a table whose first column is wrapped such that the table fits the terminal."""
    taken = 0
    for i, header in enumerate(headers[1:], start=1):
        lines = [line for row in rows for line in str(row[i]).split("\n")]
        taken += 2 + max(len(header) + MIN_PADDING, *map(len, lines))
    width = max(WIDTH - taken, 8)
    wrapped = [("\n".join(wrap(line, width) for line in str(row[0]).split("\n")), *row[1:]) for row in rows]
    return table(wrapped, headers, "simple")


def wrap(text: str, width: int) -> str:
    """Break text into lines after spaces, hyphens and plus signs; a piece longer than `width` is cut."""
    lines = [""]
    for piece in text.replace("-", "-\0").replace("+", "+\0").replace(" ", " \0").split("\0"):
        if len(lines[-1] + piece.rstrip()) > width and lines[-1]:
            lines.append("")
        lines[-1] += piece
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return "\n".join(line.rstrip() for line in lines)


def fill(text: str) -> str:
    """Break the lines that are wider than the terminal."""
    return "\n".join(line if len(line) <= WIDTH else wrap(line, WIDTH) for line in text.split("\n"))
