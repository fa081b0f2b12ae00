"""Tables in .csv files (fields separated by commas) and .tsv files (by tabs)."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

from soctk.corpus import names
from soctk.errors import SoctkError

_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def is_delimited(path: Path) -> bool:
    """Return whether a path ends in .csv or .tsv."""
    return path.suffix.lower() in _SEPARATORS


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table with a header, column name -> text.

    Column names are normalised (soctk.corpus.names). A row of blank fields may have any number of them.

    Raises:
        SoctkError: the file is not UTF-8 or has another separator, a quoted field is not closed, two columns have the
            same name, or a row has more or fewer fields than the header.
    """
    with path.open(encoding="utf-8-sig", newline="") as lines:
        # strict: without it, a quoted field that is not closed silently swallows the rest of the file
        reader = csv.reader(lines, delimiter=_SEPARATORS[path.suffix.lower()], strict=True)
        rows: list[tuple[int, list[str]]] = []  # the first line of each row, and its fields
        end = 0  # the last line of the last complete row
        try:
            for fields in reader:
                rows.append((end + 1, fields))
                end = reader.line_num
        except UnicodeDecodeError as error:
            raise SoctkError(f"not UTF-8 ({error})", remedy="Save the file as UTF-8.", where=path) from error
        except csv.Error as error:
            raise SoctkError(
                f"a quoted field is not closed in the row after line {end} ({error})",
                remedy="Close every quoted field; inside one, write a quote as two quotes.",
                where=path,
            ) from error
    columns = [names.normalise(name) for name in rows[0][1]] if rows else []
    other = next((mark for mark in (";", "\t", "|", ",") if len(columns) == 1 and mark in rows[0][1][0]), None)
    if other:
        raise SoctkError(
            f"the columns are separated by {other!r}",
            remedy="Separate them by commas (.csv) or tabs (.tsv).",
            where=path,
        )
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
            remedy="Correct them; put a field that contains the separator in quotes. The header must be line 1, "
            f"which is: {', '.join(columns) or 'blank'}",
            where=path,
        )
    return [
        dict(zip(columns, fields, strict=True)) if len(fields) == len(columns) else dict(blank)
        for _, fields in rows[1:]
    ]
