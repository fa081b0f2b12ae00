"""Atomic writes: a file or a directory appears under its final name complete, or not at all."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from soctk.errors import SoctkError


@contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; rename it to `path` when the block ends without an exception.

    If the process is killed at any moment, the final name holds the old file, the new file or no file, never a part of
    one. A missing parent directory is created. If the block raises, the temporary file is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | os.PathLike) -> Iterator[Path]:
    """Yield an empty directory, `path`.unfinished; rename it to `path` when the block ends without an exception.

    Files that an interrupted run left in `path`.unfinished are removed first. If the block raises, the directory
    keeps the name `path`.unfinished, so that a user can inspect it.

    Raises:
        SoctkError: another process is filling the same directory.
        OSError: `path` exists and is not empty when the block ends.
    """
    path = Path(path)
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.mkdir(parents=True, exist_ok=True)
    with _locked(unfinished):
        for entry in unfinished.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        yield unfinished
        unfinished.replace(path)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory. The system releases the lock when the process ends, even if it is killed."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise SoctkError(
            "another process is writing to this directory",
            remedy="Wait until it has finished, or stop it.",
            where=directory,
        ) from error
    try:
        yield
    finally:
        os.close(handle)
