import threading

import pytest
import torch

from soctk.threads import share


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


def test_what_fails_in_any_thread_fails(threads):
    def work(start):
        if start == 3:
            raise ArithmeticError("3")

    with pytest.raises(ArithmeticError, match="3"):
        share(work, range(8))
    assert torch.get_num_threads() == threads
