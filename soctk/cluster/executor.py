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
from pathlib import Path
from typing import Any

import distributed
from distributed import Client, Future, KilledWorker
from distributed.client import FutureCancelledError

from soctk import device
from soctk.cluster import worker
from soctk.errors import SoctkError
from soctk.parallel import Job

DEATHS = 3  # after so many deaths of its workers, a job is given up
_SECONDS_BETWEEN_LOOKS = 1.0  # at the number of workers
_SECONDS_BETWEEN_STARTS = 20.0  # of workers in the place of lost ones


class DaskExecutor:
    """See soctk.parallel.Executor.

    Args:
        client: the connection to the scheduler.
        logs: the directory of the logs.
        start_missing: starts workers in the place of lost ones.
    """

    def __init__(self, client: Client, logs: Path, start_missing: Callable[[], None]):
        self._client, self._logs, self._start_missing = client, logs, start_missing
        self._last_start = time.monotonic()

    def run(self, jobs: Sequence[Job]) -> Iterator[Any]:
        """See Executor.run.

        Raises:
            SoctkError: the workers of one job died DEATHS times, or the scheduler was lost.
        """
        waiting = deque(jobs)
        running: dict[Future, Job] = {}
        shared: dict[int, Future] = {}
        try:
            while waiting or running:
                with _lost_scheduler(self._logs):
                    for _ in range(min(len(waiting), self._count_workers() - len(running))):
                        job = waiting.popleft()
                        running[self._submit(job, shared)] = job
                    done = self._wait(running)
                for future in done:
                    yield self._result(future, running.pop(future))
        finally:
            with suppress(Exception):  # the error of a job is the one to report
                self._client.cancel(list(running), force=True)

    def resolve_device(self, option: str) -> str:
        """Return the device of the workers for --device (soctk.device.resolve).

        Raises:
            SoctkError: a worker has no GPU and `cuda` is chosen, or some workers have a GPU and others have none.
        """
        found = self.on_each_worker(device.resolve, option)
        if len(set(found)) > 1:
            raise SoctkError(
                "some workers have a GPU, and others have none", remedy="Use --device cpu.", where="--device auto"
            )
        return found[0]

    def memory(self) -> float:
        """Return the bytes of memory of a worker; workers without a limit divide the memory of their machine."""
        found = self.on_each_worker(worker.memory)
        workers_of = Counter(host for host, *_ in found)
        return min(size / workers_of[host] if is_shared else size for host, size, is_shared in found)

    def on_each_worker(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call a function in each worker, and return the results."""
        with _lost_scheduler(self._logs):
            calls = [
                self._client.submit(function, *arguments, workers=[address], key=_key(function.__name__))
                for address in self._client.nthreads()
            ]
            return self._client.gather(calls)

    def _count_workers(self) -> int:
        """Return the number of workers; from time to time, start workers in the place of lost ones."""
        if time.monotonic() - self._last_start > _SECONDS_BETWEEN_STARTS:
            self._start_missing()
            self._last_start = time.monotonic()
        return len(self._client.nthreads())

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
        return self._client.submit(worker.do, job.function, values, job.arguments, key=_key(job.function.__name__))

    def _wait(self, running: dict[Future, Job]) -> list[Future]:
        """Wait until a future is done, at most _SECONDS_BETWEEN_LOOKS; return those that are done."""
        if not running:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        else:
            with suppress(TimeoutError):
                distributed.wait(list(running), timeout=_SECONDS_BETWEEN_LOOKS, return_when="FIRST_COMPLETED")
        return [future for future in running if future.done()]

    def _result(self, future: Future, job: Job) -> Any:
        try:
            with _lost_scheduler(self._logs):
                return future.result()
        except KilledWorker as error:
            raise SoctkError(
                f"{job.name}: the worker died {DEATHS} times, perhaps because memory ran out",
                remedy=f"See the logs of the workers in {self._logs}; ask for more memory. Then run again; finished "
                "work is kept.",
            ) from error


@contextmanager
def _lost_scheduler(logs: Path) -> Iterator[None]:
    """Raise an error of the scheduler, or of the connection to it, as a SoctkError."""
    try:
        yield
    except (OSError, CancelledError, FutureCancelledError) as error:
        raise SoctkError(
            "the connection to the scheduler of the workers is lost",
            remedy=f"See the logs in {logs}. Then run again; finished work is kept.",
            where="--cluster",
        ) from error
    except RuntimeError as error:
        if "deserialization" not in str(error):
            raise
        raise SoctkError(
            "the scheduler cannot read the jobs: it runs in an environment without soctk, or with other versions",
            remedy="Start the scheduler and the workers in the environment of this command.",
            where="--cluster",
        ) from error


def _key(name: str) -> str:
    """Return a new key; Dask's dashboard shows its name."""
    return f"{name.strip('_')}-{secrets.token_hex(8)}"
