"""The output of progress reports in a log and at a terminal, read from a child process."""

import os
import pty
import subprocess
import sys
import termios
import time

from conftest import ROOT

WORK = """
import time
from soctk import progress

progress.SECONDS_BETWEEN_LINES = {seconds}
for _ in progress.track([0] * 200, "extract", "utt"):
    time.sleep(0.002)
with progress.counter("train", "run", 200) as done:
    for fold in range(200):
        time.sleep(0.002)
        done.set_postfix_str("C 0.1", refresh=False)
        done.update(1)
progress.message("finished")
"""

# Long waits within one item, and a step without items.
SLOW = """
import time
from soctk import progress

progress.SECONDS_BETWEEN_LINES = progress.SECONDS_BETWEEN_REFRESHES = {seconds}
for _ in progress.track([0], "extract", "utt"):
    time.sleep(0.5)
with progress.step("load the encoder"):
    time.sleep(0.5)
"""


def run(seconds: float, work: str = WORK) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", work.format(seconds=seconds)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)


def test_a_log_gets_whole_lines_without_control_characters():
    start = time.monotonic()
    result = run(seconds=0.1)
    seconds = time.monotonic() - start
    assert result.stdout == "finished\n"
    assert "\r" not in result.stderr
    lines = result.stderr.splitlines()
    assert any(line.startswith("extract: ") and "/200 utt [" in line for line in lines)
    assert any(line.startswith("train: ") and line.endswith(" left, C 0.1]") for line in lines)
    # At most one line an interval and bar; twice that where the item and the clock draw at the same moment.
    assert len(lines) <= 2 * (seconds / 0.1 + 2)


def test_each_item_counts_once():
    """Also where the clock, and not an item, has drawn the bar last."""
    work = """
import time
from soctk import progress

progress.SECONDS_BETWEEN_LINES = {seconds}
bar = progress.track(range(100), "extract", "utt")
for number in bar:
    assert bar.n <= number, (bar.n, number)
    time.sleep(0.07 if number % 10 == 0 else 0.001)
assert bar.n == 100
"""
    lines = run(0.05, work).stderr.splitlines()
    assert lines
    assert all("/100 utt [" in line for line in lines)


def test_a_task_shorter_than_a_minute_writes_no_line_to_a_log():
    assert run(seconds=60).stderr == ""


def test_a_log_gets_lines_while_no_item_is_completed():
    lines = run(0.1, SLOW).stderr.splitlines()
    extracting = [line for line in lines if line.startswith("extract: 0/1 utt [")]
    loading = [line for line in lines if line.startswith("load the encoder [00:0")]
    assert extracting + loading == [line for line in lines if not line.startswith("extract: 1/1")]
    assert min(len(extracting), len(loading)) >= 2
    assert run(60, SLOW).stderr == ""


def test_workers_can_be_forked_while_a_bar_is_drawn():
    code = """
import os
from soctk import progress

progress.SECONDS_BETWEEN_LINES = 0.0001
with progress.counter("extract", "utt", 1):
    for _ in range(300):
        child = os.fork()
        if not child:
            progress.message("")  # waits for ever if the lock was held during the fork
            os._exit(0)
        os.waitpid(child, 0)
"""
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60, capture_output=True)


def test_a_terminal_gets_a_bar():
    assert b"\rextract: 100%|" in run_at_a_terminal(WORK.format(seconds=60))


def test_a_terminal_gets_a_bar_that_moves_while_no_item_is_completed():
    output = run_at_a_terminal(SLOW.format(seconds=0.1))
    assert output.count(b"\rextract:   0%|") >= 2
    assert b"\rload the encoder [00:0" in output


def run_at_a_terminal(work: str) -> bytes:
    """Return what a program writes to standard error if this is a terminal of 80 columns."""
    terminal, child_end = pty.openpty()
    termios.tcsetwinsize(child_end, (24, 80))
    with subprocess.Popen([sys.executable, "-c", work], cwd=ROOT, stderr=child_end) as process:
        os.close(child_end)
        output = b""
        while True:
            try:
                output += os.read(terminal, 1 << 16)
            except OSError:  # the process has closed its end
                break
    os.close(terminal)
    assert process.returncode == 0
    return output
