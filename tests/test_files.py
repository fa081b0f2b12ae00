import signal
import subprocess

import pytest
from conftest import run_python

from soctk.files import atomic, atomic_directory


def test_atomic_makes_the_directory_and_replaces_the_old_file(tmp_path):
    path = tmp_path / "new" / "file.txt"
    for content in ("old", "new"):
        with atomic(path) as temporary:
            temporary.write_text(content)
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_block_that_raises_keeps_the_old_file_and_no_temporary_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_killed_while_writing_leaves_no_file_under_the_final_name(tmp_path):
    writer = run_python(
        f"""
import time
from soctk.files import atomic
with atomic({str(tmp_path / "file.txt")!r}) as temporary:
    temporary.write_text("half")
    print("written", flush=True)
    time.sleep(60)
""",
        stdout=subprocess.PIPE,
    )
    assert writer.stdout.readline() == "written\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert [file.name for file in tmp_path.iterdir() if not file.name.endswith(".tmp")] == []


def test_a_finished_directory_has_no_files_of_an_interrupted_run(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(RuntimeError), atomic_directory(path) as directory:
        (directory / "left over").touch()
        raise RuntimeError
    assert not path.exists()
    with atomic_directory(path) as directory:
        (directory / "result").touch()
    assert [file.name for file in path.iterdir()] == ["result"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]
