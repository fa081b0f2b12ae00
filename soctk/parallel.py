"""Jobs shared among processes that end with the one that started them."""

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
_jobs: Sequence[Job] = ()  # in a worker, those that it is asked for by number


def run(jobs: Sequence[Job], nj: int, device: str = "cpu") -> Iterator[Any]:
    """Yield the results of jobs as they come, `nj` jobs at a time, each in a process with one thread.

    A single job, or `nj` = 1, runs in this process. On a CPU a worker is forked: it has at once what this process has
    imported and loaded, in the same memory. CUDA does not live through a fork.

    Args:
        jobs: functions without arguments.
        nj: how many at a time.
        device: where they compute.

    Raises:
        SoctkError: a worker was killed.
    """
    if min(nj, len(jobs)) <= 1:
        for job in jobs:
            yield job()
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" and device == "cpu" else "spawn")
    with ProcessPoolExecutor(min(nj, len(jobs)), context, _begin, (jobs, os.getpid())) as workers:
        try:
            for future in as_completed([workers.submit(_do, number) for number in range(len(jobs))]):
                yield future.result()
        except BaseException as error:
            for worker in multiprocessing.active_children():
                worker.kill()
            if isinstance(error, BrokenProcessPool):
                raise SoctkError(
                    "a worker process was killed, perhaps for want of memory",
                    remedy="Run again, with fewer at a time; what is finished is kept.",
                    where=f"--nj {nj}",
                ) from error
            raise


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch use one thread, for results that do not depend on how many jobs go on."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _begin(jobs: Sequence[Job], parent: int) -> None:
    """Make a process a worker: with one thread, as OpenMP's others do not live through a fork.

    It leaves Ctrl-C to the parent, and ends when it does: a killed run must not go on writing behind the next one.
    """
    global _jobs
    _jobs = jobs
    torch.set_num_threads(1)
    threadpool_limits(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_without, args=(parent,), daemon=True).start()


def _do(number: int) -> Any:
    return _jobs[number]()


def _exit_without(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)
