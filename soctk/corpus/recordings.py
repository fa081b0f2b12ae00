"""Files below a folder, and among them the recordings of a published corpus, found by their names."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from filecmp import cmp
from fnmatch import fnmatchcase
from pathlib import Path

from soctk.errors import SoctkError, listing


def below(folder: Path, inside: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Yield the files at any depth below a folder, sorted, but those that are hidden or in hidden folders.

    Links to folders are followed, as rglob does not, except to one of the folders that they are in.

    Args:
        folder: the folder; may be missing.
        inside: the folders that it is in, without links, as far as they are being searched.
    """
    if not folder.is_dir():
        return
    inside |= {folder.resolve()}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        if not path.is_dir():  # a link to itself is none
            yield path
        elif not entry.is_symlink() or path.resolve() not in inside:
            yield from below(path, inside)


def find(corpus: Path, pattern: str) -> dict[str, list[Path]]:
    """Return name -> the recordings of that name, sorted, at any depth below `corpus`; links are followed.

    Args:
        corpus: the folder to search.
        pattern: of their file names, as fnmatch has it; a name is a file name without its extension.
    """
    copies: dict[str, list[Path]] = defaultdict(list)
    for path in below(corpus.absolute()):
        if fnmatchcase(path.name, pattern):
            copies[path.stem].append(path)
    return dict(copies)


def first_of_each(copies: Mapping[str, Sequence[Path]], names: Iterable[str], corpus: Path, remedy: str) -> list[Path]:
    """Return the first recording of each name; copies of a corpus are about that hold each file twice.

    Raises:
        SoctkError: two recordings of the same name differ in content.
    """
    names = list(names)
    different = [name for name in names for other in copies[name][1:] if not cmp(copies[name][0], other, False)]
    if different:
        raise SoctkError(
            f"there are files of the same name and different content\n{listing(different)}", remedy=remedy, where=corpus
        )
    return [copies[name][0] for name in names]
