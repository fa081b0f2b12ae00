"""What runs in a worker process: its set-up, the check of its files and versions, and the jobs."""

import os
import platform
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Worker, get_worker
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.system import MEMORY_LIMIT

from soctk import parallel, provenance
from soctk.errors import SoctkError, listing
from soctk.mappings import differences

# Results could differ between workers with other versions of these.
_COMPARED = ("soctk", "torch", "numpy", "scipy", "transformers", "dask", "distributed")
_SECONDS_TO_SEE_A_FILE = 60.0  # NFS shows a new file to other machines after up to a minute


@dataclass(frozen=True)
class Expected:
    """What each worker must have.

    Attributes:
        directory: the working directory, so that relative paths mean the same.
        paths: files and directories that it must see.
        versions: the versions of packages.
    """

    directory: str
    paths: Sequence[Path]
    versions: dict[str, str]


_expected: Expected | None = None
_is_checked = False


class SetUp(WorkerPlugin):
    """Sets up each worker when it starts.

    Args:
        expected: what the worker must have; `check` compares.
        logs: the directory for the output of a worker that a client on this machine has started; None if its batch
            system or host writes the output elsewhere.
    """

    name = "soctk"

    def __init__(self, expected: Expected, logs: Path | None):
        self._expected, self._logs = expected, logs and logs.absolute()

    def setup(self, worker: Worker) -> None:
        """Set up a worker."""
        global _expected, _is_checked
        _expected, _is_checked = self._expected, False
        if self._logs is not None:
            with (self._logs / f"worker-{worker.name}.log").open("a") as file:
                for stream in (1, 2):
                    os.dup2(file.fileno(), stream)
            parallel.exit_after(os.getppid())


def check() -> None:
    """Check that this worker sees the files of the client and has its versions.

    Raises:
        SoctkError: it does not.
    """
    global _is_checked
    if _is_checked or _expected is None:
        return
    host = socket.gethostname()
    threads = get_worker().state.nthreads
    if threads > 1:
        raise SoctkError(
            f"a worker on {host} has {threads} threads, and soctk's jobs need a process each",
            remedy="Start the workers with one thread: dask worker ADDRESS --nthreads 1 --nworkers N.",
            where="--cluster",
        )
    with suppress(OSError):  # the check below reports it
        os.chdir(_expected.directory)
    deadline = time.monotonic() + _SECONDS_TO_SEE_A_FILE
    while missing := [path for path in (Path(_expected.directory), *_expected.paths) if not path.exists()]:
        if time.monotonic() > deadline:
            raise SoctkError(
                f"a worker on {host} does not see\n{listing(map(str, missing))}",
                remedy="Use directories on a file system that all workers mount, under the same paths.",
                where="--cluster",
            )
        time.sleep(1)
    if lines := differences(_expected.versions, versions(), names=("here", f"in a worker on {host}")):
        raise SoctkError(
            f"a worker has other versions\n{listing(lines)}",
            remedy="Use one environment for all, such as this checkout's .venv on a shared file system.",
            where="--cluster",
        )
    parallel.use_one_thread()
    _is_checked = True


def versions() -> dict[str, str]:
    """Return the versions in this process that could change results."""
    return {"python": platform.python_version(), **provenance.versions(*_COMPARED)}


def memory() -> tuple[str, int, bool]:
    """Return the host, the bytes of memory that this worker may use, and whether it shares them with other workers."""
    limit = get_worker().memory_manager.memory_limit
    return socket.gethostname(), limit or MEMORY_LIMIT, not limit


def identity(value: Any) -> Any:
    """Return the value: Dask keeps the result of this function in the worker, for all jobs that share it."""
    return value


def do(function: Callable[..., Any], shared: Sequence[Any], arguments: Sequence[Any]) -> Any:
    """Do a job in a worker."""
    check()
    return function(*shared, *arguments)
