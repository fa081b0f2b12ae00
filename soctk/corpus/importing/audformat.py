"""db.yaml, the header of an audformat database (https://audeering.github.io/audformat): its speakers and splits.

The tables lie beside the header: db.ID.csv or db.ID.parquet is the table ID of db.yaml; other tables are read likewise.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from soctk.corpus.importing import delimited, parquet
from soctk.errors import SoctkError, listing
from soctk.mappings import read_yaml

_SUFFIXES = {".parquet": parquet.read, ".csv": delimited.read}
# Splits of these types have the names by which soctk knows them; a test may have a name of its own.
_TYPES = ("train", "dev", "test")


def is_header(path: Path) -> bool:
    """Return whether a path ends in .yaml, like the header of an audformat database."""
    return path.suffix.lower() == ".yaml"


def read_speakers(path: Path) -> list[dict[str, Any]]:
    """Return a row for each speaker, from `schemes: speaker: labels`.

    The labels are a mapping, speaker -> properties, or the name of a misc table, which has a row for each speaker.

    Raises:
        SoctkError: the file is not YAML, or has no such entries; the misc table is missing or cannot be read.
    """
    labels = _find(read_yaml(path, as_text=True), "schemes", "speaker", "labels")
    if isinstance(labels, str):
        return _read_misc_table(path, labels)
    if not isinstance(labels, dict) or not all(isinstance(fields, dict | None) for fields in labels.values()):
        raise SoctkError(
            "not the header of an audformat database that describes speakers (schemes: speaker: labels)",
            remedy="Leave this file out, and give the speakers and their sex in a table.",
            where=path,
        )
    return [
        {"speaker": speaker, **{str(name): value for name, value in (fields or {}).items()}}
        for speaker, fields in labels.items()
    ]


def find_split(source: Path, headers: Sequence[Path]) -> dict[str, str]:
    """Return {"split": NAME} for a table that has a split in one of the headers; else nothing.

    NAME is train or dev for splits of these types, and for a test its own name if it begins with "test", or test.

    Raises:
        SoctkError: a header is not YAML.
    """
    for header in headers:
        table = source.stem.removeprefix(f"{header.stem}.")
        if source.parent.absolute() != header.parent.absolute() or table == source.stem:
            continue
        content = read_yaml(header, as_text=True)
        split = _find(content, "tables", table, "split_id")
        if isinstance(split, str):
            kind = _find(content, "splits", split, "type")
            has_own_name = kind not in _TYPES or (kind == "test" and split.casefold().startswith("test"))
            return {"split": split if has_own_name else kind}
    return {}


def without_tables(header: Path) -> SoctkError:
    """Return the error for a header that is the first source; it lists the tables of the database."""
    tables = _find(read_yaml(header, as_text=True), "tables")
    found = []
    for name, table in tables.items() if isinstance(tables, dict) else ():
        file = next(
            (f"{header.stem}.{name}{suffix}" for suffix in _SUFFIXES if _path(header, name, suffix).is_file()), ""
        )
        columns = _find(table, "columns")
        if file and isinstance(columns, dict):
            split = _find(table, "split_id")
            found.append(f"{file}: {', '.join(columns)}" + (f" (split {split})" if isinstance(split, str) else ""))
    return SoctkError(
        "the header of an audformat database names the tables, but does not contain their rows"
        + (f"\n{listing(found)}" if found else ""),
        remedy="Give the table with the emotions first, then those with the same columns, then other tables, and the "
        "header last.",
        where=header,
    )


def _read_misc_table(header: Path, name: str) -> list[dict[str, Any]]:
    levels = _find(read_yaml(header, as_text=True), "misc_tables", name, "levels")
    for suffix, read in _SUFFIXES.items():
        path = _path(header, name, suffix)
        if path.is_file():
            rows = read(path)
            key = next(iter(levels)) if isinstance(levels, dict) and len(levels) == 1 else "speaker"
            if rows and key not in rows[0]:
                raise SoctkError(f"it has no column {key}", remedy=f"Compare it with {header}.", where=path)
            return [{"speaker": row[key], **{field: row[field] for field in row if field != key}} for row in rows]
    raise SoctkError(
        f"the speakers are described in the misc table {name}, but {header.stem}.{name} is missing (.parquet, .csv)",
        remedy="Copy the table into this folder, or leave this file out.",
        where=header,
    )


def _path(header: Path, table: str, suffix: str) -> Path:
    return header.with_name(f"{header.stem}.{table}{suffix}")


def _find(content: Any, *keys: str) -> Any:
    """Return the value below nested keys; None if there is none."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content
