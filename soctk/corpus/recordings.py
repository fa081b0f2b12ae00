"""Search for files in a folder tree, and for the recordings of a published corpus by name."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from filecmp import cmp
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from soctk.corpus import audio, names
from soctk.errors import SoctkError, listing, plural


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


def find_expected(
    corpus: Path,
    pattern: str,
    expected: Sequence[str],
    remedy: str,
    tell: Callable[[str], object],
    partial: bool = False,
) -> dict[str, Path]:
    """Return name -> recording for the recordings of a published corpus.

    Args:
        corpus: the folder to search, at any depth.
        pattern: the pattern of the file names (`find`).
        expected: the names of all recordings, without extension.
        remedy: how to get a whole copy.
        tell: is called with a line about repeated files, unknown files and an incomplete copy.
        partial: whether to use an incomplete copy; otherwise missing recordings are an error.

    Raises:
        SoctkError: recordings are missing (with `partial`: all of them), or two recordings with the same name differ.
    """
    copies = find(corpus, pattern)
    paths = choose(copies, expected, corpus, remedy, tell, partial)
    unknown = sorted(copies.keys() - set(expected))
    if unknown:
        others = plural(len(unknown), "file is", "files are")
        tell(f"Note: {others} not part of the corpus and not used, such as {unknown[0]}")
    return paths


def choose(
    copies: Mapping[str, Sequence[Path]],
    expected: Sequence[str],
    corpus: Path,
    remedy: str,
    tell: Callable[[str], object],
    partial: bool | None = None,
    describe: Callable[[Sequence[str]], Iterable[str]] = list,
) -> dict[str, Path]:
    """Return name -> recording for the expected names, in their order.

    Args:
        copies: name -> the recordings with that name, from `find`.
        expected: the names of all recordings.
        corpus: the folder that was searched, for messages.
        remedy: how to get a whole copy.
        tell: is called with a line about repeated files and about an incomplete copy.
        partial: whether to use an incomplete copy; None if the recipe has no option for it.
        describe: returns the lines that name the missing recordings.

    Raises:
        SoctkError: recordings are missing (with `partial`: all of them), or two recordings with the same name differ.
    """
    present = [name for name in expected if name in copies]
    missing = [name for name in expected if name not in copies]
    what = f"{len(missing)} of the {len(expected)} recordings are missing\n{listing(list(describe(missing)))}"
    if missing and not (partial and present):
        hint = " To use an incomplete copy, give --partial true." if present and partial is not None else ""
        raise SoctkError(what, remedy=f"{remedy}{hint}", where=corpus)
    if missing:
        tell(f"Warning: {what}\nResults cannot be compared with published ones.")
    paths = first_of_each(copies, present, corpus, remedy)
    repeated = sum(len(copies[name]) > 1 for name in present)
    if repeated:
        tell(f"{corpus} contains {plural(repeated, 'file')} more than once; the first copy of each is used")
    return dict(zip(present, paths, strict=True))


def match(corpus: Path, paths: Iterable[str], remedy: str) -> dict[str, Path]:
    """Return path -> the recording below `corpus` with the same name whose folders agree best, from the last one on.

    Names are compared in normalised Unicode. If no file has the name, a recording with another extension counts, such
    as a WAV file that was made of a video. Each recording is used once, for the path that agrees best. Paths without a
    recording are left out.

    Args:
        corpus: the folder to search, at any depth.
        paths: paths of recordings as the metadata of a corpus give them.
        remedy: what to do if several recordings are equally good.

    Raises:
        SoctkError: several recordings with different content agree equally well.
    """
    by_end: dict[tuple[str, ...], list[Path]] = defaultdict(list)  # the last folders and the name -> files
    for file in list_files(corpus.absolute()):
        parts = tuple(names.normalise(part) for part in file.parts[1:])
        stem = (*parts[:-1], names.normalise(file.stem)) if file.suffix.lower() in audio.SUFFIXES else ()
        for end in (parts, stem):
            for length in range(1, len(end) + 1):
                by_end[end[-length:]].append(file)
    matches = {path: _longest_end(by_end, PurePosixPath(names.normalise(path))) for path in paths}
    found: dict[str, Path] = {}
    ambiguous: list[str] = []
    used: set[Path] = set()
    for path, (_, files) in sorted(matches.items(), key=lambda item: -item[1][0]):
        free = [file for file in files if file not in used]
        if free:
            found[path] = free[0]
            used.update(free)
        if any(not cmp(free[0], other, False) for other in free[1:]):
            ambiguous.append(f"{path}: {free[0]} and {free[1]}")
    if ambiguous:
        raise SoctkError(
            f"{plural(len(ambiguous), 'path has', 'paths have')} several recordings with different content\n"
            f"{listing(ambiguous)}",
            remedy=remedy,
            where=corpus,
        )
    return found


def _longest_end(by_end: Mapping[tuple[str, ...], list[Path]], path: PurePosixPath) -> tuple[int, list[Path]]:
    """Return the number of parts, from the last one on, that files have in common with a path, and these files."""
    for parts in (path.parts, (*path.parts[:-1], path.stem)):
        for length in range(len(parts), 0, -1):
            if parts[-length:] in by_end:
                return length, by_end[parts[-length:]]
    return 0, []
