"""Parts of a batch shared among threads, for work that lets go of Python's lock."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from ctypes import CDLL
from functools import cache

import torch
from threadpoolctl import ThreadpoolController


def share(work: Callable[[int], None], starts: range, alone: bool = False) -> None:
    """Call `work` for each start: by as many threads as torch has, whichever is free, or by this one alone.

    While several do, torch has one thread, and so it has in any other thread that comes to it first at that time.
    When work fails in one thread, none begins with more.
    """
    threads = torch.get_num_threads()
    if alone or min(threads, len(starts)) <= 1:
        for start in starts:
            work(start)
        return
    pending = list(starts)

    def take() -> None:
        while True:
            try:
                start = pending.pop()
            except IndexError:
                return
            try:
                work(start)
            except BaseException:
                pending.clear()
                raise

    # Or else torch's own threads, idle after an operation, would spin for some ms on the cores that ours need.
    for library in _openmp_libraries():
        library.omp_pause_resource_all(1)  # omp_pause_soft: the next operation makes them anew
    helpers = [_workers(threads).submit(take) for _ in range(min(threads, len(pending)) - 1)]
    torch.set_num_threads(1)
    try:
        take()
    finally:
        begun = [helper for helper in helpers if not helper.cancel()]
        wait(begun)
        torch.set_num_threads(threads)
    for helper in begun:
        helper.result()


@cache
def _openmp_libraries() -> list[CDLL]:
    """Return those that are loaded, as far as they can pause (OpenMP 5.0)."""
    libraries = [each.dynlib for each in ThreadpoolController().select(user_api="openmp").lib_controllers]
    return [library for library in libraries if hasattr(library, "omp_pause_resource_all")]


@cache
def _workers(threads: int) -> ThreadPoolExecutor:
    """Return the threads that share a batch with the caller's."""

    def use_one_thread() -> None:
        torch.get_num_threads()  # the first call in a thread sets it to the process's number
        torch.set_num_threads(1)

    return ThreadPoolExecutor(threads - 1, thread_name_prefix="soctk", initializer=use_one_thread)
