"""A claim on the runs of an experiment, so that two processes do not train the same runs at the same time."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from soctk.errors import SoctkError
from soctk.scoring.runs import RunDirectory

_LOCK = ".lock"
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


@contextmanager
def claim(experiment: Path, runs: Sequence[RunDirectory]) -> Iterator[None]:
    """Claim runs during the block. Other processes may train other runs of the experiment in the meantime.

    Each run has its own byte of the file `.lock` in the experiment, and a claim is a POSIX lock of this byte. The
    system releases the locks when the process ends, even if it is killed; the file stays.

    Raises:
        SoctkError: another process has claimed one of the runs.
        OSError: the file cannot be written, or the file system has no locks.
    """
    experiment.mkdir(parents=True, exist_ok=True)
    handle = os.open(experiment / _LOCK, _FLAGS, 0o666)
    try:
        taken = [str(run) for run in runs if not _lock(handle, run)]
        if taken:
            others = f" and {len(taken) - 1} more runs" if len(taken) > 1 else ""
            raise SoctkError(
                f"another process is training {taken[0]}{others} of this experiment",
                remedy="Wait until it has finished, or train other folds or seeds in the meantime.",
                where=experiment,
            )
        yield
    finally:
        os.close(handle)


def _lock(handle: int, run: RunDirectory) -> bool:
    """Lock the byte of a run; return False if another process holds the lock."""
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, (run.fold << 32) + run.seed)
    except (BlockingIOError, PermissionError):  # POSIX allows EAGAIN and EACCES
        return False
    return True
