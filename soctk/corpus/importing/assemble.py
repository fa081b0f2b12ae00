"""Construction of a corpus from complete rows: utterance ids, checks of spelling and recordings, sexes and folds."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from soctk.corpus import audio, datadir, folds
from soctk.corpus.datadir import DataDir
from soctk.corpus.importing.rows import Row, require_column, require_values
from soctk.corpus.labels import in_order
from soctk.errors import SoctkError, listing

_SEXES = {"m": "m", "male": "m", "man": "m", "f": "f", "female": "f", "woman": "f"}
# A segment counts as the whole recording if start and end differ by at most this many seconds: tables round times.
_ROUNDING = 0.05
_TIMEDELTA = re.compile(r"(?:(\d+) days?)?\s*(?:(\d+):(\d+):(\d+(?:\.\d+)?))?")


def build_corpus(
    rows: Sequence[Row], root: Path, labels: Mapping[str, str | None], table: Path, count: int | None = None
) -> DataDir:
    """Return the corpus that the rows describe. Every recording is decoded once, to check it.

    Args:
        rows: with the columns path, emotion and speaker, and optionally sex, fold, start and end.
        root: the folder that relative paths start from.
        labels: the label map, which gives the order of the classes; may be empty.
        table: the path of the fold table. If it does not exist or has no folds, they are written to it
            (soctk.corpus.folds).
        count: the number of folds to make, if neither the rows nor the table give folds.

    Raises:
        SoctkError: a value is missing or contradictory, a recording cannot be used or occurs twice, a row describes a
            part of a recording, or folds cannot be made.
    """
    if not rows:
        raise SoctkError(
            "no recordings were found", remedy="Check the folder, and the extension of its files.", where=root
        )
    for column in ("path", "emotion", "speaker"):
        require_column(column, rows)
        require_values(column, rows)
    _check_recordings_differ(rows, root)
    utterances = _assign_ids(rows)
    speaker = {utt: _join_words(row["speaker"]) for utt, row in utterances.items()}
    emotion = {utt: _join_words(row["emotion"]) for utt, row in utterances.items()}
    datadir.check_words([*utterances, *emotion.values()], root)
    _check_spelling("speakers", speaker.values())
    _check_spelling("emotions", emotion.values())
    sexes = _collect_by_speaker("sex", utterances, speaker)
    gender = {name: _parse_sex(sex, name) for name, sex in sexes.items()}
    given_folds = _collect_by_speaker("fold", utterances, speaker)
    wav = {utt: (root / row["path"]).absolute() for utt, row in utterances.items()}
    seconds = {utt: info.seconds for utt, info in audio.check(wav).items()}
    _check_no_segments(utterances, seconds)
    if given_folds:
        fold = _use_given_folds(given_folds, table, speaker, emotion, gender, count)
    else:
        fold = folds.read_or_assign(table, speaker, emotion, gender, count)
    return DataDir(
        wav=wav,
        speaker=speaker,
        emotion=emotion,
        seconds={utt: round(value, 4) for utt, value in seconds.items()},
        gender=gender,
        fold=fold,
        emotions=in_order(set(emotion.values()), labels),
    )


def _check_recordings_differ(rows: Sequence[Row], root: Path) -> None:
    """Refuse two rows with one recording, even through links: with two speakers it would be in training and test."""
    recordings = [(root / row["path"]).resolve() for row in rows]
    counts = Counter(recordings)
    repeated = [row["path"] for row, recording in zip(rows, recordings, strict=True) if counts[recording] > 1]
    if repeated:
        raise SoctkError(
            f"{len(repeated)} rows share their recording with another row\n{listing(repeated)}",
            remedy="Keep one row for each recording, and remove links to folders that are in the corpus already. "
            "Cut the segments of a recording into files of their own.",
        )


def _assign_ids(rows: Sequence[Row]) -> dict[str, Row]:
    """Return utterance id -> row, sorted. An id is the speaker and the file name, or the path if file names repeat."""
    ids = [_make_id(row, Path(row["path"]).stem) for row in rows]
    if len(set(ids)) < len(ids):
        ids = [_make_id(row, "-".join(Path(row["path"]).with_suffix("").parts).strip("/-")) for row in rows]
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    if repeated:
        raise SoctkError(
            f"several recordings would have the same utterance id\n{listing(repeated)}", remedy="Rename the files."
        )
    return dict(sorted(zip(ids, rows, strict=True)))


def _make_id(row: Row, name: str) -> str:
    """Return SPEAKER-NAME; if the name begins with the speaker, that part is dropped from the name."""
    speaker = _join_words(row["speaker"])
    rest = re.sub(rf"^{re.escape(speaker)}[-_. ]+", "", _join_words(name))
    return f"{speaker}-{rest}"


def _join_words(text: str) -> str:
    """Replace white space, which separates the columns of a data directory, by '_'."""
    return "_".join(text.split())


def _check_spelling(kind: str, names: Iterable[str]) -> None:
    """Refuse names that differ only in case: a speaker with two spellings would be in training and test."""
    spellings: dict[str, set[str]] = {}
    for name in names:
        spellings.setdefault(name.casefold(), set()).add(name)
    variants = [" ".join(sorted(names)) for names in spellings.values() if len(names) > 1]
    if variants:
        raise SoctkError(
            f"some {kind} differ only in capital letters\n{listing(variants)}",
            remedy=f"Spell each name in one way. If these {kind} are different, rename one of them.",
        )


def _collect_by_speaker(column: str, utterances: Mapping[str, Row], speaker: Mapping[str, str]) -> dict[str, str]:
    """Return speaker -> value of a column with a property of speakers; empty if no row has a value.

    Raises:
        SoctkError: a speaker has no value in some row, or has two values.
    """
    values: dict[str, set[str]] = {}
    for utt, row in utterances.items():
        values.setdefault(speaker[utt], set()).add(row.get(column, ""))
    if set().union(*values.values()) == {""}:
        return {}
    wrong = [
        f"{name}: {' and '.join(sorted(value or 'none' for value in texts))}"
        for name, texts in values.items()
        if len(texts) > 1
    ]
    wrong += [f"{name}: none" for name, texts in values.items() if texts == {""}]
    if wrong:
        raise SoctkError(
            f"these speakers have no {column}, or not the same in all rows\n{listing(wrong)}",
            remedy=f"Correct the column, or ignore it: --column {column}=.",
        )
    return {name: texts.pop() for name, texts in sorted(values.items())}


def _parse_sex(text: str, speaker: str) -> str:
    if text.lower() not in _SEXES:
        raise SoctkError(
            f"unknown sex '{text}' of speaker {speaker}",
            remedy="Write m or f, male or female, for all speakers, or ignore the column: --column sex=.",
        )
    return _SEXES[text.lower()]


def _check_no_segments(utterances: Mapping[str, Row], seconds: Mapping[str, float]) -> None:
    """Refuse rows whose start and end describe a part of the recording: soctk uses whole files."""
    parts = [
        f"{row['path']}: {row.get('start') or 0} to {row.get('end') or 'the end'} of {seconds[utt]:.3f} s"
        for utt, row in utterances.items()
        if parse_seconds(row.get("start", ""), 0) > _ROUNDING
        or parse_seconds(row.get("end", ""), seconds[utt]) < seconds[utt] - _ROUNDING
    ]
    if parts:
        raise SoctkError(
            f"{len(parts)} rows describe a part of a recording\n{listing(parts)}",
            remedy="Cut these parts into files of their own.",
        )


def parse_seconds(time: str, default: float) -> float:
    """Return a time in seconds, given as a number or as `0 days 00:00:01.5` (audformat); `default` for "" and NaT.

    Raises:
        SoctkError: the text is not a time.
    """
    if time in ("", "NaT"):
        return default
    match = _TIMEDELTA.fullmatch(time)
    if match:
        days, hours, minutes, rest = (float(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + rest
    try:
        return float(time)
    except ValueError as error:
        raise SoctkError(
            f"'{time}' is not a time", remedy="Write seconds, such as 1.5, or 0 days 00:00:01.5."
        ) from error


def _use_given_folds(
    given: Mapping[str, str],
    table: Path,
    speaker: Mapping[str, str],
    emotion: Mapping[str, str],
    gender: Mapping[str, str],
    count: int | None,
) -> dict[str, int]:
    """Return the folds of the rows, speaker -> fold, and write the table if it is missing or empty.

    Raises:
        SoctkError: a fold is not a number from 1, the table has other folds, or another number of folds is requested.
    """
    not_numbers = {fold for fold in given.values() if not re.fullmatch(r"[1-9]\d*", fold)}
    if not_numbers:
        raise SoctkError(
            f"these folds are not numbers from 1: {', '.join(sorted(not_numbers))}",
            remedy="Number the folds, or ignore this column with --column fold= and let soctk make folds.",
        )
    fold = {name: int(number) for name, number in given.items()}
    folds.check_count(fold, count, None, "These folds are in the labels: ignore them with --column fold=")
    if not table.exists() or not folds.read(table):
        folds.write(table, fold, "Taken from the labels of the corpus.")
    elif folds.read_or_assign(table, speaker, emotion, gender) != fold:
        raise SoctkError(
            "the folds in this file differ from the folds in the labels",
            remedy="Remove this file to use the folds in the labels, or ignore those in the labels: --column fold=.",
            where=table,
        )
    return fold
