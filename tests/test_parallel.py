import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from conftest import run_python

from soctk import parallel
from soctk.errors import SoctkError

STATE = "initial"


def state() -> str:
    return STATE


def square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


@pytest.mark.parametrize(("count", "nj", "processes"), [(0, 2, 0), (1, 2, 1), (6, 1, 1), (6, 2, 2)])
def test_every_job_is_done_once(count, nj, processes):
    results = list(parallel.run([partial(square, i) for i in range(count)], nj))
    assert sorted(number for number, _ in results) == [i * i for i in range(count)]
    pids = {pid for _, pid in results}
    assert len(pids) <= processes
    assert (os.getpid() in pids) == (processes == 1)


@pytest.mark.slow
@pytest.mark.parametrize(("device", "inherited"), [("cpu", "changed"), ("cuda", "initial")])
def test_workers_are_forked_for_a_cpu_and_spawned_for_a_gpu(device, inherited, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "STATE", "changed")
    assert set(parallel.run([state, state], 2, device)) == {inherited}


def interrupted() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "not interrupted"


def test_workers_leave_ctrl_c_to_their_parent():
    assert list(parallel.run([interrupted, interrupted], 2)) == ["not interrupted"] * 2


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wrong() -> None:
    raise SoctkError("it is wrong", remedy="Correct it.", where="job 0")


def long(done: Path) -> None:
    time.sleep(20)
    done.touch()


@pytest.mark.parametrize(
    ("job", "message"),
    [(killed, "--nj 2: a worker process was killed, perhaps because memory ran out"), (wrong, "job 0: it is wrong")],
)
def test_an_error_in_one_job_is_raised_and_the_other_jobs_are_stopped(job, message, tmp_path):
    with pytest.raises(SoctkError, match=message):
        list(parallel.run([job, partial(long, tmp_path / "done")], 2))
    assert not (tmp_path / "done").exists()


def test_an_error_in_a_thread_is_raised_and_no_further_job_is_begun():
    begun = []

    def note(number: int) -> None:
        begun.append(number)
        time.sleep(0.01)

    jobs = [parallel.Job("the first", wrong), *(parallel.Job(str(n), note, (n,)) for n in range(100))]
    with pytest.raises(SoctkError, match="job 0: it is wrong"):
        list(parallel.Threads(2).run(jobs))
    time.sleep(0.2)
    assert len(begun) < 10


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "\nState:\tZ" not in status.read_text()


def test_workers_end_when_their_parent_is_killed(tmp_path):
    """The parent is killed while two jobs of a minute run."""
    parent = run_python(
        f"""
import os, time
from pathlib import Path
from functools import partial
from soctk import parallel

def work(i):
    Path({str(tmp_path)!r}, str(os.getpid())).touch()
    time.sleep(60)

list(parallel.run([partial(work, i) for i in range(2)], 2))
""",
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(workers := [int(file.name) for file in tmp_path.iterdir()]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert all(map(is_running, workers))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while any(map(is_running, workers)):
        assert time.monotonic() < deadline, "the workers outlive their parent"
        time.sleep(0.05)
