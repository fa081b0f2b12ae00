"""A pool of worker processes that run jobs. The workers end when the process that started them ends."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from soctk.errors import SoctkError

Job = Callable[[], Any]
_jobs: Sequence[Job] = ()  # set in each worker; the parent sends only the number of a job


def run(jobs: Sequence[Job], nj: int, device: str = "cpu") -> Iterator[Any]:
    """Run jobs in worker processes, `nj` at a time, and yield each result as soon as it is ready.

    Each worker uses one thread. A single job runs in this process, and so do all jobs if `nj` is 1. For a CPU, workers
    are forked: they share the modules and data that this process has loaded. For a GPU, workers are spawned, because
    CUDA does not work after a fork.

    Args:
        jobs: functions without arguments.
        nj: the number of worker processes.
        device: `cpu` or `cuda`, the device on which the jobs compute.

    Raises:
        SoctkError: a worker was killed.
    """
    if min(nj, len(jobs)) <= 1:
        for job in jobs:
            yield job()
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" and device == "cpu" else "spawn")
    with ProcessPoolExecutor(min(nj, len(jobs)), context, _set_up_worker, (jobs, os.getpid())) as workers:
        try:
            for future in as_completed([workers.submit(_run_job, number) for number in range(len(jobs))]):
                yield future.result()
        except BaseException as error:
            for worker in multiprocessing.active_children():
                worker.kill()
            if isinstance(error, BrokenProcessPool):
                raise SoctkError(
                    "a worker process was killed, perhaps because memory ran out",
                    remedy="Run again with a smaller --nj; finished work is kept.",
                    where=f"--nj {nj}",
                ) from error
            raise


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread, so that results do not depend on the number of jobs that run at the same time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _set_up_worker(jobs: Sequence[Job], parent: int) -> None:
    """Set up a worker process: one thread, since OpenMP's threads do not work after a fork.

    The worker ignores Ctrl-C, which the parent handles. It ends when the parent ends, so that the workers of a killed
    run do not write files while the next run is working.
    """
    global _jobs
    _jobs = jobs
    torch.set_num_threads(1)
    threadpool_limits(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _run_job(number: int) -> Any:
    return _jobs[number]()


def _exit_after(parent: int) -> None:
    """Wait until the parent process has ended, and then end this process."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)
