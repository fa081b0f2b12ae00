"""Jobs in the workers of a Dask cluster on this machine; workers and schedulers are really killed."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT

from soctk.cluster import option, worker
from soctk.device import resolve as device_of_this_machine
from soctk.errors import SoctkError
from soctk.parallel import Job

pytestmark = pytest.mark.slow
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}:{Path(__file__).parent}",
}  # schedulers and workers import the jobs


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("an output")


@pytest.fixture(scope="module")
def cluster(output):
    """An executor with two workers."""
    with option.open_cluster("local:2", "cpu", output, [ROOT / "setup.cfg"]) as (executor, device):
        assert device == "cpu"
        yield executor


@pytest.fixture
def executor(cluster):
    """The executor, as soon as the worker that the test before has killed is there again.

    On a slow machine, Dask gives up the new worker before it has started. The executor replaces it while jobs run.
    """
    deadline = time.monotonic() + 180
    while len(cluster.on_each_worker(os.getpid)) < 2:
        assert time.monotonic() < deadline
        list(cluster.run([Job("looks at the number of workers", time.sleep, (0.1,))]))
    return cluster


def square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def identity_of(shared: list, number: int) -> tuple[int, int, int]:
    time.sleep(0.05)
    return os.getpid(), id(shared), len(shared) + number


def die(folder: Path, times: int) -> str:
    """Kill this worker, except after `times` calls."""
    deaths = len(list(folder.iterdir()))
    if deaths < times:
        (folder / str(deaths)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def fail(folder: Path) -> None:
    (folder / "failed").touch()
    raise SoctkError("it is wrong", remedy="Correct it.", where="job 7")


def begin_and_wait(folder: Path, number: int) -> None:
    """Begin, and wait for the failure of another job."""
    (folder / f"begun-{number}").touch()
    while not (folder / "failed").exists():
        time.sleep(0.05)


def fill_the_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def directory() -> str:
    time.sleep(0.2)
    return os.getcwd()  # noqa: PTH109 - as text


def sleep_and_touch(path: Path, seconds: float) -> None:
    time.sleep(seconds)
    path.touch()


def begin_and_touch(folder: Path) -> None:
    (folder / "begun").touch()
    time.sleep(3)
    (folder / "done").touch()


def print_a_line() -> None:
    print("a line for the log", flush=True)


def test_every_job_is_done_once_in_other_processes(executor):
    results = list(executor.run([Job(f"{i}", square, (i,)) for i in range(20)]))
    assert sorted(number for number, _ in results) == [i * i for i in range(20)]
    assert os.getpid() not in {pid for _, pid in results}
    assert len({pid for _, pid in results}) == 2
    assert list(executor.run([])) == []


def test_what_jobs_share_is_sent_to_a_worker_once(executor):
    shared = list(range(1000))
    results = list(executor.run([Job(f"{i}", identity_of, (i,), (shared,)) for i in range(20)]))
    assert sorted(total for *_, total in results) == [1000 + i for i in range(20)]
    assert len({place[:2] for place in results}) == 2  # one object in each of two workers


@pytest.mark.parametrize("times", [1, 2])
def test_a_job_whose_worker_dies_is_done_elsewhere(executor, tmp_path, times):
    (tmp_path / "deaths").mkdir()
    jobs = [Job("deadly", die, (tmp_path / "deaths", times)), *(Job(f"{i}", square, (i,)) for i in range(6))]
    results = list(executor.run(jobs))
    assert results.count("alive") == 1
    assert sorted(result[0] for result in results if result != "alive") == [i * i for i in range(6)]
    assert len(list((tmp_path / "deaths").iterdir())) == times


def test_a_job_whose_workers_died_three_times_is_named(executor, output, tmp_path):
    (tmp_path / "deaths").mkdir()
    with pytest.raises(SoctkError, match=r"^fold 3, seed 1: the worker died 3 times") as error:
        list(executor.run([Job("fold 3, seed 1", die, (tmp_path / "deaths", 9))]))
    assert f"{output}/log" in error.value.remedy
    assert len(list((tmp_path / "deaths").iterdir())) == 3
    assert sorted(number for number, _ in executor.run([Job("after", square, (3,))])) == [9]


def test_an_error_in_a_job_is_raised_and_waiting_jobs_are_not_done(executor, tmp_path):
    jobs = [Job("7", fail, (tmp_path,)), *(Job(f"{i}", begin_and_wait, (tmp_path, i)) for i in range(9))]
    with pytest.raises(SoctkError, match=r"^job 7: it is wrong\nCorrect it\.$"):
        list(executor.run(jobs))
    time.sleep(1)
    assert len(list(tmp_path.glob("begun-*"))) <= 3  # the other worker may have begun one or two more before the error


def test_an_error_of_the_system_in_a_job_is_not_taken_for_a_lost_scheduler(executor):
    with pytest.raises(OSError, match="No space left on device"):
        list(executor.run([Job("full", fill_the_disk)]))


def test_workers_that_die_when_they_are_checked_are_told(executor):
    with pytest.raises(SoctkError, match="all workers died when they started"):
        executor.on_each_worker(kill_this_process)
    assert sorted(number for number, _ in executor.run([Job("after", square, (4,))])) == [16]


def test_the_output_of_a_worker_is_in_its_log(executor, output):
    list(executor.run([Job("prints", print_a_line)]))
    logs = sorted((output / "log").glob("worker-*.log"))
    assert [log.name for log in logs] == ["worker-0.log", "worker-1.log"]
    assert "a line for the log\n" in {text for log in logs for text in log.read_text().splitlines(keepends=True)}


def test_a_worker_has_half_of_the_memory_of_this_machine(executor):
    assert executor.memory() == pytest.approx(worker.MEMORY_LIMIT / 2)


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """Let `worker.check` run in this process."""
    monkeypatch.setattr(worker, "_SECONDS_TO_SEE_A_FILE", 0.0)
    monkeypatch.setattr(worker, "get_worker", lambda: SimpleNamespace(state=SimpleNamespace(nthreads=1)))
    monkeypatch.setattr(worker, "_checked", None)
    monkeypatch.setattr(worker.parallel, "use_one_thread", lambda: None)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("alone")
def test_a_path_that_a_worker_does_not_see_is_named(tmp_path):
    path = tmp_path / "data"
    expected = worker.Expected(str(tmp_path), (path,), worker.versions())
    with pytest.raises(SoctkError, match=rf"a worker on \S+ does not see\n  {re.escape(str(path))}"):
        worker.check(expected)
    path.mkdir()
    worker.check(expected)
    path.rmdir()
    worker.check(expected)  # once for each client


@pytest.mark.usefixtures("alone")
def test_other_versions_are_named(tmp_path):
    expected = worker.Expected(str(tmp_path), (), worker.versions() | {"torch": "1.0"})
    with pytest.raises(SoctkError, match=r"a worker has other versions\n  torch: 1\.0 here, \S+ in a worker on \S+\n"):
        worker.check(expected)


@pytest.mark.usefixtures("alone")
def test_a_worker_without_a_gpu_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    expected = worker.Expected(str(tmp_path), (), worker.versions(), "cuda")
    with pytest.raises(SoctkError, match="torch finds no GPU"):
        worker.check(expected)


@pytest.fixture
def scheduler():
    """The processes of a scheduler and of one worker, and the address of the scheduler."""
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    lines = iter(process.stderr.readline, "")
    address = next(match[1] for line in lines if (match := re.search(r"Scheduler at:\s+(tcp://\S+)", line)))
    yield process, address
    process.kill()
    process.wait()


@contextmanager
def started_worker(address: str, threads: int = 1) -> Iterator[None]:
    options = (address, "--no-dashboard", "--nthreads", str(threads))
    command = [sys.executable, "-m", "distributed.cli.dask_worker", *options]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd="/", env=ENVIRONMENT)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_a_running_scheduler_is_used_and_its_loss_is_reported(scheduler, tmp_path):
    process, address = scheduler
    with (
        started_worker(address),
        pytest.raises(SoctkError, match="the connection to the scheduler of the workers is lost"),
        option.open_cluster(address, "auto", tmp_path, []) as (executor, device),
    ):
        assert device == device_of_this_machine("auto")
        assert list(executor.run([Job("directory", directory)])) == [str(Path.cwd())]
        assert [number for number, _ in executor.run([Job("one", square, (2,))])] == [4]
        results = executor.run([Job(f"{i}", sleep_and_touch, (tmp_path / f"{i}", 0.2)) for i in range(100)])
        next(results)
        process.kill()
        list(results)


def test_two_clients_of_one_scheduler_have_their_own_directories(scheduler, tmp_path):
    _, address = scheduler
    code = f"""
