"""Tables of one corpus: those with the same columns are joined, and the others complete their rows."""

import math
import os.path
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from soctk.corpus import names
from soctk.corpus.importing.account import Account
from soctk.corpus.importing.rows import Row, complete, drop_empty, merge_by, require_column, require_values
from soctk.corpus.importing.times import parse_seconds
from soctk.errors import SoctkError, listing, plural


@dataclass(frozen=True)
class Table:
    """What was read from a source.

    Attributes:
        source: the source.
        root: the folder from which its relative paths start.
        fields: the names of its fields.
        rows: the recognised columns of each row that is not blank.
        blank: the number of rows in which all values are missing.
        used: column -> the fields that give it.
    """

    source: Path
    root: Path
    fields: Collection[str]
    rows: list[Row]
    blank: int
    used: Mapping[str, Sequence[str]]

    @property
    def columns(self) -> set[str]:
        """The recognised columns."""
        return set(self.used)


def join(tables: Sequence[Table], account: Account) -> list[Row]:
    """Return the rows of all tables, with paths that start from the same folder; count the rows.

    Raises:
        SoctkError: a row has no path, or two tables have the same recording.
    """
    rows: list[Row] = []
    repeated: list[str] = []
    table_of: dict[str, Table] = {}
    for table in tables:
        require_values("path", table.rows, table.source)
        account.read[table.source] = account.read.get(table.source, 0) + len(table.rows) + table.blank
        account.left_out["blank"] += table.blank
        for row in table.rows:
            path = _rebase(row["path"], table.root, tables[0].root)
            other = table_of.setdefault(names.normalise(os.path.normpath(path)) + _times(row), table)
            if other is not table:
                repeated.append(f"{row['path']}{_times(row)}: {other.source} and {table.source}")
            rows.append({**row, "path": path})
    if repeated:
        raise SoctkError(
            f"{plural(len(repeated), 'path')} in two tables\n{listing(repeated)}",
            remedy="If these are different recordings in different folders, write the folder into the path, such as "
            "train/x.wav, or move each table into the folder of its recordings. Otherwise remove the repeated rows.",
        )
    return rows


def complete_from(
    rows: Sequence[Row],
    named: Sequence[Row],
    table: Table,
    joined: Sequence[Table],
    account: Account,
) -> list[Row]:
    """Fill in missing values of the rows from a table, by path or by speaker.

    If both have start and end, rows are matched by path and times.

    Raises:
        SoctkError: the table contradicts itself, has paths that are not in the rows, or nothing in common with them.
    """
    first = joined[0]
    key = "path" if "path" in table.used else "speaker"
    require_column(key, table.rows, table.source, table.fields)
    # If all recordings start from one folder, paths are compared as they are written.
    has_roots = len({other.root for other in joined}) > 1
    has_times = table.columns & first.columns & {"start", "end"}

    def key_of(row: Row, root: Path) -> str:
        text = row.get(key, "")
        if key == "path" and text:
            text = os.path.normpath(_rebase(text, root, first.root) if has_roots else text)
            return names.normalise(text) + (_times(row) if has_times else "")
        return names.normalise(text)

    keys = [key_of({**name, **drop_empty(row)}, first.root) for name, row in zip(named, rows, strict=True)]
    others = [{**row, key: key_of(row, table.root)} for row in table.rows]
    merged = merge_by(key, others, table.source)
    known = set(keys)
    unknown = [name for name in merged if name not in known]
    if unknown:
        _check_unknown(unknown, key, keys, table, joined, len(merged))
    used = sum(row[key] in known for row in others)
    left_out = {"blank": table.blank, "for speakers without an utterance": len(others) - used}
    account.add_completing(table.source, len(table.rows) + table.blank, used, left_out)
    differing = sum(
        text != row[column]
        for name, row in zip(keys, rows, strict=True)
        for column, text in merged.get(name, {}).items()
        if row.get(column)
    )
    if differing:
        account.note(
            f"Note: {table.source}: {plural(differing, 'value')} different from those of {first.source}, which are used"
        )
    return complete(rows, keys, merged)


def _times(row: Row) -> str:
    """Return the times of a row in one spelling; empty for a whole recording."""
    if not row.get("start") and not row.get("end"):
        return ""
    start, end = (parse_seconds(row.get(column, ""), default) for column, default in (("start", 0), ("end", math.inf)))
    return f" from {start:.6f} to {end:.6f} s"


def _rebase(path: str, root: Path, new_root: Path) -> str:
    """Return a path that starts from `root` as a path from `new_root`, or as an absolute path."""
    if root == new_root or Path(path).is_absolute():
        return path
    return str((root / path).relative_to(new_root) if root.is_relative_to(new_root) else root / path)


def _check_unknown(
    unknown: Sequence[str], key: str, keys: Sequence[str], table: Table, joined: Sequence[Table], count: int
) -> None:
    """Refuse keys of a table that are in no row, except further speakers."""
    first = ", ".join(str(other.source) for other in joined)
    spell = partial(names.skeleton, numbers=key == "speaker")
    alike = {spell(name) for name in unknown} & {spell(name) for name in keys}
    in_question = [name for name in (*keys, *unknown) if spell(name) in alike]
    names.check_spelling(f"{key}s of {first} and {table.source}", in_question, numbers=key == "speaker")
    if len(unknown) == count:
        hint = ""
        if key == "path":
            hint = (
                " To add its rows as further utterances, give it the same columns "
                f"({', '.join(sorted(joined[0].columns))}; it has {', '.join(sorted(table.columns))})."
            )
            optional = sorted((joined[0].columns ^ table.columns) - {"path", "emotion", "speaker"})
            if optional:
                hint += f" To ignore columns: {' '.join(f'--column {column}=' for column in optional)}."
        raise SoctkError(
            f"none of its {count} {key}s, such as {unknown[0]}, occurs in {first}",
            remedy=f"Spell each {key} as in that source.{hint}",
            where=table.source,
        )
    if key == "path":
        raise SoctkError(
            f"{len(unknown)} of its {count} paths do not occur in {first}\n{listing(unknown)}",
            remedy="Remove these rows, or spell the paths as in that source. If this table describes all recordings, "
            "name it first, with a label map (--labels) with the line \"'': null\", which leaves out rows without an "
            "emotion.",
            where=table.source,
        )
