"""Share the parts of a batch among threads, for work that releases Python's lock."""

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from ctypes import CDLL
from functools import cache
from typing import TypeVar

import torch

Result = TypeVar("Result")

_pools: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()


def share(
    work: Callable[[int], None],
    starts: range,
    *,
    alone: bool = False,
    caller_works: bool = False,
    threads: int | None = None,
) -> None:
    """Call `work(start)` for each start, in several threads.

    Each helper thread uses one torch thread. The caller's number of torch threads and the number that new threads
    inherit stay as they are.

    Args:
        work: computes one part of the batch.
        starts: where the parts begin.
        alone: compute all parts in the calling thread, without helpers.
        caller_works: compute parts in the calling thread too, in place of one helper. This is faster, but `work` must
            not use torch's threads: the calling thread has more than one.
        threads: how many threads; by default as many as torch has in the calling thread.

    Raises:
        BaseException: whatever `work` raises first; no further part begins after it.
    """
    threads = threads or torch.get_num_threads()
    if alone or min(threads, len(starts)) <= 1:
        for start in starts:
            work(start)
        return
    pending = deque(starts)

    def work_on() -> None:
        while True:
            try:
                start = pending.popleft()
            except IndexError:  # no part is left
                return
            try:
                work(start)
            except BaseException:
                pending.clear()
                raise

    _stop_idle_openmp_threads()
    count = min(threads, len(starts)) - caller_works
    futures = [_pool(threads).submit(work_on) for _ in range(count)]
    try:
        if caller_works:
            work_on()
        else:
            wait(futures)
    finally:  # also if Ctrl-C interrupts the caller
        pending.clear()
        begun = [future for future in futures if not future.cancel()]
        wait(begun)
    for future in begun:
        future.result()


def _stop_idle_openmp_threads() -> None:
    """Stop the threads that torch's last operation of the caller has left behind; the next operation starts new ones.

    Idle OpenMP threads keep the processors busy for some ms, while the helpers need them (tests/bench/openmp.py).
    """
    for library in _openmp_libraries():
        library.omp_pause_resource_all(1)  # 1: omp_pause_soft


@cache
def _openmp_libraries() -> list[CDLL]:
    """Return the loaded OpenMP libraries that can stop their threads (OpenMP 5.0)."""
    from threadpoolctl import ThreadpoolController  # not needed to import soctk.pooling

    libraries = [controller.dynlib for controller in ThreadpoolController().select(user_api="openmp").lib_controllers]
    return [library for library in libraries if hasattr(library, "omp_pause_resource_all")]


# A forked process has no threads but the one that forked.
os.register_at_fork(after_in_child=_pools.clear)


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