import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}, {str(Path(__file__).parent)!r}]
from pathlib import Path
import test_executor
from soctk.cluster import option
from soctk.parallel import Job
with option.open_cluster({address!r}, "cpu", Path("out"), []) as (executor, _):
    print(*set(executor.run([Job(str(i), test_executor.directory) for i in range(8)])))
"""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    with started_worker(address):
        clients = [
            subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=folder)
            for folder in folders
        ]
        assert [client.communicate()[0].strip() for client in clients] == list(map(str, folders))


def test_workers_with_several_threads_are_refused(scheduler, tmp_path):
    _, address = scheduler
    with (
        started_worker(address, threads=2),
        pytest.raises(SoctkError, match=r"a worker on \S+ has 2 threads.*\n.*--nthreads 1"),
        option.open_cluster(address, "cpu", tmp_path, []),
    ):
        pass


def test_an_address_without_a_scheduler_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("soctk.cluster.workers._SECONDS_TO_CONNECT", 1)
    with (
        pytest.raises(SoctkError, match=r"--cluster tcp://127\.0\.0\.1:9: no Dask scheduler answers there"),
        option.open_cluster("tcp://127.0.0.1:9", "cpu", tmp_path, []),
    ):
        pass


def test_a_path_with_a_space_is_refused_for_batch_systems(tmp_path):
    file = tmp_path / "slurm.yaml"
    file.write_text("kind: slurm\nworkers: 1\noptions: {memory: 1 GB}\n")
    with (
        pytest.raises(SoctkError, match="a b/log: the path contains a space"),
        option.open_cluster(str(file), "cpu", tmp_path / "a b", []),
    ):
        pass


def test_without_work_no_worker_starts(tmp_path):
    with option.open_cluster("tcp://127.0.0.1:9", "cuda", tmp_path / "out", [], is_needed=False) as opened:
        assert opened == (None, "cpu")
    assert not (tmp_path / "out").exists()


def test_a_batch_system_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    file = tmp_path / "pbs.yaml"
    file.write_text("kind: pbs\nworkers: 1\noptions: {memory: 1 GB}\n")
    with (
        pytest.raises(SoctkError, match=r"the workers cannot be started .*qsub"),
        option.open_cluster(str(file), "cpu", tmp_path, []),
    ):
        pass


def test_workers_end_when_the_client_is_killed(tmp_path):
    code = f"""
import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}, {str(Path(__file__).parent)!r}]
import os
from pathlib import Path
import test_executor
from soctk.cluster import option
from soctk.parallel import Job
if __name__ == "__main__":
    with option.open_cluster("local:2", "cpu", Path({str(tmp_path)!r}), []) as (executor, _):
        print(*executor.on_each_worker(os.getpid), flush=True)
        list(executor.run([Job("long", test_executor.begin_and_touch, (Path({str(tmp_path)!r}),))]))
"""
    script = tmp_path / "client.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 2
    while not (tmp_path / "begun").exists():
        time.sleep(0.05)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(4)
    assert not (tmp_path / "done").exists()


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "\nState:\tZ" not in status.read_text()
