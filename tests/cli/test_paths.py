"""Paths that are not UTF-8: the system allows any bytes in a name, and old archives hold names in Latin-1."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

CAFE = b"caf\xe9"


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_a_message_about_a_path_that_is_not_utf_8_is_printed(tmp_path, encoding):
    command = [sys.executable, "-c", "from soctk.cli.validate import main; main()", os.fsencode(tmp_path) + b"/" + CAFE]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert r"/caf\udce9" in result.stderr
    assert "Traceback" not in result.stderr


def test_output_that_names_such_a_path_is_printed(tmp_path, corpus):
    (tmp_path / "data").rename(os.fsencode(tmp_path / "x") + CAFE)
    command = [sys.executable, "-c", "from soctk.cli.validate import main; main()", b"x" + CAFE]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.partition(":")[0]) == (0, r"xcaf\udce9"), result.stderr
