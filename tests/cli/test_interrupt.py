"""Ctrl-C in the middle of real commands."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, accept_interrupts, write_corpus

from soctk.features.extract import Extraction, extract

pytestmark = pytest.mark.slow

# Workers sleep until they are interrupted; the file `working` shows that one has started.
SLOW_EXTRACTION = """
import time
from pathlib import Path
from soctk.features import extract
extract_shard = extract._extract_shard
def slow(*arguments):
    Path("working").touch()
    time.sleep(60)
    return extract_shard(*arguments)
extract._extract_shard = slow
from soctk.cli.extract import main
main()
"""


def start(code: str, folder: Path, *arguments: object) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        preexec_fn=accept_interrupts,
    )


def wait_until(is_true, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, f"still false after {seconds} s"
        time.sleep(0.05)


def members(group: int) -> list[int]:
    """Return the living processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, process_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # the process has ended
            continue
        if int(process_group) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


def interrupt(process: subprocess.Popen, whole_group: bool) -> None:
    """Send SIGINT, and check that all processes end at once with exit code 130 and one message."""
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT) if whole_group else process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=40)
    assert time.monotonic() - started < 15  # the workers would sleep for 60 s; on an idle machine it takes 1 s
    assert process.returncode == 130, errors
    wait_until(lambda: not members(process.pid), 2)
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == "Interrupted. Finished work is kept; run the command again to continue."


def unfinished(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith((".tmp", ".part"))]


CASES = pytest.mark.parametrize(("nj", "whole_group"), [(1, False), (2, True), (2, False)])


@CASES
def test_extraction_ends_at_once_and_leaves_no_part_of_a_shard(tmp_path, nj, whole_group):
    write_corpus(tmp_path)
    process = start(SLOW_EXTRACTION, tmp_path, "data", "feats", "--upstream", "fbank", "--nj", nj)
    wait_until((tmp_path / "working").exists)
    interrupt(process, whole_group)
    assert not list(tmp_path.glob("feats/shard-*"))
    assert not unfinished(tmp_path)


@CASES
def test_training_ends_at_once_and_leaves_no_part_of_a_run(tmp_path, nj, whole_group):
    extract(write_corpus(tmp_path), tmp_path / "feats", Extraction("fbank"))
    endless = ("--pooling", "soc", "--set", "train.epochs=1000000", "--set", "train.patience=1000000")
    arguments = ["data", "feats", "exp/soc", *endless, "--nj", nj]
    process = start("from soctk.cli.train import main; main()", tmp_path, *arguments)
    wait_until(lambda: list(tmp_path.glob("exp/soc/fold*/seed1.unfinished/*")))
    interrupt(process, whole_group)
    assert not list(tmp_path.glob("exp/soc/fold*/seed1"))
    assert not unfinished(tmp_path)
