import threading
import time

import pytest
import torch

from soctk.pooling.threads import share


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("alone", [True, False])
def test_all_parts_are_done_once_whoever_does_them(threads, alone):
    done, by_whom = [], set()
    meeting = threading.Barrier(1 if alone else threads)

    def work(start):
        if threading.current_thread() not in by_whom:
            by_whom.add(threading.current_thread())
            meeting.wait(timeout=10)
        done.append(start)

    share(work, range(0, 20, 2), alone)
    assert sorted(done) == list(range(0, 20, 2))
    assert len(by_whom) == meeting.parties
    assert torch.get_num_threads() == threads


def test_parts_are_done_with_one_thread_each(threads):
    numbers = []
    share(lambda _: numbers.append(torch.get_num_threads()), range(8))
    assert numbers == [1] * 8


@pytest.mark.parametrize("in_caller", [True, False])
def test_what_fails_in_any_thread_fails_and_no_thread_begins_with_more(in_caller):
    before, done = torch.get_num_threads(), []
    meeting = threading.Barrier(3)

    def work(start):
        is_caller = threading.current_thread() is threading.main_thread()
        meeting.wait(timeout=10)
        if is_caller == in_caller:
            raise ArithmeticError(str(start))
        time.sleep(0.1)  # until the others have failed
        done.append(start)

    torch.set_num_threads(3)
    try:
        with pytest.raises(ArithmeticError):
            share(work, range(30))
        assert torch.get_num_threads() == 3
        assert len(done) == (2 if in_caller else 1)
        time.sleep(0.2)
        assert len(done) == (2 if in_caller else 1)
    finally:
        torch.set_num_threads(before)
