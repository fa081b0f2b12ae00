"""Atomic writes, where a file or a directory appears complete or not at all; and locks between processes."""

import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from soctk.errors import SoctkError

_LEFTOVER = ".soctk-*.tmp"
# Age after which a temporary file of another machine counts as left behind. Not all network file systems show locks to
# other machines. Writers fill a temporary file in seconds to minutes.
_LEFTOVER_SECONDS = 24 * 3600
_LOCK = ".lock"
# O_NOFOLLOW: a symbolic link that somebody has put in the place of the file is an error, instead of being followed.
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


@contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; rename it to `path` when the block ends without an exception.

    If the process is killed at any moment, the final name holds the old file, the new file or no file, never a part of
    one. A missing parent directory is created. If the block raises, the temporary file is removed. If `path` is a
    symbolic link, the link is replaced, not the file to which it points.

    The temporary file is new and its name is random, so that another user or a container with the same process ids
    cannot use it. It is locked while it is written; `remove_leftovers` removes it after its writer was killed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers_once(path.parent)
    try:
        temporary, handle = _create_temporary(path.parent)
    except OSError as error:
        error.filename = str(path)  # the name that the user knows, not the random one
        raise
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def atomic_directory(path: str | os.PathLike, kept: str = "") -> Iterator[Path]:
    """Yield a directory, `path`.unfinished; rename it to `path` when the block ends without an exception.

    Files that an interrupted run left in `path`.unfinished are removed first, except a file named `kept`. If the block
    raises, the directory keeps the name `path`.unfinished, so that a user can inspect it.

    Raises:
        SoctkError: another process is filling the same directory; `path`.unfinished is a link or a file, or belongs to
            another user; the file system has no locks.
        OSError: `path` exists and is not empty when the block ends.
    """
    path = Path(path)
    unfinished = path.with_name(f"{path.name}.unfinished")
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        unfinished.mkdir()
    directory = _open_own_directory(unfinished)
    try:
        lock = os.open(_LOCK, _FLAGS | os.O_CREAT, 0o666, dir_fd=directory)
        try:
            if not (_lock(lock, unfinished) and _is_still(directory, unfinished)):
                raise SoctkError(
                    "another process is writing to this directory",
                    remedy="Wait until it has finished, or stop it.",
                    where=unfinished,
                )
            _empty(directory, kept)
            yield unfinished
            unfinished.replace(path)
            os.unlink(_LOCK, dir_fd=directory)
        finally:
            os.close(lock)
    finally:
        os.close(directory)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of an existing file during the block; wait while another process holds it.

    The system releases the lock when the process ends, even if it is killed.

    Raises:
        SoctkError: the file system has no locks.
        OSError: the file does not exist.
    """
    while True:
        handle = os.open(path, _FLAGS)
        try:
            _lock(handle, path, wait=True)
            if _is_still(handle, path):  # otherwise another process has replaced the file in the meantime
                yield
                return
        finally:
            os.close(handle)


def require_utf8(path: Path) -> None:
    """Check that a path is valid UTF-8: safetensors, and libraries that use it, cannot open files at other paths.

    Raises:
        SoctkError: it is not.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise SoctkError(
            "the path is not UTF-8, and safetensors cannot open files there",
            remedy="Rename the directory (convmv converts names), or change into it and give a relative path.",
            where=path,
        ) from error


def remove_leftovers(directory: Path) -> None:
    """Remove the temporary files of `atomic` whose writers were killed; files of live writers are kept.

    A live writer holds the lock of its file. The lock is reliable between processes on the same kernel, containers
    included. A temporary file of another machine is removed only if it is also older than a day.
    """
    for path in directory.glob(_LEFTOVER):
        with suppress(OSError):  # removed by another process, or not ours to remove
            handle = os.open(path, _FLAGS | os.O_NONBLOCK)
            try:
                if _is_left_behind(handle, path):
                    path.unlink()
            finally:
                os.close(handle)


@cache
def _remove_leftovers_once(directory: Path) -> None:
    """Remove leftovers once per directory and process; a search before each of 100,000 files would take too long."""
    remove_leftovers(directory)


def _create_temporary(directory: Path) -> tuple[Path, int]:
    """Create a file with a random name, and lock it where the file system has locks; return its path and handle."""
    while True:
        path = directory / f"{_prefix()}{secrets.token_hex(8)}.tmp"
        handle = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(SoctkError):
            _lock(handle, path, wait=True)
        if _is_still(handle, path):
            return path, handle
        os.close(handle)  # another process removed the file as a leftover before it was locked


def _is_left_behind(handle: int, path: Path) -> bool:
    """Return whether the writer of an open temporary file has ended; its lock is then taken."""
    is_old = time.time() - os.fstat(handle).st_mtime > _LEFTOVER_SECONDS
    try:
        return (is_old or path.name.startswith(_prefix())) and _lock(handle, path)
    except SoctkError:  # no locks on this file system: only the age tells
        return is_old


@cache
def _prefix() -> str:
    """Return the start of the names of temporary files: it contains a name of this kernel since it has started."""
    try:
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:  # not Linux
        kernel = str(uuid.getnode())
    return f".soctk-{hashlib.sha256(kernel.encode()).hexdigest()[:8]}-"


def _lock(handle: int, where: Path, wait: bool = False) -> bool:
    """Lock an open file; return False if another process holds the lock and `wait` is False.

    Raises:
        SoctkError: the file system has no locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        raise SoctkError(
            f"this file system has no file locks ({error.strerror}), so two processes could write the same files",
            remedy="Use a directory on another file system, or mount this one with locks (Lustre: option flock).",
            where=where,
        ) from error
    return True


def _is_still(handle: int, path: Path) -> bool:
    """Return whether the path still names the open file or directory."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def _open_own_directory(path: Path) -> int:
    """Open a directory that belongs to this user; a symbolic link to one is refused.

    Raises:
        SoctkError: the path is a link or a file, or belongs to another user.
    """
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        kind = "belongs to another user" if stat.S_ISDIR(status.st_mode) else "is a link or a file, not a directory"
        raise SoctkError(f"it {kind}, so nothing is written to it", remedy="Remove it.", where=path)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _empty(directory: int, kept: str) -> None:
    """Remove everything except the lock and a file from an open directory; links are removed, not followed."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name == kept and entry.is_file(follow_symlinks=False):
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.name, dir_fd=directory)
            elif entry.name != _LOCK:
                os.unlink(entry.name, dir_fd=directory)
