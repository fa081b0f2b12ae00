"""The executor on Dask's workers.

The queue of jobs is in this process: a worker gets its next job when it has finished one. A worker that dies therefore
loses one job only, and Dask gives this job to another worker.
"""

import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import distributed
from distributed import Client, Future, KilledWorker
from distributed.client import FutureCancelledError

from soctk import device, progress
from soctk.cluster import worker
from soctk.cluster.worker import Expected
from soctk.errors import SoctkError
from soctk.parallel import Job

DEATHS = 3  # after so many deaths of its workers, a job is given up (workers.started)
_SECONDS_BETWEEN_LOOKS = 1.0  # at the number of workers
_SECONDS_BETWEEN_STARTS = 20.0  # of workers in the place of lost ones
_SECONDS_TO_HINT = 60.0  # without a worker


class DaskExecutor:
    """See soctk.parallel.Executor.

    Args:
        client: the connection to the scheduler.
        expected: what each worker must have.
        hint: where to look if there are no workers, or if they die: a sentence.
        start_missing: starts workers in the place of lost ones.
        on_each_host: the number of workers that will run on each host; more are counted.
    """

    def __init__(
        self, client: Client, expected: Expected, hint: str, start_missing: Callable[[], None], on_each_host: int
    ):
        self._client, self._expected, self._hint, self._start_missing = client, expected, hint, start_missing
        self._on_each_host = on_each_host
        self._last_start = self._last_seen = time.monotonic()

    def check_workers(self, option: str) -> str:
        """Wait for the first workers, and check their files, versions and devices. Jobs check those that come later.

        Args:
            option: the value of --device.

        Returns:
            The device of the workers (soctk.device.resolve).

        Raises:
            SoctkError: a worker lacks something, `cuda` is chosen and a worker has no GPU, or some workers have a GPU
                and others have none.
        """
        with progress.step("wait for a worker"):
            while not self._count_workers():
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        self.on_each_worker(worker.check, self._expected)
        found = set(self.on_each_worker(device.resolve, option))
        if len(found) > 1:
            raise SoctkError(
                "some workers have a GPU, and others have none", remedy="Use --device cpu.", where="--device auto"
            )
        (resolved,) = found
        self._expected = replace(self._expected, device=resolved)
        return resolved

    def run(self, jobs: Sequence[Job]) -> Iterator[Any]:
        """See Executor.run. Jobs that have begun are not stopped after an error.

        Raises:
            SoctkError: the workers of one job died DEATHS times, or the scheduler was lost.
        """
        waiting = deque(jobs)
        running: dict[Future, Job] = {}
        shared: dict[int, Future] = {}
        try:
            while waiting or running:
                with self._lost_scheduler():
                    for _ in range(min(len(waiting), self._count_workers() - len(running))):
                        job = waiting.popleft()
                        running[self._submit(job, shared)] = job
                    done = self._wait(list(running))
                for future in done:
                    yield self._result(future, running.pop(future).name)
        finally:
            with suppress(Exception):  # the error of a job is the one to report
                self._client.cancel(list(running), force=True)

    def memory(self) -> float:
        """Return the bytes of memory of a worker; workers without a limit divide the memory of their machine."""
        found = self.on_each_worker(worker.memory)
        workers_of = Counter(host for host, *_ in found)
        shares = [size / max(workers_of[host], self._on_each_host) for host, size, is_shared in found if is_shared]
        return min([*shares, *(size for _, size, is_shared in found if not is_shared)])

    def on_each_worker(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call a function in each worker, and return the results; a worker that dies in the meantime has none.

        Raises:
            SoctkError: all workers died.
        """
        with self._lost_scheduler(), progress.step("check the workers"):
            calls = {
                address: self._client.submit(function, *arguments, workers=[address], key=_key(function.__name__))
                for address in self._client.nthreads()
            }
            while not all(future.done() for future in calls.values()):
                self._wait([future for future in calls.values() if not future.done()])
                alive = self._client.nthreads()
                calls = {address: each for address, each in calls.items() if each.done() or address in alive}
        if not calls:
            raise SoctkError("all workers died when they started", remedy=self._hint, where="--cluster")
        return [self._result(future, function.__name__) for future in calls.values()]

    def _count_workers(self) -> int:
        """Return the number of workers; from time to time, replace lost ones, or print the hint if there is none."""
        count, now = len(self._client.nthreads()), time.monotonic()
        if now - self._last_start > _SECONDS_BETWEEN_STARTS:
            self._start_missing()
            self._last_start = now
        if count:
            self._last_seen = now
        elif now - self._last_seen > _SECONDS_TO_HINT:
            progress.message(f"No worker for {_SECONDS_TO_HINT:.0f} s. {self._hint}")
            self._last_seen = now
        return count

    def _submit(self, job: Job, shared: dict[int, Future]) -> Future:
        """Submit a job.

        Args:
            job: the job.
            shared: id of an object that jobs share -> its future. A worker that lacks the object gets it from another
                worker; if all of these are lost, it gets it from the scheduler.
        """
        for value in job.shared:
            if id(value) not in shared:
                shared[id(value)] = self._client.submit(worker.identity, value, key=_key("shared"))
        values = [shared[id(value)] for value in job.shared]
        key = _key(job.function.__name__)
        return self._client.submit(worker.do, self._expected, job.function, values, job.arguments, key=key)

    def _wait(self, futures: list[Future]) -> list[Future]:
        """Wait until a future is done, at most _SECONDS_BETWEEN_LOOKS; return those that are done."""
        if not futures:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        else:
            with suppress(TimeoutError):
                distributed.wait(futures, timeout=_SECONDS_BETWEEN_LOOKS, return_when="FIRST_COMPLETED")
        return [future for future in futures if future.done()]

    def _result(self, future: Future, name: str) -> Any:
        """Return the result of a future that is done, or raise the error of its job."""
        if future.status != "error":
            with self._lost_scheduler():
                return future.result()
        error = future.exception()
        if isinstance(error, KilledWorker):
            raise SoctkError(
                f"{name}: the worker died {error.allowed_failures + 1} times, perhaps because memory ran out",
                remedy=f"Ask for more memory. {self._hint} Then run again; finished work is kept.",
            ) from error
        if isinstance(error, RuntimeError) and "deserialization of the task graph" in str(error):
            raise SoctkError(
                "the scheduler cannot read the jobs: it runs in an environment without soctk, or with other versions",
                remedy="Start the scheduler and the workers in the environment of this command.",
                where="--cluster",
            ) from error
        raise error

    @contextmanager
    def _lost_scheduler(self) -> Iterator[None]:
        """Raise an error of the connection to the scheduler as a SoctkError."""
        try:
            yield
        except (OSError, CancelledError, FutureCancelledError) as error:
            raise SoctkError(
                "the connection to the scheduler of the workers is lost",
                remedy=f"{self._hint} Then run again; finished work is kept.",
                where="--cluster",
            ) from error


def _key(name: str) -> str:
    """Return a new key; Dask's dashboard shows its name."""
    return f"{name.strip('_')}-{secrets.token_hex(8)}"
