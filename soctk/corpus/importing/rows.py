"""Rows of a corpus, column -> text: columns recognised by name, rows completed by other tables, values checked.

An empty text is a missing value. The texts of a source that stand for missing values become empty (labels.is_missing).
"""

import math
import re
import reprlib
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from soctk.corpus import names
from soctk.corpus.labels import LabelMap, is_missing
from soctk.errors import SoctkError, listing, plural, unknown_name
from soctk.schema import DIMENSIONS

Row = dict[str, str]
# Column -> the fields that give it, joined in this order; no field ignores the column.
Choice = Mapping[str, Sequence[str]]

# Column -> the field names that stand for it in a source; upper and lower case are equal, and so are blanks, - and _.
COLUMNS = {
    "path": ("path", "file", "filename", "wav", "audio"),
    "emotion": ("emotion", "emo", "label", "emoclass"),
    "speaker": ("speaker", "speaker_id", "spk", "spkrid"),
    "sex": ("sex", "gender"),
    "fold": ("fold",),
    "utterance_fold": ("utterance_fold",),
    "split": ("split", "split_set", "partition"),
    "start": ("start", "start_time", "starttime"),
    "end": ("end", "end_time", "endtime"),
    "utterance": (),  # the id; by default soctk makes it from the speaker and the file name
    "recording": (),  # the id of the recording of a part; by default the file name
    "label": (),  # the labels of several annotators, with VOTES between them
    "distribution": (),  # classes and their probabilities, with VOTES between them
    "arousal": ("arousal", "activation", "emoact"),
    "valence": ("valence", "emoval"),
    "dominance": ("dominance", "emodom"),
}
VOTES = "|"
_JOINTS = {"path": "/", "label": VOTES}
# Rows may have further columns with this prefix: utt2X becomes the property X of the utterance.
EXTRA = "utt2"


def find_fields(fields: Iterable[str], choice: Choice, source: Path) -> dict[str, list[str]]:
    """Return the columns of COLUMNS that a source has, each with the fields that give it.

    Args:
        fields: the names of the source's fields.
        choice: the user's choice, which replaces the names in COLUMNS. A name of a column stands for the field that is
            recognised by the names in COLUMNS, unless a field has this name.
        source: the file or folder, for messages.

    Raises:
        SoctkError: two fields stand for the same column.
    """
    fields = list(fields)
    found = {}
    taken = {name for column in ("label", *DIMENSIONS) for name in choice.get(column, ())}
    for column in COLUMNS:
        if column not in choice:
            its_fields = _recognise(column, [field for field in fields if field not in taken])
            if len(its_fields) > 1:
                raise SoctkError(
                    f"several columns could be the {column}: {', '.join(its_fields)}",
                    remedy=f"Choose one: --column {column}={its_fields[0]}.",
                    where=source,
                )
        else:
            candidates = [[name] if name in fields else _recognise(name, fields) for name in choice[column]]
            its_fields = [names[0] for names in candidates if names]
            if len(its_fields) < len(choice[column]):
                continue  # a source that has not all of these fields does not give the column
        if its_fields:
            found[column] = its_fields
    return found


def recognise_columns(
    record: Mapping[str, Any],
    choice: Choice,
    source: Path,
    labels: Collection[str] = (),
    found: Mapping[str, Sequence[str]] | None = None,
) -> Row:
    """Return the columns of COLUMNS that a record has, as text; other fields are left out.

    Args:
        record: a row of the source, field -> value.
        choice: see `find_fields`.
        source: the file or folder, for messages.
        labels: the labels of the label map. They are labels even if they look like missing values.
        found: the result of `find_fields` for the fields of this record, if the caller has it.

    Returns:
        column -> text, empty for a missing value. A column with several fields has their texts, joined with `-`; parts
        of a path are joined with `/`, and the labels of annotators with VOTES; some of these labels may be missing.

    Raises:
        SoctkError: two fields stand for the same column, or a value is neither text nor a number.
    """
    found = find_fields(record, choice, source) if found is None else found
    row = {}
    for column, fields in found.items():
        texts = [_to_text(record[field], column, source) for field in fields]
        if column == "label":
            texts = _without_missing(texts, labels, source)
        elif any(is_missing(text) and not (column == "emotion" and names.normalise(text) in labels) for text in texts):
            texts = []
        row[column] = _JOINTS.get(column, "-").join(texts)
    return row


