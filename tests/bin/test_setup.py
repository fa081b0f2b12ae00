import runpy
import subprocess
import sys
from importlib import metadata

import pytest
from conftest import ROOT


def test_a_second_setup_does_nothing():
    for _ in range(2):
        result = subprocess.run([ROOT / "bin" / "setup", "mini", "test"], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("", "")


def test_an_unknown_extra_is_refused_before_anything_is_installed():
    result = subprocess.run([ROOT / "bin" / "setup", "mini", "--help"], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert (
        "EXTRA is mini, test, bench, docs, tensorboard, finetune, onnx, vad, demo, formats, egemaps or cluster, "
        "not '--help'" in result.stderr
    )


def check_install(*extras: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "bin" / "check_install.py", *extras]
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.mark.slow
def test_the_check_runs_and_reports_every_package():
    result = check_install("fast", "mini")
    assert result.returncode == 0, result.stderr
    names = [line.split()[1] for line in result.stdout.splitlines()]
    assert names == ["torch", "espnet-s3prl", "transformers", "soundfile", "soctk", "numba", "espeakng-loader"]
    assert all(line.endswith(" runs") for line in result.stdout.splitlines())


def test_the_check_knows_every_extra():
    extras = set(metadata.metadata("soctk").get_all("Provides-Extra"))
    assert set(runpy.run_path(ROOT / "bin" / "check_install.py")["CHECKS_OF_EXTRAS"]) == extras


@pytest.mark.slow
def test_the_check_names_a_package_that_fails(tmp_path):
    (tmp_path / "soxr.py").write_text("raise ImportError('libsoxr.so is missing')")
    result = check_install(env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"})
    assert result.returncode == 1
    assert "setup: soundfile DOES NOT RUN: ImportError: libsoxr.so is missing\n" in result.stderr
    assert "setup: torch 2" in result.stdout
    assert "setup: repair the packages named above, or remove .venv and run bin/setup again\n" in result.stderr
