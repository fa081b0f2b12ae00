"""Files that appear whole or not at all."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from soctk.errors import SoctkError


@contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; rename it to `path` when the block ends well.

    A process killed at any moment leaves either the old file, the new file or no file under the final name. The
    directory is made if it is missing; a block that raises leaves nothing behind.
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
    """Yield the empty directory `path`.unfinished to fill; rename it to `path` when the block ends well.

    What an interrupted run left in `path`.unfinished is removed first; a block that raises leaves it to be looked at.

    Raises:
        SoctkError: another process is filling it.
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
    """Hold the lock of a directory; the system takes it back from a process that ends, however it ends."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise SoctkError(
            "another process is at work on it", remedy="Wait until it has ended, or end it.", where=directory
        ) from error
    try:
        yield
    finally:
        os.close(handle)
