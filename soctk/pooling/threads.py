"""Share the parts of a batch among threads, for work that releases Python's lock."""

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

Result = TypeVar("Result")

_pools: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()


def share(work: Callable[[int], None], starts: range, alone: bool = False) -> None:
    """Call `work(start)` for each start.

    The number of helper threads is the caller's torch.get_num_threads(). Each helper uses one torch thread. The setting
    of the caller, and the setting that new threads inherit, do not change. The caller waits for all parts.

    Args:
        work: computes one part of the batch.
        starts: where the parts begin.
        alone: compute all parts in the calling thread, without helpers.

    Raises:
        BaseException: the first error that `work` raises; parts that have not begun are then skipped.
    """
    threads = torch.get_num_threads()
    if alone or min(threads, len(starts)) <= 1:
        for start in starts:
            work(start)
        return
    futures = [_pool(threads).submit(work, start) for start in starts]
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
    finally:  # also if Ctrl-C interrupts the wait
        for future in futures:
            future.cancel()
        wait(futures)
    for future in futures:
        if not future.cancelled():
            future.result()


def _pool(threads: int) -> ThreadPoolExecutor:
    """Return the pool with this number of helper threads, which is made at the first call."""
    with _lock:
        if threads not in _pools:
            _pools[threads] = _make_pool(threads)
        return _pools[threads]


def _make_pool(threads: int) -> ThreadPoolExecutor:
    """Return a new pool, all of its threads started and set to one torch thread.

    torch.set_num_threads sets the number for the calling thread, and also the number that a thread gets at its first
    use of torch. So that second number is restored before any work begins.
    """
    inherited = _run_in_new_thread(torch.get_num_threads)
    all_started = threading.Barrier(threads)

    def use_one_torch_thread() -> None:
        torch.get_num_threads()  # a thread's first call copies the inherited number, so it comes before the next line
        torch.set_num_threads(1)
        all_started.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix="soctk")
    wait([pool.submit(use_one_torch_thread) for _ in range(threads)])
    _run_in_new_thread(lambda: torch.set_num_threads(inherited))
    return pool


def _run_in_new_thread(function: Callable[[], Result]) -> Result:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()
