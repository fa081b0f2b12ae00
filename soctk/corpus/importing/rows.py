"""Rows of a corpus, column -> text: columns recognised by name, rows completed by other tables, values checked.

An empty text counts as a missing value.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from soctk.errors import SoctkError, listing, unknown_name

Row = dict[str, str]

# Column -> the field names that stand for it in a source; upper and lower case are equal.
COLUMNS = {
    "path": ("path", "file", "filename", "wav", "audio"),
    "emotion": ("emotion", "emo", "label"),
    "speaker": ("speaker", "speaker_id", "spk"),
    "sex": ("sex", "gender"),
    "fold": ("fold",),
    "start": ("start", "start_time"),
    "end": ("end", "end_time"),
}


def recognise_columns(record: Mapping[str, Any], names: Mapping[str, str], source: Path) -> Row:
    """Return the columns of COLUMNS that a record has, as text; other fields are left out.

    Args:
        record: a row of the source, field -> value.
        names: column -> the name of its field, which replaces the names in COLUMNS; "" ignores the column.
        source: the file or folder, for messages.

    Raises:
        SoctkError: two fields stand for the same column, or a value is neither text nor a number.
    """
    row = {}
    for column, known_names in COLUMNS.items():
        if column in names:
            fields = [field for field in record if field == names[column]]
        else:
            fields = [field for field in record if field.lower() in known_names]
        if len(fields) > 1:
            raise SoctkError(
                f"several columns could be the {column}: {', '.join(fields)}",
                remedy=f"Choose one: --column {column}={fields[0]}.",
                where=source,
            )
        if fields:
            row[column] = _to_text(record[fields[0]], column, source)
    return row


def check_names(names: Mapping[str, str], records: Iterable[Mapping[str, Any]]) -> None:
    """Check that each field name given by the user occurs in a record.

    Raises:
        SoctkError: a field occurs nowhere.
    """
    fields = {field for record in records for field in record}
    for name in names.values():
        if name and name not in fields:
            raise unknown_name("column", name, fields, where="--column")


def complete(rows: Sequence[Row], keys: Sequence[str], others: Mapping[str, Row]) -> list[Row]:
    """Fill in missing values of the rows.

    Args:
        rows: the rows.
        keys: the key of each row.
        others: key -> the values to fill in.
    """
    return [{**others.get(key, {}), **drop_empty(row)} for key, row in zip(keys, rows, strict=True)]


def merge_by(key: str, rows: Sequence[Row], source: Path) -> dict[str, Row]:
    """Merge the rows with the same value in the column `key`; return this value -> the merged row.

    Raises:
        SoctkError: a row lacks the key, or two rows with the same key have different values in a column.
    """
    require_values(key, rows, source)
    merged: dict[str, Row] = {}
    contradictions = []
    for row in map(drop_empty, rows):
        values = merged.setdefault(row[key], {})
        contradictions += [
            f"{row[key]}: {column} {values[column]} and {text}"
            for column, text in row.items()
            if values.get(column, text) != text
        ]
        values |= row
    if contradictions:
        raise SoctkError(
            f"rows with the same {key} contradict each other\n{listing(contradictions)}",
            remedy=f"Keep one row for each {key}.",
            where=source,
        )
    return merged


def drop_empty(row: Row) -> Row:
    """Return the row without its empty texts."""
    return {column: text for column, text in row.items() if text}


def require_column(
    column: str, rows: Sequence[Row], source: Path | None = None, records: Sequence[Mapping[str, Any]] | None = None
) -> None:
    """Check that at least one row has a certain column.

    Args:
        column: a name in COLUMNS.
        rows: the rows.
        source: the file or folder, for the message.
        records: the rows before `recognise_columns`; the message lists their fields.

    Raises:
        SoctkError: no row has the column.
    """
    if not any(column in row for row in rows):
        fields = sorted({field for row in records or rows for field in row if field})
        raise SoctkError(
            f"no column gives the {column}; the columns are {', '.join(fields)}",
            remedy=f"Name the column, --column {column}=NAME, or read the {column} from the file names, --pattern.",
            where=source,
        )


def require_values(column: str, rows: Sequence[Row], source: Path | None = None) -> None:
    """Check that each row has a value in a column.

    Raises:
        SoctkError: a row has no value.
    """
    without = [_name_row(row) for row in rows if not row.get(column)]
    if without:
        remedy = "Fill it in, or remove these rows."
        if column == "emotion":
            remedy += " A label map (--labels) with the line \"'': null\" leaves them out."
        raise SoctkError(
            f"{len(without)} of {len(rows)} rows have no {column}\n{listing(without)}", remedy=remedy, where=source
        )


def relabel(rows: Iterable[Row], labels: Mapping[str, str | None]) -> tuple[list[Row], Counter[str]]:
    """Return the rows with classes in place of labels, and the number of rows dropped for each label.

    Args:
        rows: with the column emotion; a row without it has the label ''.
        labels: label -> class, or None to drop the rows with this label (soctk.corpus.labels).

    Raises:
        SoctkError: no row has an emotion, or the map lacks labels of the rows.
    """
    rows = list(rows)
    require_column("emotion", rows)
    counts = Counter(row.get("emotion", "") for row in rows)
    unknown = sorted(counts.keys() - labels.keys())
    if unknown:
        raise SoctkError(
            "these labels are not in the label map\n"
            + listing(f"{label!r}, {counts[label]} utterances" for label in unknown),
            remedy="Add 'LABEL: CLASS' to the map, or 'LABEL: null' to leave these utterances out.",
            where="--labels",
        )
    kept = [{**row, "emotion": name} for row in rows if (name := labels[row.get("emotion", "")]) is not None]
    return kept, Counter({label: count for label, count in counts.items() if labels[label] is None})


def _to_text(value: Any, column: str, source: Path) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise SoctkError(
            f"the {column} {value!r} is neither text nor a number",
            remedy=f"Write it as text in quotes, or choose another column: --column {column}=NAME.",
            where=source,
        )
    return str(value).strip()


def _name_row(row: Row) -> str:
    """Return a description of a row for a message: its path, or its other values if it has none."""
    values = ", ".join(f"{column} {text}" for column, text in drop_empty(row).items())
    return row.get("path") or values or "a row without any known column"
