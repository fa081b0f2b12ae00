"""Search for files in a folder tree, and for the recordings of a published corpus by name."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from filecmp import cmp
from fnmatch import fnmatchcase
from pathlib import Path

from soctk.errors import SoctkError, listing


def list_files(folder: Path, parents: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Yield the files at any depth below a folder, sorted, without hidden files and folders.

    Links to folders are followed, which rglob does not do, unless they lead back to a folder that contains them.

    Args:
        folder: the folder; if it is missing, nothing is yielded.
        parents: the resolved paths of the folders above this one; only the recursion gives them.
    """
    if not folder.is_dir():
        return
    parents |= {folder.resolve()}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        if not path.is_dir():  # also true for a link to itself, which cannot be resolved
            yield path
        elif not entry.is_symlink() or path.resolve() not in parents:
            yield from list_files(path, parents)


def find(corpus: Path, pattern: str) -> dict[str, list[Path]]:
    """Return name -> the recordings with that name, sorted, at any depth below `corpus`; links are followed.

    Args:
        corpus: the folder to search.
        pattern: the pattern of the file names, such as `*.wav` (fnmatch). Names are file names without the extension.
    """
    copies: dict[str, list[Path]] = defaultdict(list)
    for path in list_files(corpus.absolute()):
        if fnmatchcase(path.name, pattern):
            copies[path.stem].append(path)
    return dict(copies)


def first_of_each(copies: Mapping[str, Sequence[Path]], names: Iterable[str], corpus: Path, remedy: str) -> list[Path]:
    """Return the first recording of each name. Some published copies of a corpus hold each file twice.

    Args:
        copies: name -> the recordings with that name, from `find`.
        names: the names to look up in `copies`.
        corpus: the folder that was searched, for the message.
        remedy: what to do if two recordings differ.

    Raises:
        SoctkError: two recordings with the same name differ in content.
    """
    names = list(names)
    different = [name for name in names for other in copies[name][1:] if not cmp(copies[name][0], other, False)]
    if different:
        raise SoctkError(
            f"these files have the same name but different content\n{listing(different)}", remedy=remedy, where=corpus
        )
    return [copies[name][0] for name in names]
