"""Search for the recordings of rows, also where the file system spells a path in other Unicode characters."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from soctk.corpus import audio, names
from soctk.corpus.importing.rows import Row
from soctk.errors import SoctkError, listing, plural
from soctk.progress import track


@dataclass(frozen=True)
class _Folder:
    """The names in a folder.

    Attributes:
        by_form: normalised form, and skeleton -> the names with this form.
        by_stem: normalised form without the extension -> the names of audio files.
    """

    by_form: Mapping[str, Sequence[str]]
    by_stem: Mapping[str, Sequence[str]]


def locate(rows: Sequence[Row], root: Path) -> list[Row]:
    """Return the rows with the paths of existing files.

    A path that differs from the name of one file only in Unicode forms, invisible characters or blanks, or has the
    backslashes of Windows, gets this name. Other missing files keep their paths; audio.check reports them.

    Args:
        rows: rows with paths.
        root: the folder from which relative paths start.

    Raises:
        SoctkError: a path contains characters that no file name can contain, or differs from the name of a file only in
            capital letters, in characters of the same shape, or in its extension.
    """
    folders: dict[Path, _Folder] = {}
    located, alike, impossible = [], [], []
    for row in track(rows, "find recordings", "file"):
        path = row["path"]
        try:
            os.fsencode(path)
            exists = "\0" not in path and os.path.lexists(root / path)
            if "\0" in path:
                raise ValueError
        except ValueError:
            impossible.append(ascii(path))
            continue
        except OSError:  # such as a name that is too long
            exists = False
        if not exists:
            found, similar = _search(root, path.replace("\\", "/"), folders)
            if found:
                path = found
            elif similar:
                alike.append(f"{path!a}: the file system has {similar!a}")
        located.append({**row, "path": path})
    if impossible:
        raise SoctkError(
            f"{plural(len(impossible), 'path')} that cannot be file names\n{listing(impossible)}",
            remedy="Correct these paths.",
        )
    if alike:
        raise SoctkError(
            f"{plural(len(alike), 'recording')} missing, but there are files with similar names\n{listing(alike)}",
            remedy="Spell the paths like the files.",
            where=root,
        )
    return located


def _search(root: Path, path: str, folders: dict[Path, _Folder]) -> tuple[str | None, str | None]:
    """Return the existing path that equals `path` after normalisation, and one that only looks like it.

    A file with another extension looks like it if no other audio file has its name.
    """
    folder, is_alike = Path(root), False
    found = Path()
    for part in Path(path).parts:
        if part in ("..", os.sep):
            found, folder = found / part, folder / part
            continue
        if folder not in folders:
            folders[folder] = _list_names(folder)
        entries = folders[folder]
        same = entries.by_form.get(names.normalise(part), [])
        alike = [name for name in entries.by_form.get(names.skeleton(part, numbers=False), []) if name not in same]
        others = entries.by_stem.get(_stem(part), [])
        alike += others if len(others) == 1 and not alike else []
        match = part if part in same else same[0] if len(same) == 1 else alike[0] if alike and not same else None
        if match is None:
            return None, None
        is_alike |= match not in same
        found, folder = found / match, folder / match
    return (None, str(found)) if is_alike else (str(found), None)


def _list_names(folder: Path) -> _Folder:
    by_form: dict[str, list[str]] = defaultdict(list)
    by_stem: dict[str, list[str]] = defaultdict(list)
    try:
        entries = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        entries = []
    for name in entries:
        for form in {names.normalise(name), names.skeleton(name, numbers=False)}:
            by_form[form].append(name)
        if _has_extension(name):
            by_stem[_stem(name)].append(name)
    return _Folder(by_form, by_stem)


def _stem(name: str) -> str:
    return names.normalise(Path(name).stem if _has_extension(name) else name)


def _has_extension(name: str) -> bool:
    return Path(name).suffix.lower() in audio.SUFFIXES
