"""Construction of a corpus from complete rows: utterance ids, checks of names and recordings, sexes and folds."""

import os.path
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from soctk.corpus import names, quick_checks
from soctk.corpus.audio import AudioInfo
from soctk.corpus.datadir import DataDir
from soctk.corpus.importing import annotations
from soctk.corpus.importing.account import Account
from soctk.corpus.importing.division import Divided, divide, has_published, without_unknown_speakers
from soctk.corpus.importing.ids import name_recordings, name_utterances
from soctk.corpus.importing.locate import locate
from soctk.corpus.importing.rows import COLUMNS, EXTRA, Row, require_column, require_values
from soctk.corpus.importing.speakers import collect_sexes
from soctk.corpus.importing.times import find_clips, inspect
from soctk.corpus.labels import in_order
from soctk.corpus.segments import Clip, Segment
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
        rows: with the columns path, emotion and speaker; arousal, valence or dominance in place of the emotion or
            beside it; and optionally label (annotations.count_votes), sex, fold, utterance_fold, split, start, end,
            utterance (an id) and utt2X for any X. With split or utterance_fold, speakers may be unknown.
        root: the folder that relative paths start from.
        labels: the label map, which gives the order of the classes; may be empty.
        table: the path of the fold table. If it does not exist or has no folds, they are written to it
            (soctk.corpus.folds). It is not used if the rows have a published partition.
        count: the number of folds to make, if neither the rows nor the table give folds.
        account: the account of the rows; without it, they are not counted. It gets the notes of the quick checks
            (soctk.corpus.quick_checks).
        channel: the channel of the recordings to use: 1, 2, ..., or mix for the mean of all.
        known_copies: groups of utterances that have the same recording, from a publication.

    Raises:
        SoctkError: a value is missing or contradictory, names look alike, a recording cannot be used or occurs twice, a
            row describes no part of its recording, folds cannot be made, or the account does not add up.
    """
    account = account or _count(rows, root)
    if not rows:
        what = "no recordings were found"
        if any(account.left_out.values()):
            what = f"all rows are left out: {account.equation(0)}"
        raise SoctkError(what, remedy="Check the sources, and the label map.", where=root)
    has_emotions = any(row.get("emotion") for row in rows) or not annotations.are_labelled(rows)
    required = ["path", "emotion"] if has_emotions else ["path"]
    if has_published(rows):
        rows = without_unknown_speakers(rows)
    else:
        required.append("speaker")
    for column in required:
        require_column(column, rows)
        require_values(column, rows)
    if not labels:
        annotations.check_classes(rows, account.fields)
    annotations.collect_dimensions({str(i): row for i, row in enumerate(rows)})  # before the recordings are decoded
    for column in ("speaker", "emotion"):
        names.check_spelling(f"{column}s", (row[column] for row in rows if row.get(column)))
    rows = locate(rows, root)
    clips = find_clips(rows, root)
    _check_recordings_differ(rows, clips)
    utterances, clip_of = _named(rows, clips, root)
    found, infos = inspect(clip_of, channel)
    copies = _find_copies(utterances, clip_of, {utt: info.digest for utt, info in infos.items()}, account)
    if copies:
        account.left_out["copied from another row (same file name, sound and labels)"] += len(copies)
        known = {clip_of[utt]: (found[utt], infos[utt]) for utt in utterances}
        kept = [utt for utt in utterances if utt not in copies]
        utterances, clip_of = _named([utterances[utt] for utt in kept], [clip_of[utt] for utt in kept], root)
        found = {utt: known[clip][0] for utt, clip in clip_of.items()}
        infos = {utt: known[clip][1] for utt, clip in clip_of.items()}
    account.settle(len(utterances))
    corpus = _Assembly(utterances, found, infos, root, account).corpus(
        labels, division=(table, count), channel=channel, duplicates=known_copies
    )
    for note in quick_checks.notes(corpus, infos):
        account.note(note)
    return corpus


@dataclass(frozen=True)
class _Assembly:
    """The parts of a corpus, before its tables are made.

    Attributes:
        utterances: utterance -> row.
        clips: utterance -> the place of its sound.
        infos: utterance -> what its recording contains.
        root: the folder that relative paths start from.
        account: the account of the rows.
    """

    utterances: Mapping[str, Row]
    clips: Mapping[str, Clip]
    infos: Mapping[str, AudioInfo]
    root: Path
    account: Account

    def corpus(self, labels: Mapping[str, str | None], division: tuple[Path, int | None], **attributes: Any) -> DataDir:
        """Return the corpus.

        Args:
            labels: the label map.
            division: the fold table, and the number of folds to make.
            attributes: further attributes of DataDir.
        """
        utterances = self.utterances
        speaker = {utt: names.to_word(row.get("speaker", "")) or utt for utt, row in utterances.items()}
        emotion = {utt: names.to_word(row["emotion"]) for utt, row in utterances.items() if "emotion" in row}
        gender = collect_sexes(utterances, speaker, self.account.fields)
        unknown = len(set(speaker.values()) - gender.keys())
        if gender and unknown:
            self.account.note(f"Note: the sex of {unknown} of {len(set(speaker.values()))} speakers is unknown")
        divided = Divided(utterances, speaker, emotion or dict.fromkeys(speaker, ""), gender)
        emotions = in_order(
            set(emotion.values()) | annotations.voted_classes(utterances),
            {label: name and names.to_word(name) for label, name in labels.items()},
        )
        wav, segments = _place(utterances, self.clips, self.infos, self.root)
        parts: dict[str, Any] = {"fold": {}} | divide(divided, *division, self.account)
        return DataDir(
            wav=wav,
            segments=segments,
            speaker=speaker,
            emotion=emotion,
            seconds={utt: round(self.infos[utt].seconds, 4) for utt in utterances},
            gender=gender,
            emotions=emotions,
            dimensions=annotations.collect_dimensions(utterances),
            distribution=annotations.collect_distribution(utterances, emotions),
            extra=_collect_extra(utterances),
            **parts,
            **attributes,
        )


def _named(rows: Sequence[Row], clips: Sequence[Clip], root: Path) -> tuple[dict[str, Row], dict[str, Clip]]:
    """Return utterance id -> row, and utterance id -> clip, sorted."""
    ids = name_utterances(rows, clips, root)
    return dict(sorted(zip(ids, rows, strict=True))), dict(sorted(zip(ids, clips, strict=True)))


def _place(
    utterances: Mapping[str, Row], clips: Mapping[str, Clip], infos: Mapping[str, AudioInfo], root: Path
) -> tuple[dict[str, Path], dict[str, Segment]]:
    """Return recording -> path, and utterance -> segment; no segments if all utterances are whole recordings."""
    if all(clip.is_whole for clip in clips.values()):
        return {utt: clip.path for utt, clip in clips.items()}, {}
    given = {clips[utt].path: row["recording"] for utt, row in utterances.items() if row.get("recording")}
    name_of = name_recordings([clip.path for clip in clips.values()], root, given)
    segments = {
        utt: Segment(name_of[clip.path], clip.start, round(infos[utt].seconds, 6) if clip.end is None else clip.end)
        for utt, clip in clips.items()
    }
    return {name: path for path, name in sorted(name_of.items(), key=lambda item: item[1])}, segments


def _count(rows: Sequence[Row], root: Path) -> Account:
    account = Account()
    account.read[root] = len(rows)
    return account


def _check_recordings_differ(rows: Sequence[Row], clips: Sequence[Clip]) -> None:
    """Refuse two rows with the same sound, even through links: with two speakers it would be in training and test."""
    # Unlike Path.resolve, realpath accepts a link to itself. The cache holds the folders, which are few.
    resolve = lru_cache(maxsize=None)(lambda path: Path(os.path.realpath(path)))
    paths = [clip.path for clip in clips]
    recordings = [resolve(path) if path.is_symlink() else resolve(path.parent) / path.name for path in paths]
    places = [(path, clip.start, clip.end) for path, clip in zip(recordings, clips, strict=True)]
    counts = Counter(places)
    repeated = [row["path"] for row, place in zip(rows, places, strict=True) if counts[place] > 1]
    if repeated:
        raise SoctkError(
            f"{len(repeated)} rows share their recording with another row\n{listing(repeated)}",
            remedy="Keep one row for each recording, and remove links to folders that are in the corpus already. If "
            "the rows are parts of the recording, name the columns with their times in seconds: --column start=NAME "
            "--column end=NAME.",
        )


def _find_copies(
    utterances: Mapping[str, Row], clips: Mapping[str, Clip], digests: Mapping[str, str], account: Account
) -> set[str]:
    """Return the utterances whose recordings are copies. Some corpora contain a copy of their own folder.

    A copy has the file name, times, sound and labels of another row. If only the labels differ, both are kept, with a
    note.
    """
    same: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for utt, clip in clips.items():
        same[clip.path.name, clip.start, clip.end, digests[utt]].append(utt)
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
