"""Construction of a corpus from complete rows: utterance ids, checks of names and recordings, sexes and folds."""

import os.path
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from soctk.corpus import audio, folds, names, quick_checks
from soctk.corpus.datadir import DataDir
from soctk.corpus.importing.account import Account
from soctk.corpus.importing.locate import locate
from soctk.corpus.importing.rows import COLUMNS, EXTRA, Row, require_column, require_values
from soctk.corpus.importing.speakers import collect_folds, collect_sexes, use_given_folds
from soctk.corpus.importing.times import check_no_segments
from soctk.corpus.kaldi_files import check_words
from soctk.corpus.labels import in_order
from soctk.errors import SoctkError, listing, plural


def build_corpus(
    rows: Sequence[Row],
    root: Path,
    labels: Mapping[str, str | None],
    table: Path,
    count: int | None = None,
    account: Account | None = None,
    channel: str = "1",
    known_copies: frozenset[frozenset[str]] = frozenset(),
) -> DataDir:
    """Return the corpus that the rows describe. Every recording is decoded once, to check it.

    Args:
        rows: with the columns path, emotion and speaker, and optionally sex, fold, start, end and utt2X for any X.
        root: the folder that relative paths start from.
        labels: the label map, which gives the order of the classes; may be empty.
        table: the path of the fold table. If it does not exist or has no folds, they are written to it
            (soctk.corpus.folds).
        count: the number of folds to make, if neither the rows nor the table give folds.
        account: the account of the rows; without it, they are not counted. It gets the notes of the quick checks
            (soctk.corpus.quick_checks).
        channel: the channel of the recordings to use: 1, 2, ..., or mix for the mean of all.
        known_copies: groups of utterances that have the same recording, from a publication.

    Raises:
        SoctkError: a value is missing or contradictory, names look alike, a recording cannot be used or occurs twice, a
            row describes a part of a recording, folds cannot be made, or the account does not add up.
    """
    account = account or _count(rows, root)
    if not rows:
        what = "no recordings were found"
        if any(account.left_out.values()):
            what = f"all rows are left out: {account.equation(0)}"
        raise SoctkError(what, remedy="Check the sources, and the label map.", where=root)
    for column in ("path", "emotion", "speaker"):
        require_column(column, rows)
        require_values(column, rows)
    for column in ("speaker", "emotion"):
        names.check_spelling(f"{column}s", (row[column] for row in rows))
    rows = locate(rows, root)
    _check_recordings_differ(rows, root)
    utterances = _assign_ids(rows, root)
    infos = audio.check({utt: _recording(row, root) for utt, row in utterances.items()}, channel)
    copies = _find_copies(utterances, {utt: info.digest for utt, info in infos.items()}, account)
    if copies:
        account.left_out["copied from another row (same file name, sound and labels)"] += len(copies)
        info_of = {row["path"]: infos[utt] for utt, row in utterances.items()}
        utterances = _assign_ids([row for utt, row in utterances.items() if utt not in copies], root)
        infos = {utt: info_of[row["path"]] for utt, row in utterances.items()}
    seconds = {utt: info.seconds for utt, info in infos.items()}
    check_no_segments(utterances, seconds)
    speaker = {utt: names.to_word(row["speaker"]) for utt, row in utterances.items()}
    emotion = {utt: names.to_word(row["emotion"]) for utt, row in utterances.items()}
    gender = collect_sexes(utterances, speaker, account.fields)
    unknown = len(set(speaker.values()) - gender.keys())
    if gender and unknown:
        account.note(f"Note: the sex of {unknown} of {len(set(speaker.values()))} speakers is unknown")
    given_folds = collect_folds(utterances, speaker)
    account.settle(len(utterances))
    if given_folds:
        fold = use_given_folds(given_folds, table, speaker, emotion, gender, count)
    else:
        fold = folds.read_or_assign(table, speaker, emotion, gender, count)
    corpus = DataDir(
        wav={utt: _recording(row, root) for utt, row in utterances.items()},
        speaker=speaker,
        emotion=emotion,
        seconds={utt: round(value, 4) for utt, value in seconds.items()},
        gender=gender,
        fold=fold,
        emotions=in_order(
            set(emotion.values()), {label: name and names.to_word(name) for label, name in labels.items()}
        ),
        extra=_collect_extra(utterances),
        channel=channel,
        duplicates=known_copies,
    )
    for note in quick_checks.notes(corpus, infos):
        account.note(note)
    return corpus


