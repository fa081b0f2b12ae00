"""Jobs shared among processes that end with the one that started them."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from joblib import Parallel


def run(jobs: Sequence[tuple], nj: int) -> Iterator[Any]:
    """Yield the results of jobs (joblib.delayed calls) as they come, `nj` jobs at a time, each in a process.

    A single job, or `nj` = 1, runs in this process. Large numpy arrays among the arguments are shared, not copied; a
    job that writes into one writes into a copy of its own.
    """
    workers = Parallel(
        n_jobs=max(1, min(nj, len(jobs))),
        backend="loky",
        return_as="generator_unordered",
        initializer=_end_with_parent,
        mmap_mode="c",
    )
    return workers(jobs)


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch use one thread, for results that do not depend on how many jobs go on."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _end_with_parent() -> None:
    """Leave Ctrl-C to the parent, and end when it does: a killed run must not go on writing behind the next one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_without, args=(os.getppid(),), daemon=True).start()


def _exit_without(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)
