"""Tables in .csv files (fields separated by commas) and .tsv files (by tabs)."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

from soctk.errors import SoctkError

_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def is_delimited(path: Path) -> bool:
    """Return whether a path ends in .csv or .tsv."""
    return path.suffix.lower() in _SEPARATORS


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table with a header, column name -> text.

    Raises:
        SoctkError: the file is not UTF-8, a quoted field is not closed, two columns have the same name, or a row has
            more or fewer fields than the header.
    """
    with path.open(encoding="utf-8-sig", newline="") as lines:
        # strict: without it, a quoted field that is not closed silently swallows the rest of the file
        reader = csv.DictReader(lines, delimiter=_SEPARATORS[path.suffix.lower()], strict=True)
        try:
            rows = list(reader)
        except UnicodeDecodeError as error:
            raise SoctkError(f"not UTF-8 ({error})", remedy="Save the file as UTF-8.", where=path) from error
        except csv.Error as error:
            raise SoctkError(
                f"a quoted field is not closed in the row after line {reader.line_num} ({error})",
                remedy="Close every quoted field; inside one, write a quote as two quotes.",
                where=path,
            ) from error
    repeated = [name for name, count in Counter(reader.fieldnames or ()).items() if name and count > 1]
    if repeated:
        raise SoctkError(
            f"several columns have the same name: {', '.join(repeated)}", remedy="Rename all but one.", where=path
        )
    # csv.DictReader puts surplus fields under the key None, and gives missing ones the value None
    uneven = [str(i) for i, row in enumerate(rows, start=2) if None in row or None in row.values()]
    if uneven:
        raise SoctkError(
            f"these rows have more or fewer fields than the header: {', '.join(uneven[:10])}",
            remedy="Correct them; put a field that contains the separator in quotes.",
            where=path,
        )
    return rows
