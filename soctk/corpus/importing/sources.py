"""The table of the kinds of sources, and a function that reads rows from several sources together."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soctk.corpus import emobox, jsonl, names
from soctk.corpus.importing import annotations, audformat, delimited, filenames, kaldi, parquet
from soctk.corpus.importing.account import Account
from soctk.corpus.importing.division import has_published
from soctk.corpus.importing.rows import (
    COLUMNS,
    EXTRA,
    Choice,
    Row,
    check_choice,
    drop_empty,
    find_fields,
    recognise_columns,
    require_column,
)
from soctk.corpus.importing.tables import Table, complete_from, join
from soctk.corpus.labels import is_missing
from soctk.errors import SoctkError
from soctk.progress import track

Record = Mapping[str, Any]  # a row of a source, field -> value, before its columns are recognised
Tell = Callable[[str], object]  # is called with a line for the user

# Fields of EmoBox's metadata that are no labels.
_FORMAT_FIELDS = frozenset(("key", "dataset", "type", "sample_rate", "num_frame", "task", "length", "channel"))
# Fields of a pattern that are not kept: their file utt2X would contradict another file, or has another meaning.
_NOT_EXTRA = frozenset(
    ("spk", "emo", "dur", "speaker", "emotion", "sex", "gender", "fold", "duration", "split", "dist")
)


@dataclass(frozen=True)
class Source:
    """A kind of source.

    Attributes:
        description: its name in messages.
        recognises: returns whether a path is of this kind.
        read: returns the records of a path; it gets the path, the pattern of file names (None without --pattern), and a
            function that is called with lines for the user.
        audio_root: returns the folder that relative paths in the records start from.
        columns: the fields that give columns, unless the user chooses others; other columns are recognised by name.
        is_property: returns whether a field that gives no column is kept as a property utt2X.
    """

    description: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, str | None, Tell], Sequence[Record]]
    audio_root: Callable[[Path], Path]
    columns: Choice = field(default_factory=dict)
    is_property: Callable[[str], bool] = lambda name: False


# The first kind that recognises a path reads it.
SOURCES = (
    Source(
        "a folder of EmoBox's metadata",
        lambda path: path.is_dir() and emobox.is_emobox(path),
        lambda path, pattern, tell: emobox.read(path, tell),
        lambda path: path.absolute().parents[1],  # paths start from the folder that holds data/NAME
        {"utterance_fold": ("fold",), "fold": ()},  # the folds of some corpora share speakers
    ),
    Source(
        "a data directory of Kaldi",
        kaldi.is_kaldi,
        lambda path, pattern, tell: kaldi.read(path, tell),
        lambda path: Path.cwd(),  # as for Kaldi's own programs
        kaldi.COLUMNS,
        kaldi.is_property,
    ),
    Source("a folder of recordings (with --pattern)", Path.is_dir, filenames.list_recordings, lambda path: path),
    Source(
        "a table (.csv, .tsv)",
        delimited.is_delimited,
        lambda path, pattern, tell: delimited.read(path),
        lambda path: path.parent,
    ),
    Source(
        "a table in Parquet (.parquet)",
        parquet.is_parquet,
        lambda path, pattern, tell: parquet.read(path),
        lambda path: path.parent,
    ),
    Source(
        "a table of JSON objects (.jsonl)",
        lambda path: path.suffix.lower() == ".jsonl",
        lambda path, pattern, tell: jsonl.read(path),
        lambda path: path.parent,
    ),
    Source(
        "the header of an audformat database (.yaml)",
        audformat.is_header,
        lambda path, pattern, tell: audformat.read_speakers(path),
        lambda path: path.parent,
    ),
)


def read(
    sources: Sequence[Path],
    pattern: str | None = None,
    choice: Choice | None = None,
    *,
    audio: Path | None = None,
    labels: Collection[str] = (),
    account: Account | None = None,
) -> list[Row]:
    """Return the rows of the utterances that the sources describe.

    The first source gives utterances. Another source with paths and the same columns gives further utterances. The
    other sources fill in missing values of these rows; their rows are matched by path, or by speaker if they have no
    path. Values that are missing in all sources are read from the file names.

    Args:
        sources: paths of the kinds in SOURCES.
        pattern: the form of the file names, such as `{speaker}_{emotion}_{n}.wav` (soctk.corpus.importing.filenames).
        choice: column -> the names of its fields in the sources or in the pattern (rows.find_fields). Other columns are
            recognised by the names in rows.COLUMNS.
        audio: the folder from which the relative paths of all sources start; by default that of each source.
        labels: the labels of the label map (rows.recognise_columns).
        account: gets the numbers of rows, and notes for the user.

    Returns:
        Rows with columns of rows.COLUMNS, and utt2X for each further field X of the pattern. Relative paths start from
        `audio`, or from the folder of the first source.

    Raises:
        SoctkError: a source is of no known kind, is malformed or contradicts itself, file names do not match the
            pattern, a field named in `choice` occurs nowhere, a column is missing, a recording is in two sources with
            the same columns, or another source has rows that complete nothing.
    """
    pattern_fields = filenames.compile_pattern(pattern)[1] if pattern else []  # first, to report an invalid pattern
    choice, account = choice or {}, account or Account()
    headers = [source for source in sources if audformat.is_header(source)]
    if headers[:1] == [sources[0]]:
        raise audformat.without_tables(sources[0])
    tables = [_read_table(source, pattern, choice, audio, labels, account, headers) for source in sources]
    fields = dict.fromkeys([field for table in tables for field in table.fields] + pattern_fields)
    check_choice(choice, fields)
    used = {field for table in tables for its_fields in table.used.values() for field in its_fields}
    unused = [field for table in tables for field in table.fields if field and field not in used | _FORMAT_FIELDS]
    first = tables[0]
    require_column("path", first.rows, first.source, first.fields)
    joined = [table for table in tables if table is first or ("path" in table.used and table.columns == first.columns)]
    rows = join(joined, account)
    named = _parse_names(rows, pattern, choice, first.source, labels, account) if pattern else [Row() for _ in rows]
    for table in tables:
        if table not in joined:
            rows = complete_from(rows, named, table, joined, account)
    rows = [{**name, **drop_empty(row)} for name, row in zip(named, rows, strict=True)] if pattern else rows
    required = [] if annotations.are_labelled(rows) else ["emotion"]
    for column in required if has_published(rows) else (*required, "speaker"):
        require_column(column, rows, None, fields)
    if unused:
        _tell_unused(dict.fromkeys(unused), rows, choice, account)
    return rows


def _tell_unused(unused: Iterable[str], rows: Sequence[Row], choice: Choice, account: Account) -> None:
    """Name the fields that are not used, and ask whether they contain the emotions or speakers that are missing."""
    given = {column for row in rows for column in row}
    lacking = [] if given & {"emotion", "label", "distribution"} else ["emotion"]
    lacking += [] if "speaker" in given else ["speaker"]
    hint = "".join(f"; if one has the {name}: --column {name}=NAME" for name in lacking if name not in choice)
    account.note(f"Note: columns that are not used: {', '.join(unused)}{hint}")


def audio_root(source: Path) -> Path:
    """Return the folder from which the relative paths of a source start by default.

    For a table it is the folder of this file, for a folder of recordings this folder, and for EmoBox's data/NAME the
    folder that contains data/.
    """
    return _find_kind(source).audio_root(source)


def _read_table(
    source: Path,
    pattern: str | None,
    choice: Choice,
    audio: Path | None,
    labels: Collection[str],
    account: Account,
    headers: Sequence[Path],
) -> Table:
    """Read a source and recognise its columns; `headers` are the audformat headers among the sources."""
    kind = _find_kind(source)
    choice = {**kind.columns, **choice}
    records = kind.read(source, pattern, account.note)
    written = [record for record in records if not all(map(_is_blank, record.values()))]
    if not written:
        raise SoctkError("it has no rows", remedy="Check the path.", where=source)
    split = audformat.find_split(source, headers)
    found: dict[tuple[str, ...], dict[str, list[str]]] = {}
    properties: dict[tuple[str, ...], list[str]] = {}
    rows = []
    for record in track(({**split, **record} for record in written), "read labels", "row", len(written)):
        fields = tuple(record)
        if fields not in found:
            found[fields] = find_fields(fields, choice, source)
            recognised = {name for its_fields in found[fields].values() for name in its_fields}
            properties[fields] = [name for name in fields if name not in recognised and kind.is_property(name)]
        row = recognise_columns(record, choice, source, labels, found[fields])
        rows.append(row | {name: names.to_word(record[name]) or "unknown" for name in properties[fields]})
    used: dict[str, list[str]] = {}  # JSON objects may name the same column in different ways
    for column, its_fields in [item for columns in found.values() for item in columns.items()]:
        used[column] = list(dict.fromkeys([*used.get(column, []), *its_fields]))
    fields = tuple(dict.fromkeys(field for its_fields in found for field in its_fields))
    for column, its_fields in used.items():
        account.fields.setdefault(column, its_fields)
    kept = {name: [name] for its_fields in properties.values() for name in its_fields}
    root = (audio or audio_root(source)).absolute()
    return Table(source, root, fields, rows, len(records) - len(written), used | kept)


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str | float) and is_missing(str(value)))


def _parse_names(
    rows: Sequence[Row], pattern: str, choice: Choice, source: Path, labels: Collection[str], account: Account
) -> list[Row]:
    """Return the columns that the file names give to each row; a field of another name becomes utt2FIELD."""
    records = filenames.parse_names([row["path"] for row in rows], pattern, source)
    fields = list(records[0])
    of_pattern = {column: chosen for column, chosen in choice.items() if set(chosen) <= {*fields, *COLUMNS}}
    found = find_fields(fields, {**of_pattern, "path": ()}, Path("--pattern"))
    used = {field for its_fields in found.values() for field in its_fields}
    others = [field for field in fields if field not in used and choice.get(field) != ()]
    kept = [field for field in others if len(field) > 1 and field[0] != "_" and field.lower() not in _NOT_EXTRA]
    dropped = [field for field in others if field not in kept and field[0] != "_"]
    for column, its_fields in found.items():
        account.fields.setdefault(column, its_fields)
    if kept:
        account.note(
            f"Note: fields of --pattern that are kept: {', '.join(f'{field} in utt2{field}' for field in kept)}"
        )
    if dropped:
        account.note(
            f"Note: fields of --pattern that are not kept: {', '.join(dropped)} "
            "(a field with another name of two or more letters is kept)"
        )
    return [
        recognise_columns(record, {}, Path("--pattern"), labels, found)
        | {f"{EXTRA}{field}": names.to_word(record[field]) or "unknown" for field in kept}
        for record in records
    ]


def _find_kind(source: Path) -> Source:
    for kind in SOURCES:
        if kind.recognises(source):
            return kind
    known = "\n".join(f"  {kind.description}" for kind in SOURCES)
    raise SoctkError("soctk cannot read this kind of source", remedy=f"The known kinds are:\n{known}", where=source)
