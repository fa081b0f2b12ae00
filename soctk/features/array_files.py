"""Features in the files of other toolkits: folders of .npy files, Kaldi's ark and scp files, and HDF5.

Nothing is unpickled, and no command in an scp file is run.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from soctk.corpus.kaldi_files import read_lines
from soctk.corpus.recordings import list_files
from soctk.errors import SoctkError, listing, missing_package

KALDI_SCP = "feats.scp"

_HDF5 = (".h5", ".hdf5", ".hdf")
_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".npz")
_OBJECTS = "it holds Python objects (a pickle), which soctk never reads"
# Kaldi's binary matrices and vectors begin with _BINARY, texts with a bracket. kaldiio would also read other entries,
# and unpickle those that begin with PKL.
_BINARY = b"\0B"
_ARK_PLACE = re.compile(r"(.*?)(?::(\d+))?(\[[\d:,]*\])?", re.DOTALL)
_KINDS = f"a folder with a file UTTERANCE.npy for each utterance, Kaldi's .scp or .ark, or HDF5 ({', '.join(_HDF5)})"


class Unreadable(str):
    """The reason why the features of an utterance cannot be read."""


# The name of an utterance and its array, or the reason why it cannot be read.
Item = tuple[str, np.ndarray | Unreadable]


def find_reader(path: Path) -> Callable[[], Iterator[Item]]:
    """Return a function that reads the features of all utterances at a path, one after the other.

    Args:
        path: a folder with a file UTTERANCE.npy for each utterance, at any depth; Kaldi's .scp or .ark file, or a data
            directory with feats.scp; or an HDF5 file with a dataset for each utterance.

    Raises:
        SoctkError: the path is of no known kind, a package is missing, or the scp file is malformed or has commands.
            The returned function raises it for an .ark or HDF5 file that is damaged.
    """
    if path.is_dir() and (path / KALDI_SCP).is_file():
        path = path / KALDI_SCP
    if path.is_dir():
        files = _list_npy(path)
        return lambda: ((file.stem, _read_npy(file)) for file in files)
    suffix = path.suffix.lower()
    if suffix == ".scp":
        _import("kaldiio", path)
        places = _read_scp(path)
        return lambda: ((utt, _read_place(place, path.parent)) for utt, place in places)
    if suffix == ".ark":
        _import("kaldiio", path)
        return lambda: _read_ark(path)
    if suffix in _HDF5:
        _import("h5py", path)
        return lambda: _read_hdf5(path)
    what = _OBJECTS if suffix in _PICKLES else "soctk cannot read features from this kind of file"
    raise SoctkError(what, remedy=f"Write the features as {_KINDS}.", where=path)


def _import(package: str, where: Path) -> None:
    """Check that an optional package is installed.

    Raises:
        SoctkError: it is not.
    """
    try:
        __import__(package)
    except ImportError as error:
        raise missing_package(package, "formats", "reading this file", where) from error


def _list_npy(folder: Path) -> list[Path]:
    files = list(list_files(folder))
    found = [file for file in files if file.suffix.lower() == ".npy"]
    if not found:
        suffixes = Counter(file.suffix.lower() or "no extension" for file in files).most_common(5)
        others = "; it has " + ", ".join(f"{suffix} {count}" for suffix, count in suffixes) if suffixes else ""
        raise SoctkError(
            f"no .npy file in this folder{others}", remedy=f"Write the features as {_KINDS}.", where=folder
        )
    return found


def _read_npy(file: Path) -> np.ndarray | Unreadable:
    try:
        with file.open("rb") as content:
            return np.lib.format.read_array(content, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        return _unreadable(error)


def _read_scp(path: Path) -> list[tuple[str, str]]:
    """Return the utterances with the places of their matrices: FILE or FILE:OFFSET."""
    places, problems = [], []
    for number, line in enumerate(read_lines(path), start=1):
        utt, *place = line.split(maxsplit=1) or [line]
        if not place:
            problems.append(f"line {number}: '{line}' is not an utterance, a space and a place")
        elif "|" in place[0]:
            problems.append(f"{utt} is a command, and soctk runs no commands: {place[0]}")
        else:
            places.append((utt, place[0]))
    if problems:
        raise SoctkError(
            f"not a list of features that soctk can read\n{listing(problems)}",
            remedy="Write the features to an ark file: copy-feats scp:FILE.scp ark,scp:NEW.ark,NEW.scp.",
            where=path,
        )
    return places


def _read_place(place: str, folder: Path) -> np.ndarray | Unreadable:
    """Return a matrix at FILE:OFFSET; a relative FILE starts from the working directory, or else from `folder`."""
    file, offset, rows = _ARK_PLACE.fullmatch(place).groups()  # type: ignore[union-attr]
    if rows:
        return Unreadable(f"a part {rows} of a matrix, which soctk does not read; copy-feats writes it as a matrix")
    ark = next((path for path in (Path(file), folder / file) if path.is_file()), None)
    if ark is None:
        return Unreadable(f"the file {file} is missing")
    try:
        with ark.open("rb") as content:
            content.seek(int(offset or 0))
            return _read_matrix(content)
    except Exception as error:  # kaldiio raises errors of many classes
        return _unreadable(error)


def _read_ark(path: Path) -> Iterator[Item]:
    utt = ""
    with path.open("rb") as content:
        while True:
            try:
                name = _read_name(content)
                if not name:
                    return
                utt = name.decode("utf-8")
                matrix = _read_matrix(content)
            except Exception as error:  # kaldiio raises errors of many classes
                raise SoctkError(
                    f"damaged at or after the utterance {utt!a} ({_describe(error)})",
                    remedy="Write the file again, such as with copy-feats.",
                    where=path,
                ) from error
            yield utt, matrix


def _read_name(content: IO[bytes]) -> bytes:
    """Return the bytes before the next space; none at the end of the file."""
    name = bytearray()
    while (byte := content.read(1)) not in (b" ", b""):
        name += byte
    return bytes(name).strip()


def _read_matrix(content: IO[bytes]) -> np.ndarray:
    """Read a matrix or a vector, binary, compressed or as text.

    Raises:
        Exception: of any class, if it is damaged or something else.
    """
    from kaldiio.matio import read_kaldi

    start = content.tell()
    first = content.read(8)
    content.seek(start)
    if not first.startswith(_BINARY) and not first.strip().startswith(b"["):
        if first.startswith(b"PKL"):
            raise ValueError(_OBJECTS)
        raise ValueError("it is not a Kaldi matrix")
    return read_kaldi(content)


def _read_hdf5(path: Path) -> Iterator[Item]:
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise SoctkError(
            f"damaged, or no HDF5 file ({_describe(error)})", remedy="Write the file again.", where=path
        ) from error
    with file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in names:
            yield name.rpartition("/")[2], _read_dataset(file[name])


def _read_dataset(dataset: Any) -> np.ndarray | Unreadable:
    if dataset.external:
        return Unreadable("its values are in another file, which soctk does not read")
    try:
        return np.asarray(dataset[()])
    except Exception as error:  # h5py raises errors of many classes
        return _unreadable(error)


def _unreadable(error: Exception) -> Unreadable:
    return Unreadable(_OBJECTS if "allow_pickle" in str(error) else _describe(error))


def _describe(error: Exception) -> str:
    return (str(error).partition("\n")[0] or type(error).__name__)[:200]
