"""The output of progress reports in a log and at a terminal, read from a child process."""

import os
import pty
import subprocess
import sys
import termios

from conftest import ROOT

WORK = """
import time
from soctk import progress

progress.SECONDS_BETWEEN_LINES = {seconds}
for _ in progress.track([0] * 8, "extract", "utt"):
    time.sleep(0.05)
with progress.counter("train", "run", 8) as done:
    for fold in range(8):
        time.sleep(0.05)
        done.set_postfix_str("C 0.1", refresh=False)
        done.update(1)
progress.message("finished")
"""


def run(seconds: float) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", WORK.format(seconds=seconds)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)


def test_a_log_gets_whole_lines_without_control_characters():
    result = run(seconds=0.1)
    assert result.stdout == "finished\n"
    assert "\r" not in result.stderr
    lines = result.stderr.splitlines()
    assert any(line.startswith("extract: ") and "/8 utt [" in line for line in lines)
    assert any(line.startswith("train: ") and line.endswith(" left, C 0.1]") for line in lines)
    assert len(lines) <= 10


def test_a_task_shorter_than_a_minute_writes_no_line_to_a_log():
    assert run(seconds=60).stderr == ""


def test_a_terminal_gets_a_bar():
    terminal, child_end = pty.openpty()
    termios.tcsetwinsize(child_end, (24, 80))
    with subprocess.Popen([sys.executable, "-c", WORK.format(seconds=60)], cwd=ROOT, stderr=child_end) as process:
        os.close(child_end)
        output = b""
        while True:
            try:
                output += os.read(terminal, 1 << 16)
            except OSError:  # the process has closed its end
                break
    os.close(terminal)
    assert process.returncode == 0
    assert b"\rextract: 100%|" in output
