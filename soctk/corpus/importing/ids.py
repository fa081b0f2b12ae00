"""Ids of utterances and recordings, made from speakers, paths and times."""

import os.path
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from soctk.corpus import names
from soctk.corpus.importing.rows import Row
from soctk.corpus.kaldi_files import check_words
from soctk.corpus.segments import Clip
from soctk.errors import SoctkError, listing


def name_utterances(rows: Sequence[Row], clips: Sequence[Clip], root: Path) -> list[str]:
    """Return the id of each utterance: the speaker, if it is known, and the file name, or the path if names repeat.

    Utterances of a recording with several rows have their times too, in ms. A row with its own id (`utterance`) keeps
    it, after the speaker.

    Raises:
        SoctkError: utterances would have the same id, or ids that look alike; or an id is not one word in UTF-8.
    """
    count_of = Counter(clip.path for clip in clips)
    times = [_times(clip) if count_of[clip.path] > 1 else "" for clip in clips]
    stems = [clip.path.stem for clip in clips]
    ids = [_make_id(row, name + time) for row, name, time in zip(rows, stems, times, strict=True)]
    if len(set(ids)) < len(ids):
        ids = [
            _make_id(row, _join_path(clip.path, root) + time)
            for row, clip, time in zip(rows, clips, times, strict=True)
        ]
    _check_differ(ids, [f"{row['path']}{time}" for row, time in zip(rows, times, strict=True)])
    names.check_spelling("utterances", ids, numbers=False)
    check_words([*ids, *(names.to_word(row["emotion"]) for row in rows if row.get("emotion"))], root)
    return ids


def name_recordings(paths: Sequence[Path], root: Path, given: Mapping[Path, str]) -> dict[Path, str]:
    """Return path -> the id of the recording: the file name without extension, or the path if names repeat.

    Args:
        paths: the paths of the recordings.
        root: the folder from which relative paths start.
        given: path -> the id that the rows give (`recording`), if they do.

    Raises:
        SoctkError: recordings would have the same id, or an id is not one word in UTF-8.
    """
    paths = list(dict.fromkeys(paths))
    ids = [names.to_word(given.get(path) or path.stem) for path in paths]
    if len(set(ids)) < len(ids):
        ids = [names.to_word(given.get(path) or _join_path(path, root)) for path in paths]
    _check_differ(ids, list(map(str, paths)))
    check_words(ids, root)
    return dict(zip(paths, ids, strict=True))


def _times(clip: Clip) -> str:
    """Return start and end in ms, with a width that sorts them."""
    end = "end" if clip.end is None else f"{round(1000 * clip.end):07d}"
    return f"-{round(1000 * clip.start):07d}-{end}"


def _join_path(path: Path, root: Path) -> str:
    """Return the folders below `root` and the name of a file as one name; an absolute path gives the same."""
    parts = Path(os.path.relpath(path, root.absolute())).with_suffix("").parts
    return "-".join(part for part in parts if part != "..").strip("/-")


def _make_id(row: Row, name: str) -> str:
    """Return SPEAKER-NAME; if the name begins with the speaker, that part is dropped from the name."""
    speaker = names.to_word(row.get("speaker", ""))
    name = names.to_word(row.get("utterance") or name)
    if row.get("utterance") and name.startswith(speaker):
        return name
    rest = name.removeprefix(speaker)
    if speaker and len(rest) < len(name) and rest[:1] in ("-", "_", "."):
        name = rest.lstrip("-_.")
    return f"{speaker}-{name}" if speaker else name


def _check_differ(ids: Sequence[str], places: Sequence[str]) -> None:
    """Raise SoctkError, with the places of the recordings, if two of them have the same id."""
    places_of: dict[str, list[str]] = defaultdict(list)
    for name, place in zip(ids, places, strict=True):
        places_of[name].append(place)
    repeated = [f"{name}: {' and '.join(its)}" for name, its in places_of.items() if len(its) > 1]
    if repeated:
        raise SoctkError(
            f"several recordings would have the same utterance id\n{listing(repeated)}", remedy="Rename the files."
        )
