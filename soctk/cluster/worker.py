"""What runs in a worker process: its set-up, the check of its files and versions, and the jobs."""

import os
import platform
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

from distributed import Worker, get_worker
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.system import MEMORY_LIMIT

from soctk import device, parallel, provenance
from soctk.errors import SoctkError, listing
from soctk.mappings import differences

# With other versions of these, a worker may not understand a job, or give other results.
_COMPARED = ("soctk", "torch", "numpy", "scipy", "transformers", "espnet-s3prl", "soundfile", "soxr", "numba",
             "onnxruntime", "opensmile", "dask", "distributed")  # fmt: skip
_SECONDS_TO_SEE_A_FILE = 60.0  # NFS shows a new file to other machines after up to a minute


@dataclass(frozen=True)
class Expected:
    """What each worker must have.

    Attributes:
        directory: the working directory of the client, so that relative paths mean the same.
        paths: files and directories that the worker must see.
        versions: the versions of packages.
        device: the device on which jobs compute.
    """

    directory: str
    paths: tuple[Path, ...]
    versions: dict[str, str]
    device: str = "cpu"


_checked: Expected | None = None  # what `check` has found in this process


class Logging(WorkerPlugin):
    """Writes the output of each worker on this machine to a file, and ends the worker with the client.

    Args:
        logs: the directory of the files.
    """

    name = "soctk"

    def __init__(self, logs: Path):
        self._logs = logs.absolute()

    def setup(self, worker: Worker) -> None:
        """Set up a worker."""
        with (self._logs / f"worker-{worker.name}.log").open("a") as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
        parallel.exit_after(os.getppid())


def check(expected: Expected) -> None:
    """Check that this worker sees the files of the client and has its versions and device, once for each client.

    Raises:
        SoctkError: it does not.
    """
    global _checked
    if _checked == expected:
        return
    host = socket.gethostname()
    threads = get_worker().state.nthreads
    if threads > 1:
        raise SoctkError(
            f"a worker on {host} has {threads} threads, and each of soctk's jobs needs its own process",
            remedy="Start the workers with one thread: dask worker ADDRESS --nthreads 1 --nworkers N, or in the file "
            "of a batch system cores: 1 (job_cpu asks for more processors).",
            where="--cluster",
        )
    with suppress(OSError):  # the check below reports it
        os.chdir(expected.directory)
    deadline = time.monotonic() + _SECONDS_TO_SEE_A_FILE
    while missing := [path for path in (Path(expected.directory), *expected.paths) if not path.exists()]:
        if time.monotonic() > deadline:
            raise SoctkError(
                f"a worker on {host} does not see\n{listing(map(str, missing))}",
                remedy="Use directories on a file system that all workers mount, under the same paths.",
                where="--cluster",
            )
        time.sleep(1)
    if lines := differences(expected.versions, versions(), names=("here", f"in a worker on {host}")):
        raise SoctkError(
            f"a worker has other versions\n{listing(lines)}",
            remedy="Use one environment for all, such as this checkout's .venv on a shared file system.",
            where="--cluster",
        )
    device.resolve(expected.device)
    parallel.use_one_thread()
    _checked = expected


def versions() -> dict[str, str]:
    """Return the versions in this process that could change results."""
    found = {"python": platform.python_version(), "commit of soctk": provenance.commit()}
    for package in _COMPARED:
        with suppress(PackageNotFoundError):
            found |= provenance.versions(package)
    return found


def memory() -> tuple[str, int, bool]:
    """Return the host, the bytes of memory that this worker may use, and whether it shares them with other workers."""
    limit = get_worker().memory_manager.memory_limit
    return socket.gethostname(), limit or MEMORY_LIMIT, not limit


def identity(value: Any) -> Any:
    """Return the value: Dask keeps the result of this function in the worker, for all jobs that share it."""
    return value


def do(expected: Expected, function: Callable[..., Any], shared: Sequence[Any], arguments: Sequence[Any]) -> Any:
    """Do a job in a worker."""
    check(expected)
    return function(*shared, *arguments)
