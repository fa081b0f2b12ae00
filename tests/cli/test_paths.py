"""Paths that are not UTF-8: the system allows any bytes in a name, and old archives hold names in Latin-1."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT, write_run

CAFE = b"caf\xe9"


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8:strict", r"caf\udce9"), ("ascii:strict", "caf?")])
def test_a_message_about_a_path_that_is_not_utf_8_is_printed(tmp_path, encoding, shown):
    command = [sys.executable, "-c", "from soctk.cli.validate import main; main()", os.fsencode(tmp_path) + b"/" + CAFE]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith(f"Error: {tmp_path}/{shown}: not a data directory")


def test_output_that_names_such_a_path_is_printed(tmp_path, corpus):
    (tmp_path / "data").rename(tmp_path / os.fsdecode(b"x" + CAFE))
    command = [sys.executable, "-c", "from soctk.cli.validate import main; main()", b"x" + CAFE]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.partition(":")[0]) == (0, r"xcaf\udce9"), result.stderr


@pytest.mark.slow
def test_an_experiment_with_such_a_name_is_scored(tmp_path):
    experiment = tmp_path / os.fsdecode(CAFE)
    for fold, pairs in ((1, "aa bb cc aa"), (2, "aa bc cc ab")):
        write_run(experiment / f"fold{fold}" / "seed1", pairs)
    command = [sys.executable, "-c", "from soctk.cli.score import main; main()", CAFE]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert r"caf\udce9" in (experiment / "RESULTS.md").read_text()
