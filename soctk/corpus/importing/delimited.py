"""Tables in .csv and .tsv files, in UTF-8 or UTF-16, with any of the usual separators."""

import codecs
import csv
import io
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

from soctk.corpus import names
from soctk.errors import SoctkError

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
# Spreadsheets write other separators too, such as semicolons where a comma is the decimal sign.
_OTHER_SEPARATORS = (";", "\t", "|", ",")
# The first line of a file that Excel wrote may name the separator.
_NAMED_SEPARATOR = re.compile(r"sep=(.)\r?\n")


def is_delimited(path: Path) -> bool:
    """Return whether a path ends in .csv or .tsv."""
    return path.suffix.lower() in _SEPARATORS


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table with a header, column name -> text.

    Column names are normalised (soctk.corpus.names). A row of blank fields may have any number of them. The separator
    is a comma (.csv) or a tab (.tsv). If it is not in the header, it is a semicolon, a tab, a bar or a comma.

    Raises:
        SoctkError: the file is neither UTF-8 nor UTF-16, a quoted field is not closed, two columns have the same name,
            or a row has more or fewer fields than the header.
    """
    text = _decode(path)
    named = _NAMED_SEPARATOR.match(text)
    text = text[named.end() :] if named else text
    separator = named[1] if named else _find_separator(text, _SEPARATORS[path.suffix.lower()])
    # strict: without it, a quoted field that is not closed silently swallows the rest of the file
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[tuple[int, list[str]]] = []  # the first line of each row, and its fields
    first = end = 1 if named else 0  # the number of lines before the table; the last line of the last complete row
    try:
        for fields in reader:
            rows.append((end + 1, fields))
            end = first + reader.line_num
    except csv.Error as error:
        raise SoctkError(
            f"a quoted field is not closed in the row after line {end} ({error})",
            remedy="Close every quoted field; inside one, write a quote as two quotes.",
            where=path,
        ) from error
    columns = [names.normalise(name) for name in rows[0][1]] if rows else []
    repeated = [name for name, count in Counter(columns).items() if name and count > 1]
    if repeated:
        raise SoctkError(
            f"several columns have the same name: {', '.join(repeated)}", remedy="Rename all but one.", where=path
        )
    blank = dict.fromkeys(columns, "")
    uneven = [str(line) for line, fields in rows[1:] if len(fields) != len(columns) and any(map(str.strip, fields))]
    if uneven:
        raise SoctkError(
            f"these rows have more or fewer fields than the header: {', '.join(uneven[:10])}"
            + (f" and {len(uneven) - 10} more" if len(uneven) > 10 else ""),
            remedy="Correct them; put a field that contains the separator in quotes. The header must be the "
            f"first line, which is: {', '.join(columns) or 'blank'}",
            where=path,
        )
    return [
        dict(zip(columns, fields, strict=True)) if len(fields) == len(columns) else dict(blank)
        for _, fields in rows[1:]
    ]


def _decode(path: Path) -> str:
    """Return the text of a file in UTF-8 or UTF-16, without a byte-order mark."""
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif b"\0" in content[:2]:  # UTF-16 without a byte-order mark, whose first character is a Latin letter
        encoding = "utf-16-be" if content.startswith(b"\0") else "utf-16-le"
    else:
        encoding = "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise SoctkError(
            f"not {encoding.upper().removesuffix('-SIG')} ({error})",
            remedy="Save the file as UTF-8. If its letters are Windows-1252 (such as of an older Excel): "
            f"iconv -f WINDOWS-1252 -t UTF-8 {shlex.quote(path.name)} > new{path.suffix}",
            where=path,
        ) from error


def _find_separator(text: str, default: str) -> str:
    """Return the separator of the header: the default if the header has it, or else one that the header has."""
    header = re.sub(r'"[^"]*"', "", text.partition("\n")[0])
    return next((mark for mark in (default, *_OTHER_SEPARATORS) if mark in header), default)
