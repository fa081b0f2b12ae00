"""The recordings of a published corpus, found by their names below a folder."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from filecmp import cmp
from glob import escape, glob
from pathlib import Path

from soctk.errors import SoctkError, listing


def find(corpus: Path, pattern: str) -> dict[str, list[Path]]:
    """Return name -> the recordings of that name, sorted, at any depth below `corpus`; links are followed.

    Args:
        corpus: the folder to search.
        pattern: of their file names, as glob has it; a name is a file name without its extension.
    """
    copies: dict[str, list[Path]] = defaultdict(list)
    # glob, as rglob does not follow links to folders
    for path in map(Path, sorted(glob(f"{escape(str(corpus))}/**/{pattern}", recursive=True))):  # noqa: PTH207
        copies[path.stem].append(path.absolute())
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