def _count(rows: Sequence[Row], root: Path) -> Account:
    account = Account()
    account.read[root] = len(rows)
    return account


def _recording(row: Row, root: Path) -> Path:
    return (root / row["path"]).absolute()


def _check_recordings_differ(rows: Sequence[Row], root: Path) -> None:
    """Refuse two rows with one recording, even through links: with two speakers it would be in training and test."""
    # Unlike Path.resolve, realpath accepts a link to itself. The cache holds the folders, which are few.
    resolve = lru_cache(maxsize=None)(lambda path: Path(os.path.realpath(path)))
    paths = [root / row["path"] for row in rows]
    recordings = [resolve(path) if path.is_symlink() else resolve(path.parent) / path.name for path in paths]
    counts = Counter(recordings)
    repeated = [row["path"] for row, recording in zip(rows, recordings, strict=True) if counts[recording] > 1]
    if repeated:
        raise SoctkError(
            f"{len(repeated)} rows share their recording with another row\n{listing(repeated)}",
            remedy="Keep one row for each recording, and remove links to folders that are in the corpus already. "
            "Cut the segments of a recording into files of their own.",
        )


def _assign_ids(rows: Sequence[Row], root: Path) -> dict[str, Row]:
    """Return utterance id -> row, sorted. An id is the speaker and the file name, or the path if file names repeat."""
    ids = [_make_id(row, Path(row["path"]).stem) for row in rows]
    if len(set(ids)) < len(ids):
        # relative to root, so that an absolute path gives the same id
        parts = [Path(os.path.relpath(_recording(row, root), root.absolute())).with_suffix("").parts for row in rows]
        ids = [
            _make_id(row, "-".join(part for part in its_parts if part != "..").strip("/-"))
            for row, its_parts in zip(rows, parts, strict=True)
        ]
    paths: dict[str, list[str]] = defaultdict(list)
    for utt, row in zip(ids, rows, strict=True):
        paths[utt].append(row["path"])
    repeated = [f"{utt}: {' and '.join(its_paths)}" for utt, its_paths in paths.items() if len(its_paths) > 1]
    if repeated:
        raise SoctkError(
            f"several recordings would have the same utterance id\n{listing(repeated)}", remedy="Rename the files."
        )
    names.check_spelling("utterances", ids, numbers=False)
    check_words([*ids, *(names.to_word(row["emotion"]) for row in rows)], root)
    return dict(sorted(zip(ids, rows, strict=True)))


def _make_id(row: Row, name: str) -> str:
    """Return SPEAKER-NAME; if the name begins with the speaker, that part is dropped from the name."""
    speaker = names.to_word(row["speaker"])
    name = names.to_word(name)
    rest = name.removeprefix(speaker)
    if len(rest) < len(name) and rest[:1] in ("-", "_", "."):
        name = rest.lstrip("-_.")
    return f"{speaker}-{name}"


def _find_copies(utterances: Mapping[str, Row], digests: Mapping[str, str], account: Account) -> set[str]:
    """Return the utterances whose recordings are copies, such as those in a copy of the folder inside itself.

    A copy has the file name, sound and labels of another row. If only the labels differ, both are kept, with a note.
    """
    same: dict[tuple[str, str], list[str]] = defaultdict(list)
    for utt, row in utterances.items():
        same[Path(row["path"]).name, digests[utt]].append(utt)
    # The first is the one with the shortest path: that of the outer folder.
    groups = [sorted(group, key=lambda utt: (len(utterances[utt]["path"]), utt)) for group in same.values()]
    copies, different = set(), []
    for first, *others in groups:
        for utt in others:
            if _labels(utterances[utt]) == _labels(utterances[first]):
                copies.add(utt)
            else:
                different.append(f"{utterances[first]['path']} and {utterances[utt]['path']}")
    if different:
        account.note(
            f"Note: {plural(len(different), 'recording')} with the file name and sound of another one, but other "
            f"labels, such as {different[0]}: keep one of them."
        )
    return copies


def _labels(row: Row) -> Row:
    return {column: text for column, text in row.items() if column in COLUMNS and column != "path" and text}


def _collect_extra(utterances: Mapping[str, Row]) -> dict[str, dict[str, str]]:
    """Return X -> utterance -> value for the columns utt2X."""
    columns = dict.fromkeys(column for row in utterances.values() for column in row if column.startswith(EXTRA))
    return {
        column.removeprefix(EXTRA): {
            utt: names.to_word(row.get(column, "")) or "unknown" for utt, row in utterances.items()
        }
        for column in columns
    }
