"""The table of the kinds of sources, and a function that reads rows from several sources together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soctk.corpus import emobox, jsonl
from soctk.corpus.importing import audformat, delimited, filenames
from soctk.corpus.importing.rows import (
    Row,
    check_names,
    complete,
    drop_empty,
    merge_by,
    recognise_columns,
    require_column,
    require_values,
)
from soctk.errors import SoctkError

Record = Mapping[str, Any]  # a row of a source, field -> value, before its columns are recognised


@dataclass(frozen=True)
class Source:
    """A kind of source.

    Attributes:
        description: its name in messages.
        recognises: returns whether a path is of this kind.
        read: returns the records of a path; it gets the path and the pattern of file names (None without --pattern).
        audio_root: returns the folder that relative paths in the records start from.
    """

    description: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, str | None], Sequence[Record]]
    audio_root: Callable[[Path], Path]


# The first kind that recognises a path reads it.
SOURCES = (
    Source(
        "a folder of EmoBox's metadata",
        lambda path: path.is_dir() and emobox.is_emobox(path),
        lambda path, pattern: emobox.read(path),
        lambda path: path.absolute().parents[1],  # paths start from the folder that holds data/NAME
    ),
    Source("a folder of recordings (with --pattern)", Path.is_dir, filenames.list_recordings, lambda path: path),
    Source(
        "a table (.csv, .tsv)",
        delimited.is_delimited,
        lambda path, pattern: delimited.read(path),
        lambda path: path.parent,
    ),
    Source(
        "a table of JSON objects (.jsonl)",
        lambda path: path.suffix.lower() == ".jsonl",
        lambda path, pattern: jsonl.read(path),
        lambda path: path.parent,
    ),
    Source(
        "the header of an audformat database (.yaml)",
        audformat.is_header,
        lambda path, pattern: audformat.read_speakers(path),
        lambda path: path.parent,
    ),
)


def read(sources: Sequence[Path], pattern: str | None = None, columns: Mapping[str, str] | None = None) -> list[Row]:
    """Return the rows of the first source; the other sources fill in missing values.

    The rows of another source are matched by path, or by speaker if they have no path. Values that are missing in all
    sources are read from the file names.

    Args:
        sources: paths of the kinds in SOURCES.
        pattern: the form of the file names, such as `{speaker}_{emotion}_{n}.wav` (soctk.corpus.importing.filenames).
        columns: column -> the name of its field in the sources; "" ignores the column. Other columns are recognised
            by the names in rows.COLUMNS.

    Returns:
        Rows with columns of rows.COLUMNS; paths are as in the source.

    Raises:
        SoctkError: a source is of no known kind, is malformed or contradicts itself, file names do not match the
            pattern, a column named in `columns` occurs nowhere, the first source has no paths, or another source has
            neither paths nor speakers in common with the first.
    """
    if pattern:
        filenames.compile_pattern(pattern)  # report an invalid pattern before the search for its extension
    columns = columns or {}
    records = {source: _read_records(source, pattern) for source in sources}
    check_names(columns, (record for table in records.values() for record in table))
    tables = {
        source: [recognise_columns(record, columns, source) for record in table] for source, table in records.items()
    }
    first, *others = tables
    rows = tables[first]
    require_column("path", rows, first, records[first])
    require_values("path", rows, first)
    named = filenames.parse_names([row["path"] for row in rows], pattern, first) if pattern else [{} for _ in rows]
    for source in others:
        key = "path" if any("path" in row for row in tables[source]) else "speaker"
        require_column(key, tables[source], source, records[source])
        merged = merge_by(key, tables[source], source)
        keys = [{**name, **drop_empty(row)}.get(key, "") for name, row in zip(named, rows, strict=True)]
        if merged.keys().isdisjoint(keys):
            raise SoctkError(
                f"none of its {len(merged)} {key}s, such as {next(iter(merged))}, occurs in {first}",
                remedy=f"Spell each {key} as in that source.",
                where=source,
            )
        rows = complete(rows, keys, merged)
    return [{**name, **drop_empty(row)} for name, row in zip(named, rows, strict=True)] if pattern else rows


def audio_root(source: Path) -> Path:
    """Return the folder from which the relative paths of a source start by default.

    For a table it is the folder of this file, for a folder of recordings this folder, and for EmoBox's data/NAME the
    folder that contains data/.
    """
    return _find_kind(source).audio_root(source)


def _read_records(source: Path, pattern: str | None) -> Sequence[Record]:
    records = _find_kind(source).read(source, pattern)
    if not records:
        raise SoctkError("it has no rows", remedy="Check the path.", where=source)
    return records


def _find_kind(source: Path) -> Source:
    for kind in SOURCES:
        if kind.recognises(source):
            return kind
    known = "\n".join(f"  {kind.description}" for kind in SOURCES)
    raise SoctkError("soctk cannot read this kind of source", remedy=f"The known kinds are:\n{known}", where=source)
