"""Work shared among threads: completeness, errors, and unchanged numbers of torch threads in other threads."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from conftest import run_python

from soctk.pooling.threads import share


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("options", [{}, {"alone": True}, {"caller_works": True}], ids=str)
def test_each_part_is_computed_once_by_as_many_threads_as_torch_has(threads, options):
    done, workers = [], set()
    count = 1 if "alone" in options else threads
    all_work = threading.Barrier(count)

    def work(start):
        if threading.current_thread() not in workers:
            workers.add(threading.current_thread())
            all_work.wait(timeout=10)
        done.append(start)

    share(work, range(0, 20, 2), **options)
    assert sorted(done) == list(range(0, 20, 2))
    assert len(workers) == count
    assert (threading.current_thread() in workers) == (threads == 1 or bool(options))


def test_each_part_is_computed_with_one_torch_thread(threads):
    numbers = []
    share(lambda _: numbers.append(torch.get_num_threads()), range(8))
    assert numbers == [1] * 8


@pytest.mark.parametrize("caller_works", [False, True])
def test_an_error_reaches_the_caller_and_no_further_part_begins(caller_works):
    before, begun = torch.get_num_threads(), []
    all_work = threading.Barrier(3)

    def work(start):
        begun.append(start)
        if start < 3:
            all_work.wait(timeout=10)
        if start == 1:
            raise ArithmeticError(str(start))
        time.sleep(0.2)  # until the error has reached the caller

    torch.set_num_threads(3)
    try:
        with pytest.raises(ArithmeticError, match="1"):
            share(work, range(30), caller_works=caller_works)
        at_return = len(begun)
        assert at_return == 3
        time.sleep(0.3)
        assert len(begun) == at_return
    finally:
        torch.set_num_threads(before)


NUMBERS_OF_THREADS = """
import threading, torch
from soctk.pooling.threads import share

def number_in_new_thread():
    numbers = []
    thread = threading.Thread(target=lambda: numbers.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return numbers[0]

torch.set_num_threads(3)
working, checked = threading.Event(), threading.Event()

def work(start):
    working.set()
    assert checked.wait(30)

def call():
    torch.set_num_threads(3)
    share(work, range(6))
    caller_after.append(torch.get_num_threads())

caller, caller_after = threading.Thread(target=call), []
caller.start()
assert working.wait(30)
during = number_in_new_thread(), torch.get_num_threads()
checked.set()
caller.join()
print(*during, number_in_new_thread(), torch.get_num_threads(), *caller_after)
"""


def test_other_threads_keep_their_number_of_torch_threads_during_and_after_the_work():
    """In a new process, so that the helper threads start during this call."""
    with run_python(NUMBERS_OF_THREADS, stdout=-1) as process:
        assert process.communicate(timeout=120)[0].split() == ["3"] * 5


@pytest.mark.parametrize("caller_works", [False, True])
def test_callers_in_several_threads_share_the_helpers(caller_works):
    before, results = torch.get_num_threads(), [[], [], [], []]
    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(4) as callers:
            list(callers.map(lambda result: share(result.append, range(50), caller_works=caller_works), results))
    finally:
        torch.set_num_threads(before)
    assert all(sorted(result) == list(range(50)) for result in results)
