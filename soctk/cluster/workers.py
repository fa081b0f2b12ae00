"""Starts workers by Dask: processes on this machine or on others, or jobs of a batch system."""

import importlib.util
import logging
import secrets
import shlex
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dask
from distributed import Client, LocalCluster, Security, SpecCluster, SSHCluster

from soctk import progress
from soctk.cluster import worker
from soctk.cluster.executor import DEATHS, DaskExecutor
from soctk.errors import SoctkError, missing_package
from soctk.schema import ClusterConfig

_SECONDS_TO_CONNECT = 20
_BATCH = {  # the classes of dask-jobqueue
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "oar": "OARCluster",
    "htcondor": "HTCondorCluster",
    "moab": "MoabCluster",
}
_DASK = {
    "distributed.scheduler.allowed-failures": DEATHS - 1,
    "distributed.scheduler.active-memory-manager.start": False,  # it would drop what jobs share between two jobs
    "distributed.admin.large-graph-warning-threshold": "1 TB",  # what jobs share is sent once
}


@contextmanager
def started(
    settings: ClusterConfig | str, device: str, output: Path, inputs: Sequence[Path]
) -> Iterator[tuple[DaskExecutor, str]]:
    """Start workers, or use those of a running scheduler; check the first ones. After the block, stop the started ones.

    Args:
        settings: the cluster, or the address of a scheduler.
        device: see soctk.cluster.option.open_cluster.
        output: see soctk.cluster.option.open_cluster.
        inputs: see soctk.cluster.option.open_cluster.

    Raises:
        SoctkError: see soctk.cluster.option.open_cluster.
    """
    logs = output / "log"
    logs.mkdir(parents=True, exist_ok=True)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # it would report each lost worker many times
    with ExitStack() as stack:
        token = stack.enter_context(_token(logs))
        stack.enter_context(dask.config.set(_DASK))
        start_missing: Callable[[], None]
        if isinstance(settings, str):
            client, start_missing = stack.enter_context(_connect(settings)), _leave
        else:
            cluster = stack.enter_context(_start(settings, logs))
            client, start_missing = stack.enter_context(_connect(cluster)), partial(_fill, cluster, settings)
            if settings.kind == "local":
                client.register_plugin(worker.Logging(logs))
        if importlib.util.find_spec("bokeh"):  # without it, Dask has no dashboard
            progress.message(f"Dask's dashboard: {client.dashboard_link}")
        seen = (token, *(path.absolute() for path in inputs))
        expected = worker.Expected(str(Path.cwd()), seen, worker.versions())
        on_each_host = settings.workers if not isinstance(settings, str) and settings.kind not in _BATCH else 1
        executor = DaskExecutor(client, expected, _hint(settings, logs), start_missing, on_each_host)
        yield executor, executor.check_workers(device)


def _hint(settings: ClusterConfig | str, logs: Path) -> str:
    """Return a sentence that says where to look if there are no workers, or if they die."""
    if isinstance(settings, str):
        return "See the logs of the scheduler and of its workers."
    if settings.kind in _BATCH:
        return f"See the queue of {settings.kind}, and the logs of the workers in {logs}."
    return f"See the logs of the workers in {logs}." if settings.kind == "local" else "See the hosts of the workers."


def _leave() -> None:
    """Start no workers: those of a running scheduler are not ours."""


@contextmanager
def _token(logs: Path) -> Iterator[Path]:
    """Yield a new file in the directory of the logs: a worker that does not see it has another file system."""
    path = (logs / f".{socket.gethostname()}-{secrets.token_hex(8)}").absolute()
    path.touch()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _start(settings: ClusterConfig, logs: Path) -> Iterator[SpecCluster]:
    """Start the workers: each is a process with one thread. The connections are encrypted and need a certificate.

    Raises:
        SoctkError: the batch system or a host refuses, or an option of the file is wrong.
    """
    try:
        cluster = _make(settings, logs)
        cluster.sync(cluster._correct_state)  # `scale` would start the workers in the background, and hide errors
    except ImportError as error:
        raise missing_package(error.name or "dask-jobqueue", "cluster", f"kind: {settings.kind}") from error
    except SoctkError:
        raise
    except Exception as error:  # each batch system, and ssh, has its own
        raise SoctkError(
            f"the workers cannot be started ({type(error).__name__}: {error})",
            remedy="Check `kind`, `hosts` and `options` in the cluster file. The page 'On a cluster' has examples.",
            where="--cluster",
        ) from error
    with cluster:
        yield cluster


def _make(settings: ClusterConfig, logs: Path) -> SpecCluster:
    """Return the cluster, with the specification of its workers."""
    given: dict[str, Any] = settings.options
    if settings.kind == "local":
        options = {"protocol": "tls://", "security": Security.temporary(), "memory_limit": 0, "dashboard_address": ":0"}
        silent = {"silence_logs": logging.CRITICAL}
        cluster = LocalCluster(**{"n_workers": 0, "threads_per_worker": 1, **silent, **options, **given})
        for number in range(settings.workers):
            gpu = {"CUDA_VISIBLE_DEVICES": str(number)} if settings.gpus else {}
            own = cluster.new_spec["options"]
            cluster.worker_spec[number] = {**cluster.new_spec, "options": {**own, "env": {**own.get("env", {}), **gpu}}}
        return cluster
    if settings.kind == "ssh":
        own = {"nthreads": 1, "n_workers": settings.workers, "memory_limit": 0}
        each = {**own, **given.get("worker_options", {})}
        # The scheduler runs on the first host. A shell there reads the path of Python.
        python = {"remote_python": shlex.quote(sys.executable)}
        return SSHCluster([settings.hosts[0], *settings.hosts], **{**python, **given, "worker_options": each})
    import dask_jobqueue

    folder = str(logs.absolute())
    if len(folder.split()) > 1:
        raise SoctkError(
            "the path contains a space, which batch systems do not allow in the path of a log",
            remedy="Use a path without spaces, or --cluster local:N.",
            where=folder,
        )
    options = {"cores": 1, "processes": 1, "security": True, "shared_temp_directory": folder, "log_directory": folder}
    places = {"python": shlex.quote(sys.executable), "local_directory": tempfile.gettempdir()}
    cluster = getattr(dask_jobqueue, _BATCH[settings.kind])(**{**options, **places, **given})
    for _ in range(settings.workers):
        cluster.worker_spec.update(cluster.new_worker_spec())
    return cluster


def _fill(cluster: Any, settings: ClusterConfig) -> None:
    """Start workers in the place of lost ones. A job of a batch system may have several."""
    if settings.kind in _BATCH:
        cluster.scale(jobs=settings.workers)
    else:
        cluster.scale(len(settings.hosts) if settings.kind == "ssh" else settings.workers)


@contextmanager
def _connect(to: SpecCluster | str) -> Iterator[Client]:
    """Connect to a scheduler.

    Raises:
        SoctkError: none answers at this address.
    """
    try:
        client = Client(to, timeout=_SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        raise SoctkError(
            f"no Dask scheduler answers there ({error})",
            remedy="Start it (dask scheduler), check the address, and start workers: dask worker ADDRESS --nthreads 1 "
            "--memory-limit 0.",
            where=f"--cluster {to}",
        ) from error
    with client:
        yield client
