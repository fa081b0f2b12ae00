"""A corpus from what others write down about it: tables of labels, EmoBox's or audformat's metadata, file names.

A table is a list of rows, column -> text. Its columns may have any of the names in COLUMNS; an empty text is nothing.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Any

from soctk.corpus import audio, datadir, emobox, folds, recordings
from soctk.corpus.datadir import DataDir
from soctk.corpus.labels import in_order
from soctk.errors import SoctkError, listing, unknown_name
from soctk.mappings import read_yaml

Row = dict[str, str]

# What a column is -> the names that it goes by, in any case.
COLUMNS = {
    "path": ("path", "file", "filename", "wav", "audio"),
    "emotion": ("emotion", "emo", "label"),
    "speaker": ("speaker", "speaker_id", "spk"),
    "sex": ("sex", "gender"),
    "fold": ("fold",),
    "start": ("start", "start_time"),
    "end": ("end", "end_time"),
}
_SEXES = {"m": "m", "male": "m", "man": "m", "f": "f", "female": "f", "woman": "f"}
# How much shorter than its recording a segment may be for the two to be the same: rounding in the table.
_ROUNDING = 0.05


def read(sources: Sequence[Path], pattern: str | None = None, columns: Mapping[str, str] | None = None) -> list[Row]:
    """Return the rows of the first source, completed by those of the others of the same path, or else speaker.

    Args:
        sources: each a table (.csv, .tsv, .jsonl), a folder of EmoBox's metadata, the header of an audformat database
            (.yaml; what it says of speakers), or, with a `pattern`, a folder of recordings.
        pattern: what file names tell, such as `{speaker}_{emotion}_{n}.wav`; of a table's paths, it fills in what the
            table lacks. `{name:2}` takes two characters, `{name:*}` any but `/`; with a `/` in it, it is matched
            against as many folders.
        columns: what a column is -> its name in the sources; "" for none. The names in COLUMNS are known.

    Returns:
        Rows whose columns are those of COLUMNS; paths as the source has them.

    Raises:
        SoctkError: a source is no such thing, contradicts itself, or has file names that do not match; a column named
            is nowhere; the first source has no paths, or another has neither paths nor speakers.
    """
    if pattern:
        _expression(pattern)  # first, as a folder is searched for what it ends in
    columns = columns or {}
    tables = {source: _read_source(source, pattern) for source in sources}
    present = {name for table in tables.values() for row in table for name in row}
    for name in columns.values():
        if name and name not in present:
            raise unknown_name("column", name, present, where="--column")
    rows, *others = [[_with_known_columns(row, columns, source) for row in table] for source, table in tables.items()]
    _need("path", rows, sources[0], tables[sources[0]])
    _need_everywhere("path", rows, sources[0])
    names = _names(rows, pattern, sources[0]) if pattern else [{} for _ in rows]
    for source, other in zip(list(tables)[1:], others, strict=True):
        key = "path" if any("path" in row for row in other) else "speaker"
        _need(key, other, source, tables[source])
        more = _by(key, other, source)
        keys = [{**name, **_told(row)}.get(key, "") for name, row in zip(names, rows, strict=True)]
        if more.keys().isdisjoint(keys):
            raise SoctkError(
                f"none of its {len(more)} {key}s, such as {next(iter(more))}, is one of {sources[0]}",
                remedy="Write them as they are written there.",
                where=source,
            )
        rows = [{**more.get(its_key, {}), **_told(row)} for its_key, row in zip(keys, rows, strict=True)]
    return [{**name, **_told(row)} for name, row in zip(names, rows, strict=True)] if pattern else rows


def audio_root(source: Path) -> Path:
    """Return the folder that a source's relative paths are relative to, where nothing else is said.

    It is the folder of a table, a folder of recordings itself, and of EmoBox's data/NAME the one that holds data.
    """
    if source.is_dir():
        return source.absolute().parents[1] if emobox.is_one(source) else source
    return source.parent


def relabel(rows: Iterable[Row], labels: Mapping[str, str | None]) -> tuple[list[Row], Counter]:
    """Return the rows with classes for labels, and how many rows of each label were dropped.

    Raises:
        SoctkError: there are labels that the map has not.
    """
    rows = list(rows)
    _need("emotion", rows)
    rows = [{"emotion": "", **row} for row in rows]
    counts = Counter(row["emotion"] for row in rows)
    unknown = sorted(label for label in counts if label not in labels)
    if unknown:
        raise SoctkError(
            f"the label map has no class for\n{listing(f'{label!r}, {counts[label]} utterances' for label in unknown)}",
            remedy="Add 'LABEL: CLASS' to it, or 'LABEL: null' to leave these utterances out.",
            where="--labels",
        )
    kept = [{**row, "emotion": labels[row["emotion"]]} for row in rows if labels[row["emotion"]] is not None]
    return kept, Counter({label: count for label, count in counts.items() if labels[label] is None})


def corpus(
    rows: Sequence[Row], root: Path, labels: Mapping[str, str | None], table: Path, count: int | None = None
) -> DataDir:
    """Return the corpus that complete rows describe. All recordings are read.

    Args:
        rows: with path, emotion and speaker, and perhaps sex and fold.
        root: the folder that their paths are relative to.
        labels: the label map, for the order of the classes; may be empty.
        table: a fold table, which is used where there is one and written where there is none (soctk.corpus.folds).
        count: how many folds to make where nothing says them.

    Raises:
        SoctkError: something is missing, contradictory, or cannot be read.
    """
    if not rows:
        raise SoctkError("there are no recordings", remedy="Check the folder, and how their names end.", where=root)
    for column in ("path", "emotion", "speaker"):
        _need(column, rows)
        _need_everywhere(column, rows)
    _check_recordings_differ(rows, root)
    utterances = _utterances(rows)
    speaker = {utt: _word(row["speaker"]) for utt, row in utterances.items()}
    emotion = {utt: _word(row["emotion"]) for utt, row in utterances.items()}
    datadir.check_words([*utterances, *emotion.values()], root)
    _check_spelling("speakers", speaker.values())
    _check_spelling("emotions", emotion.values())
    gender = _of_speakers("sex", utterances, speaker)
    gender = {name: _sex(sex, name) for name, sex in gender.items()}
    fold = _of_speakers("fold", utterances, speaker)
    wav = {utt: (root / row["path"]).absolute() for utt, row in utterances.items()}
    seconds = {utt: info.seconds for utt, info in audio.check(wav).items()}
    _check_are_whole(utterances, seconds)
    return DataDir(
        wav=wav,
        speaker=speaker,
        emotion=emotion,
        seconds={utt: round(value, 4) for utt, value in seconds.items()},
        gender=gender,
        fold=_folds(fold, table, speaker, emotion, gender, count),
        emotions=in_order(set(emotion.values()), labels),
    )


def _read_source(source: Path, pattern: str | None) -> list[dict[str, Any]]:
    rows = _read_folder(source, pattern) if source.is_dir() and not emobox.is_one(source) else _read_table(source)
    if not rows:
        raise SoctkError("there is nothing in it", remedy="Check the path.", where=source)
    return rows


def _read_folder(folder: Path, pattern: str | None) -> list[dict[str, Any]]:
    if pattern is None:
        raise SoctkError(
            "a folder, which says nothing about its recordings",
            remedy="Give a table, or say what the file names tell: --pattern '{speaker}_{emotion}_{n}.wav'.",
            where=folder,
        )
    suffix = Path(pattern).suffix.lower()
    files = [path for path in recordings.below(folder) if path.suffix.lower() == suffix]
    if not files:
        raise SoctkError(
            f"no file names in it end in '{suffix}'", remedy="Check the path, and how --pattern ends.", where=folder
        )
    return [{"path": str(path.relative_to(folder))} for path in files]


def _read_table(path: Path) -> list[dict[str, Any]]:
    if path.is_dir():
        return emobox.read(path)
    readers = {".csv": _read_csv, ".tsv": _read_csv, ".jsonl": emobox.read_jsonl, ".yaml": _read_speakers}
    if path.suffix.lower() not in readers:
        raise SoctkError(
            "no table that is known here",
            remedy="Give a .csv, .tsv or .jsonl file, a folder of EmoBox's, or a folder of recordings.",
            where=path,
        )
    try:
        return readers[path.suffix.lower()](path)
    except UnicodeDecodeError as error:
        raise SoctkError(f"not UTF-8 ({error})", remedy="Save it as UTF-8.", where=path) from error


def _read_csv(path: Path) -> list[dict]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        # strict: otherwise a quote that is not closed takes in the rows to the end of the file
        reader = csv.DictReader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        try:
            rows = list(reader)
        except csv.Error as error:
            raise SoctkError(
                f"its quotes do not match ({error}; seen at line {reader.line_num})",
                remedy="Close each quote, and double those within a quoted field.",
                where=path,
            ) from error
    twice = [name for name, count in Counter(reader.fieldnames or ()).items() if name and count > 1]
    if twice:
        raise SoctkError(f"columns of the same name: {', '.join(twice)}", remedy="Rename all but one.", where=path)
    crooked = [str(i) for i, row in enumerate(rows, start=2) if None in row or None in row.values()]
    if crooked:
        raise SoctkError(
            f"rows that have not as many fields as the header: {', '.join(crooked[:10])}",
            remedy="Mend them; quote a field that has the separator in it.",
            where=path,
        )
    return rows


def _read_speakers(path: Path) -> list[dict]:
    """Return what the header of an audformat database says of its speakers: schemes, speaker, labels."""
    speakers: Any = read_yaml(path)
    for name in ("schemes", "speaker", "labels"):
        speakers = speakers.get(name) if isinstance(speakers, dict) else None
    if not isinstance(speakers, dict) or not all(isinstance(known, dict | None) for known in speakers.values()):
        raise SoctkError(
            "no header of an audformat database that describes speakers",
            remedy="Leave it out; give speakers and their sex in a table.",
            where=path,
        )
    return [
        {"speaker": speaker, **{str(name): value for name, value in (known or {}).items()}}
        for speaker, known in speakers.items()
    ]


def _with_known_columns(row: Mapping[str, Any], columns: Mapping[str, str], source: Path) -> Row:
    known = {}
    for column, names in COLUMNS.items():
        if column in columns:
            present = [name for name in row if name == columns[column]]
        else:
            present = [name for name in row if name.lower() in names]
        if len(present) > 1:
            raise SoctkError(
                f"which column is the {column}: {' or '.join(present)}?",
                remedy=f"Say so: --column {column}={present[0]}.",
                where=source,
            )
        if present:
            known[column] = _text(row[present[0]], column, source)
    return known


def _text(value: Any, column: str, source: Path) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise SoctkError(
            f"the {column} {value!r} is neither text nor a number",
            remedy=f"Write it as text, in quotes, or say which column it is: --column {column}=NAME.",
            where=source,
        )
    return str(value).strip()


def _by(key: str, rows: Sequence[Row], source: Path) -> dict[str, Row]:
    """Return what rows say together: key -> column -> text.

    Raises:
        SoctkError: a row lacks the key, or two of the same key contradict each other.
    """
    _need_everywhere(key, rows, source)
    known: dict[str, Row] = {}
    contradictions = []
    for row in map(_told, rows):
        there = known.setdefault(row[key], {})
        contradictions += [
            f"{row[key]}: {column} {there[column]} and {text}"
            for column, text in row.items()
            if there.get(column, text) != text
        ]
        there |= row
    if contradictions:
        raise SoctkError(
            f"rows of one {key} that contradict each other\n{listing(contradictions)}",
            remedy=f"Keep one row of each {key}.",
            where=source,
        )
    return known


def _names(rows: Sequence[Row], pattern: str, source: Path) -> list[Row]:
    """Return what the names of their files tell of the rows."""
    expression = _expression(pattern)
    depth = pattern.count("/") + 1
    matches = [expression.fullmatch("/".join(Path(row["path"]).parts[-depth:])) for row in rows]
    unlike = [row["path"] for row, match in zip(rows, matches, strict=True) if not match]
    if unlike:
        raise SoctkError(
            f"{len(unlike)} of {len(rows)} file names are not of the form {pattern}\n{listing(unlike)}",
            remedy="Correct --pattern, or take these files out of the folder.",
            where=source,
        )
    return [match.groupdict() for match in matches]


def _told(row: Row) -> Row:
    return {column: text for column, text in row.items() if text}


def _expression(pattern: str) -> re.Pattern:
    """Return the regular expression of a pattern; a field holds none of the characters that end one in it."""
    try:
        parts = [(literal, field, width) for literal, field, width, _ in Formatter().parse(pattern)]
        if not all(
            field is None or (field.isidentifier() and re.fullmatch(r"[0-9]{0,3}|\*", width))
            for _, field, width in parts
        ):
            raise ValueError("a field is a name, or a name with a width of at most three digits")
    except ValueError as error:
        raise SoctkError(
            f"{pattern} is no pattern ({error})", remedy="Write it as {speaker}_{emotion}_{n}.wav.", where="--pattern"
        ) from error
    ends = re.escape("".join(literal[:1] for literal, _, _ in parts[1:]))
    characters = {"": f"[^/{ends}]+", "*": "[^/]+"}
    text, seen = "", set()
    for literal, field, width in parts:
        text += re.escape(literal)
        if field in seen:
            text += f"(?P={field})"
        elif field is not None:
            text += f"(?P<{field}>{characters.get(width, f'.{{{width}}}')})"
            seen.add(field)
    return re.compile(text, flags=re.IGNORECASE)


def _need(
    column: str, rows: Sequence[Row], source: Path | None = None, table: Sequence[Mapping[str, Any]] | None = None
) -> None:
    if not any(column in row for row in rows):
        present = sorted({name for row in table or rows for name in row if name})
        raise SoctkError(
            f"nothing says the {column} (there are: {', '.join(present)})",
            remedy=f"Name its column, --column {column}=NAME, or say where file names have it, --pattern.",
            where=source,
        )


def _need_everywhere(column: str, rows: Sequence[Row], source: Path | None = None) -> None:
    without = [
        row.get("path") or ", ".join(f"{name} {text}" for name, text in _told(row).items()) or "a row of nothing known"
        for row in rows
        if not row.get(column)
    ]
    if without:
        remedy = "Fill it in, or take these rows out"
        if column == "emotion":
            remedy += "; \"'': null\" in a label map (--labels) does"
        raise SoctkError(f"{len(without)} rows have no {column}\n{listing(without)}", remedy=f"{remedy}.", where=source)


def _check_recordings_differ(rows: Sequence[Row], root: Path) -> None:
    """Links count as what they lead to: a speaker's folder by two names would train and test."""
    recordings = [(root / row["path"]).resolve() for row in rows]
    times = Counter(recordings)
    twice = [row["path"] for row, recording in zip(rows, recordings, strict=True) if times[recording] > 1]
    if twice:
        raise SoctkError(
            f"{len(twice)} rows are of the same recordings as others\n{listing(twice)}",
            remedy="An utterance is a recording of its own: keep one row of each, remove links to folders that are "
            "there too, or cut segments into files.",
        )


