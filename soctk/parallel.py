"""Jobs, and the executors that run them: processes or threads on this machine, or a cluster (soctk.cluster)."""

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
from dataclasses import dataclass
from typing import Any, Protocol

from threadpoolctl import threadpool_limits

from soctk.errors import SoctkError

_jobs: Sequence[Callable[[], Any]] = ()  # set in each worker; the parent sends only the number of a job


@dataclass(frozen=True)
class Job:
    """A piece of work that does not depend on other pieces: `function(*shared, *arguments)`.

    Attributes:
        name: the name of the job in messages, such as "fold 1, seed 1".
        function: a function of a module.
        arguments: the job's own arguments, which should be small.
        shared: the first arguments, the same objects in many jobs. An executor sends them to a worker once.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    shared: tuple[Any, ...] = ()

    def __call__(self) -> Any:
        """Do the job in this process."""
        return self.function(*self.shared, *self.arguments)


class Executor(Protocol):
    """Runs jobs."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Any]:
        """Run all jobs, and yield each result as soon as it is ready. After an error, no further job is begun.

        Raises:
            SoctkError: a worker was killed.
        """


@dataclass(frozen=True)
class Processes:
    """An executor on this machine, for a CPU: `run` with `nj` processes."""

    nj: int

    def run(self, jobs: Sequence[Job]) -> Iterator[Any]:
        """See Executor.run."""
        return run(jobs, self.nj)


@dataclass(frozen=True)
class Threads:
    """An executor on this machine, for a GPU: while a job computes there, others read, check and write files."""

    number: int

    def run(self, jobs: Sequence[Job]) -> Iterator[Any]:
        """See Executor.run."""
        from joblib import Parallel, delayed  # takes a tenth of a second

        threads = Parallel(self.number, backend="threading", return_as="generator_unordered", pre_dispatch=self.number)
        yield from threads(delayed(job)() for job in jobs)


def run(jobs: Sequence[Callable[[], Any]], nj: int, device: str = "cpu") -> Iterator[Any]:
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
    import torch  # takes seconds, and the ONNX runtime does without

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _set_up_worker(jobs: Sequence[Callable[[], Any]], parent: int) -> None:
    """Set up a worker process: one thread, since OpenMP's threads do not work after a fork.

    The worker ignores Ctrl-C, which the parent handles. It ends when the parent ends, so that the workers of a killed
    run do not write files while the next run is working.
    """
    global _jobs
    _jobs = jobs
    use_one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    exit_after(parent)


def _run_job(number: int) -> Any:
    return _jobs[number]()


def use_one_thread() -> None:
    """Let this process, a worker, use one thread for all its jobs."""
    import torch

    torch.set_num_threads(1)
    threadpool_limits(1)


def exit_after(parent: int) -> None:
    """End this process as soon as its parent has ended."""

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
