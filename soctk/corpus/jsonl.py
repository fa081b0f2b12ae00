"""JSON Lines files: one JSON object per line."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from soctk import mappings
from soctk.errors import SoctkError
from soctk.files import atomic


def read(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file, one per line; empty lines are no objects.

    Raises:
        SoctkError: a line is not a JSON object in UTF-8.
    """
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = mappings.parse_json(line.decode("utf-8-sig"))
        except ValueError as error:
            raise SoctkError(
                f"line {number} is not a JSON object in UTF-8 ({error})",
                remedy="Write one object per line.",
                where=path,
            ) from error
        if not isinstance(row, dict):
            raise SoctkError(
                f"line {number} is not a JSON object in UTF-8", remedy="Write one object per line.", where=path
            )
        rows.append(row)
    return rows


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write each row as a JSON object on a line of its own."""
    with atomic(path) as temporary:
        temporary.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
