"""Tables and sentences in text, Markdown, HTML and LaTeX; names are escaped, so that they are shown as they are."""

import re
from collections.abc import Sequence

from tabulate import LATEX_ESCAPE_RULES, MIN_PADDING, tabulate

from soctk.errors import printable

WIDTH = 80

# Characters that Markdown (with GitHub's tables, strikethrough and formulas) would not show as they are. An underscore
# between letters and a bracket before a number have no meaning in Markdown.
_MARKDOWN = re.compile(r"[\\`*|~$#]|(?<![^\W_])_|_(?![^\W_])|\](?=[\[(:])")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# At its beginning, a list item would become another list.
_LIST = re.compile(r"^(\d*)([-+.)])")
# What tabulate does not escape. A row that begins with [ or * would be an option of the line break before it.
_LATEX = {"|": r"\textbar{}", "--": "-{}-", "±": r"$\pm$", "−": "$-$", "†": r"$\dagger$", "‡": r"$\ddagger$"}
_LATEX_OPTION = re.compile(r"^(\s*)(?=[\[*])", re.MULTILINE)
# A spreadsheet takes a cell that begins with one of these characters as a formula.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")

# The headers of the columns that contain words; all other columns contain numbers.
_WORDS = ("source", "differences", "and", "", "metric", "value", "highest", "lowest")


def table(rows: Sequence[Sequence[object]], headers: Sequence[str], style: str) -> str:
    """Return a table with words left-aligned and numbers right-aligned; `style` is a table format of tabulate.

    Numbers must be given as text; they are printed unchanged. In the styles github, html and latex_booktabs, all other
    characters are escaped, so that they are shown as they are.
    """
    alignment = ("left", *("left" if header in _WORDS else "right" for header in headers[1:]))
    if style != "simple":
        show = markdown if style == "github" else printable
        rows = [[show(str(cell)) for cell in row] for row in rows]
        headers = [show(header) for header in headers]
    text = tabulate(rows, headers, style, colalign=alignment, disable_numparse=True)
    if style == "latex_booktabs":
        text = _replace_for_latex(text)
        text = _LATEX_OPTION.sub(r"\1{}", text)
    return text


def markdown(text: str) -> str:
    """Escape text such that Markdown shows it as it is, in a sentence, a heading or the cell of a table."""
    return _MARKDOWN.sub(r"\\\g<0>", printable(text)).translate(_HTML)


def markdown_list(lines: Sequence[str]) -> str:
    """Return an unnumbered list of texts in Markdown, which shows them as they are."""
    return "\n".join("- " + _LIST.sub(r"\1\\\2", markdown(line).lstrip()) for line in lines)


def markdown_code(text: str) -> str:
    """Return text as code in Markdown; its fence is longer than any row of backticks in the text."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    space = " " if longest else ""
    fence = "`" * (longest + 1)
    return f"{fence}{space}{printable(text)}{space}{fence}"


def latex(text: str) -> str:
    """Escape a sentence such that LaTeX shows it as it is."""
    return _replace_for_latex("".join(LATEX_ESCAPE_RULES.get(char, char) for char in printable(text)))


def _replace_for_latex(text: str) -> str:
    """Replace what tabulate does not escape."""
    for characters, command in _LATEX.items():
        text = text.replace(characters, command)
    return text


def spreadsheet(cell: object) -> object:
    """Return a cell of a table for spreadsheets: text that looks like a formula gets ' as a prefix."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


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