def _without_missing(texts: Sequence[str], labels: Collection[str], source: Path) -> list[str]:
    """Return the labels of annotators, without missing ones."""
    for text in texts:
        if VOTES in text:
            raise SoctkError(f"the label '{text}' contains {VOTES}", remedy="Rename this label.", where=source)
    return [text for text in texts if not is_missing(text) or names.normalise(text) in labels]


def check_choice(choice: Choice, fields: Collection[str]) -> None:
    """Check that each field that the user chose exists.

    Args:
        choice: see `find_fields`.
        fields: the fields of all sources.

    Raises:
        SoctkError: a field occurs nowhere.
    """
    for name in [name for chosen in choice.values() for name in chosen]:
        if name not in fields and not _recognise(name, fields):
            raise unknown_name("column", name, filter(None, fields), where="--column")


def complete(rows: Sequence[Row], keys: Sequence[str], others: Mapping[str, Row]) -> list[Row]:
    """Fill in missing values of the rows.

    Args:
        rows: the rows.
        keys: the key of each row.
        others: key -> the values to fill in.
    """
    return [{**others.get(key, {}), **drop_empty(row)} for key, row in zip(keys, rows, strict=True)]


def merge_by(key: str, rows: Sequence[Row], source: Path) -> dict[str, Row]:
    """Merge the rows with the same value in the column `key`; return this value, normalised -> the other columns.

    Raises:
        SoctkError: a row lacks the key, or two rows with the same key have different values in a column.
    """
    require_values(key, rows, source)
    merged: dict[str, Row] = {}
    contradictions = []
    for row in map(drop_empty, rows):
        name = names.normalise(row.pop(key))
        values = merged.setdefault(name, {})
        contradictions += [
            f"{name}: {column} {values[column]} and {text}"
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
    column: str, rows: Sequence[Row], source: Path | None = None, fields: Iterable[str] | None = None
) -> None:
    """Check that at least one row has a certain column.

    Args:
        column: a name in COLUMNS.
        rows: the rows.
        source: the file or folder, for the message.
        fields: the fields of the source, which the message lists; by default the columns of the rows.

    Raises:
        SoctkError: no row has the column.
    """
    if not any(column in row for row in rows):
        fields = [field for field in dict.fromkeys(fields or (name for row in rows for name in row)) if field]
        near = [field for field in fields if column in field.lower()] or get_close_matches(column, fields)
        name = shlex.quote(near[0]) if near else "NAME"
        raise SoctkError(
            f"no column gives the {column}; the columns are {', '.join(fields) or 'none'}",
            remedy=f"Name the column, --column {column}={name}"
            + (
                ", or add one with the paths of the recordings."
                if column == "path"
                else f", or read the {column} from the file names, --pattern."
            ),
            where=source,
        )


def require_values(column: str, rows: Sequence[Row], source: Path | None = None) -> None:
    """Check that each row has a value in a column.

    Raises:
        SoctkError: a row has no value.
    """
    without = [name_row(row) for row in rows if is_missing(row.get(column, ""))]
    if without:
        remedy = "Fill it in, or remove these rows."
        if column == "emotion":
            remedy += " A label map (--labels) with the line \"'': null\" leaves them out."
        remedy += " Blanks, nan, None, NA, N/A, null, - and ? are missing values."
        raise SoctkError(
            f"no {column} in {len(without)} of {plural(len(rows), 'row')}\n{listing(without)}",
            remedy=remedy,
            where=source,
        )