def _check_spelling(kind: str, names: Iterable[str]) -> None:
    """One speaker by two names would train and test."""
    spellings: dict[str, set[str]] = {}
    for name in names:
        spellings.setdefault(name.casefold(), set()).add(name)
    unlike = [" ".join(sorted(names)) for names in spellings.values() if len(names) > 1]
    if unlike:
        raise SoctkError(
            f"{kind} differ in capital letters alone\n{listing(unlike)}",
            remedy="Spell each of them in one way; those that are not the same need other names.",
        )


def _check_are_whole(utterances: Mapping[str, Row], seconds: Mapping[str, float]) -> None:
    parts = [
        f"{row['path']}: {row.get('start') or 0} to {row.get('end')} of {seconds[utt]:.3f} s"
        for utt, row in utterances.items()
        if _seconds(row.get("start", "")) > _ROUNDING
        or _seconds(row.get("end", ""), seconds[utt]) < seconds[utt] - _ROUNDING
    ]
    if parts:
        raise SoctkError(
            f"{len(parts)} rows are about parts of recordings\n{listing(parts)}", remedy="Cut these into files."
        )


def _seconds(time: str, otherwise: float = 0.0) -> float:
    """Return seconds of a number, or of audformat's `0 days 00:00:01.5`; NaT is no time."""
    match = re.fullmatch(r"(?:(\d+) days?)?\s*(?:(\d+):(\d+):(\d+(?:\.\d+)?))?", time)
    if time in ("", "NaT"):
        return otherwise
    if match:
        days, hours, minutes, rest = (float(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + rest
    try:
        return float(time)
    except ValueError as error:
        raise SoctkError(f"'{time}' is no time", remedy="Write seconds, or 0 days 00:00:01.5.") from error


def _utterances(rows: Iterable[Row]) -> dict[str, Row]:
    """Return utterance id -> row: speaker and file name, or path where two files of a speaker have the same name."""
    rows = list(rows)
    ids = [_id(row, Path(row["path"]).stem) for row in rows]
    if len(set(ids)) < len(ids):
        ids = [_id(row, "-".join(Path(row["path"]).with_suffix("").parts).strip("/-")) for row in rows]
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    if repeated:
        raise SoctkError(f"different recordings have the same id\n{listing(repeated)}", remedy="Rename the files.")
    return dict(sorted(zip(ids, rows, strict=True)))


def _id(row: Row, name: str) -> str:
    speaker = _word(row["speaker"])
    rest = re.sub(rf"^{re.escape(speaker)}[-_. ]+", "", _word(name))
    return f"{speaker}-{rest}"


def _word(text: str) -> str:
    """Return a text without white space, which separates the columns of a data directory."""
    return "_".join(text.split())


def _of_speakers(column: str, utterances: Mapping[str, Row], speaker: Mapping[str, str]) -> dict[str, str]:
    """Return speaker -> value of a column that is a speaker's; nothing where no row has one.

    Raises:
        SoctkError: some speakers have none, or one has two.
    """
    values: dict[str, set[str]] = {}
    for utt, row in utterances.items():
        values.setdefault(speaker[utt], set()).add(row.get(column, ""))
    if set.union(*values.values()) == {""}:
        return {}
    wrong = [
        f"{name}: {' and '.join(sorted(v or 'none' for v in its))}" for name, its in values.items() if len(its) > 1
    ]
    wrong += [f"{name}: none" for name, its in values.items() if its == {""}]
    if wrong:
        raise SoctkError(
            f"a speaker has one {column}, and these have not\n{listing(wrong)}",
            remedy=f"Mend the column, or ignore it: --column {column}=.",
        )
    return {name: its.pop() for name, its in sorted(values.items())}


def _sex(text: str, speaker: str) -> str:
    if text.lower() not in _SEXES:
        raise SoctkError(
            f"the sex of {speaker} is '{text}'",
            remedy="Write m or f, male or female, for all speakers; or ignore the column: --column sex=",
        )
    return _SEXES[text.lower()]


def _folds(
    given: Mapping[str, str],
    table: Path,
    speaker: Mapping[str, str],
    emotion: Mapping[str, str],
    gender: Mapping[str, str],
    count: int | None,
) -> dict[str, int]:
    if not given:
        return folds.read_or_assign(table, speaker, emotion, gender, count)
    words = {name: fold for name, fold in given.items() if not re.fullmatch(r"[1-9]\d*", fold)}
    if words:
        raise SoctkError(
            f"folds that are no numbers from 1: {', '.join(sorted(set(words.values())))}",
            remedy="Number them, or have folds made: --column fold=.",
        )
    numbers = {name: int(fold) for name, fold in given.items()}
    folds.check_count(numbers, count, None, "The labels say them: ignore theirs, --column fold=")
    if not table.exists() or not folds.read(table):
        folds.write(table, numbers, "They stand so beside the labels.")
    elif folds.read_or_assign(table, speaker, emotion, gender) != numbers:
        raise SoctkError(
            "it has other folds than the labels say",
            remedy="Remove it to use theirs, or ignore theirs: --column fold=.",
            where=table,
        )
    return numbers
