"""Compare the times of functions. They take turns for many rounds, so that noise affects all of them equally."""

import contextlib
import multiprocessing
import queue
import statistics
import time
from collections.abc import Callable, Mapping


def compare(functions: Mapping[str, Callable[[], object]], rounds: int, calls: int = 3) -> dict[str, list[float]]:
    """Return, for each function, the milliseconds per call in each round; a round calls each `calls` times in a row."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            started = time.perf_counter()
            for _ in range(calls):
                function()
            times[name].append(1000 * (time.perf_counter() - started) / calls)
    return times


def median(times: list[float]) -> str:
    """Return the median in ms with the first and third quartiles in brackets."""
    first, middle, third = statistics.quantiles(times, n=4)
    return f"{middle:.2f} ({first:.2f}-{third:.2f})"


def ratio(times: list[float], reference: list[float]) -> str:
    """Return the median over rounds of the ratio of the times of two functions."""
    return f"{statistics.median(a / b for a, b in zip(times, reference, strict=True)):.2f}"


def in_process_of_its_own(function: Callable, *arguments):
    """Call `function` in a new process and return the object that it puts into the queue, its last argument.

    Raises:
        RuntimeError: the process ends without putting anything into the queue.
    """
    context = multiprocessing.get_context("spawn")
    report = context.Queue()
    process = context.Process(target=function, args=(*arguments, report))
    process.start()
    try:
        while process.is_alive() or not report.empty():
            with contextlib.suppress(queue.Empty):
                return report.get(timeout=1)
    finally:
        process.join()
    raise RuntimeError(f"{function.__name__} failed")