def relabel(rows: Iterable[Row], labels: Mapping[str, str | None]) -> tuple[list[Row], Counter[str]]:
    """Return the rows with classes in place of labels, and the number of rows dropped for each label.

    Args:
        rows: with the column emotion; a row without it has the label ''.
        labels: label -> class, or None to drop the rows with this label (soctk.corpus.labels). A LabelMap may have a
            rule for rows with several labels; with the rule `votes` they get the column `label` in place of the
            emotion (annotations.count_votes).

    Raises:
        SoctkError: no row has an emotion, or the map lacks labels of the rows.
    """
    rows = list(rows)
    require_column("emotion", rows)
    voted: list[Row] = []
    dropped: Counter[str] = Counter()
    label_of = [names.normalise(row.get("emotion", "")) for row in rows]
    if isinstance(labels, LabelMap) and labels.separator:
        rows, label_of, voted, dropped = _apply_rule(rows, label_of, labels)
    counts = Counter(label_of)
    labels = _with_empty_label(labels)
    unknown = sorted(counts.keys() - labels.keys())
    if unknown:
        alike = {names.skeleton(label): label for label in labels}
        lines = [
            f"{label!r}, {plural(counts[label], 'utterance')}"
            + (f"; the map has {alike[form]!a}" if (form := names.skeleton(label)) in alike else "")
            + ("; the empty label stands for missing values, such as nan" if not label else "")
            for label in unknown
        ]
        raise SoctkError(
            f"these labels are not in the label map\n{listing(lines)}",
            remedy="Add 'LABEL: CLASS' to the map, or 'LABEL: null' to leave these utterances out"
            + (" (\"'': null\" for the empty label)." if "" in unknown else "."),
            where="--labels",
        )
    classes = [(row, labels[label]) for row, label in zip(rows, label_of, strict=True)]
    kept = [{**row, "emotion": name} for row, name in classes if name is not None]
    dropped.update({label: count for label, count in counts.items() if labels[label] is None})
    return [*kept, *voted], dropped


def _apply_rule(
    rows: Sequence[Row], label_of: Sequence[str], labels: LabelMap
) -> tuple[list[Row], list[str], list[Row], Counter[str]]:
    """Apply the rule for rows with several labels.

    Returns:
        The rows that now have one label; these labels; the rows with votes; and the number of rows dropped by each text
        of several labels.
    """
    one, its_label, voted = [], [], []
    dropped: Counter[str] = Counter()
    for row, label in zip(rows, label_of, strict=True):
        parts = labels.divide(label)
        if not parts or labels.several == "first":
            one.append(row)
            # A label that the map lacks is taken too, and then reported.
            its_label.append(next((part for part in parts if labels.get(part, "") is not None), label))
        elif labels.several == "votes":
            others = {column: text for column, text in row.items() if column != "emotion"}
            voted.append({**others, "label": VOTES.join(parts)})
        else:
            dropped[label] += 1
    if labels.several == "first":  # only labels that the map drops
        for i, label in enumerate(its_label):
            its_label[i] = (labels.divide(label) or [label])[0]
    return one, its_label, voted, dropped


def _with_empty_label(labels: Mapping[str, str | None]) -> Mapping[str, str | None]:
    """Return the label map. If it drops a missing value in one spelling, such as NaN, it drops all missing values."""
    drops = any(is_missing(label) and name is None for label, name in labels.items())
    return {"": None, **labels} if drops else labels


def _recognise(column: str, fields: Iterable[str]) -> list[str]:
    """Return the fields whose names stand for a column; empty if there is no such column."""
    known = COLUMNS.get(column, ())
    return [field for field in fields if re.sub("[ -]", "_", field.lower()) in known]


def _to_text(value: Any, column: str, source: Path) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not isinstance(value, str) and not is_number:
        raise SoctkError(
            f"the {column} {reprlib.repr(value)} is neither text nor a number",
            remedy=f"Write it as text in quotes, or choose another column: --column {column}=NAME.",
            where=source,
        )
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)  # 1.0 is 1 in JSON
    return text.strip() if column == "path" else " ".join(text.split())


def name_row(row: Row) -> str:
    """Return a description of a row for a message: its path and times, or its other values if it has no path."""
    values = ", ".join(f"{column} {text}" for column, text in drop_empty(row).items())
    times = "".join(f" {word} {row[column]}" for column, word in (("start", "from"), ("end", "to")) if row.get(column))
    return (f"{row['path']}{times}" if row.get("path") else values) or "a row without any known column"
