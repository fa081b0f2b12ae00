import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import run_python

from soctk import files
from soctk.errors import SoctkError
from soctk.files import atomic, atomic_directory, locked, remove_leftovers


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


def start_writer(path: Path) -> subprocess.Popen:
    """Start a process that has written half of a file and waits within `atomic`; it finishes at a line of input."""
    writer = run_python(
        f"""
from soctk.files import atomic
with atomic({str(path)!r}) as temporary:
    temporary.write_text("half")
    print("written", flush=True)
    input()
""",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert writer.stdout.readline() == "written\n"
    return writer


def test_only_the_temporary_file_of_a_killed_process_is_removed(tmp_path):
    path = tmp_path / "file.txt"
    live, killed = start_writer(path), start_writer(path)
    assert len(list(tmp_path.iterdir())) == 2
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not path.exists()
    remove_leftovers(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    live.communicate("\n")
    assert live.returncode == 0
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


def test_the_first_write_into_a_directory_removes_what_killed_processes_left(tmp_path):
    killed = start_writer(tmp_path / "file.txt")
    killed.kill()
    killed.wait()
    with atomic(tmp_path / "other.txt") as temporary:
        temporary.touch()
    assert [file.name for file in tmp_path.iterdir()] == ["other.txt"]


def test_a_temporary_file_of_another_machine_is_removed_after_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_prefix", lambda: ".soctk-elsewhere-")
    temporary, handle = files._create_temporary(tmp_path)
    os.close(handle)
    monkeypatch.undo()
    for hours, is_kept in ((23, True), (25, False)):
        os.utime(temporary, (time.time() - 3600 * hours,) * 2)
        remove_leftovers(tmp_path)
        assert temporary.exists() == is_kept


def test_without_locks_a_temporary_file_is_removed_after_a_day(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    with atomic(tmp_path / "file.txt") as temporary:
        temporary.write_text("content")
        remove_leftovers(tmp_path)
        assert temporary.exists()
    temporary, handle = files._create_temporary(tmp_path)
    os.close(handle)
    os.utime(temporary, (time.time() - 25 * 3600,) * 2)
    remove_leftovers(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]
    with (
        pytest.raises(SoctkError, match=r"no file locks \(Function not implemented\), so two .*\nUse a directory on"),
        atomic_directory(tmp_path / "run"),
    ):
        pass


def test_an_error_names_the_file_that_was_to_be_written(tmp_path, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(files.os, "open", refuse)
    with pytest.raises(PermissionError) as error, atomic(tmp_path / "file.txt"):
        pass
    assert error.value.filename == str(tmp_path / "file.txt")


def test_a_file_that_is_removed_before_it_is_locked_is_created_again(tmp_path, monkeypatch):
    flock, removed = files.fcntl.flock, []

    def remove_first(handle, operation):
        if not removed:
            removed.extend(tmp_path.glob(".*"))
            removed[0].unlink()
        flock(handle, operation)

    monkeypatch.setattr(files.fcntl, "flock", remove_first)
    with atomic(tmp_path / "file.txt") as temporary:
        temporary.write_text("content")
    assert temporary.name != removed[0].name
    assert (tmp_path / "file.txt").read_text() == "content"


def test_writers_with_the_same_process_id_do_not_share_a_temporary_file(tmp_path):
    path = tmp_path / "file.txt"
    with atomic(path) as one, atomic(path) as other:
        one.write_text("one")
        other.write_text("other")
        assert [one.read_text(), other.read_text()] == ["one", "other"]
    assert path.read_text() == "one"  # renamed last
    assert list(tmp_path.iterdir()) == [path]


def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
    victim, path = tmp_path / "victim", tmp_path / "file.txt"
    victim.write_text("precious")
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "guessed")
    planted = tmp_path / f"{files._prefix()}guessed.tmp"
    planted.symlink_to(victim)
    with pytest.raises(FileExistsError), atomic(path) as temporary:
        temporary.write_text("content")
    remove_leftovers(tmp_path)
    monkeypatch.undo()
    path.symlink_to(victim)
    with atomic(path) as temporary:
        temporary.write_text("content")
    assert (path.read_text(), path.is_symlink(), victim.read_text()) == ("content", False, "precious")


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_get_the_permissions_of_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        with atomic(tmp_path / "file.txt") as temporary:
            temporary.write_text("content")
        with atomic_directory(tmp_path / "run"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "file.txt").stat().st_mode & 0o777 == 0o666 & ~mask
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o777 & ~mask


@pytest.mark.parametrize("name", ["x" * 255, "two\nlines", os.fsdecode(b"caf\xe9"), "-rf", " "])
def test_any_name_that_the_system_allows_can_be_written(tmp_path, name):
    with atomic(tmp_path / name) as temporary:
        temporary.write_text("content")
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_finished_directory_has_no_files_of_an_interrupted_run(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(RuntimeError), atomic_directory(path) as directory:
        (directory / "left over").touch()
        (directory / "folder").mkdir()
        raise RuntimeError
    assert not path.exists()
    with atomic_directory(path) as directory:
        (directory / "result").touch()
    assert [file.name for file in path.iterdir()] == ["result"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_a_directory_that_another_process_fills_is_left_alone(tmp_path):
    path = tmp_path / "run"
    with atomic_directory(path) as directory:
        (directory / "first").touch()
        with (
            pytest.raises(SoctkError, match=r"run\.unfinished: another process is writing to this directory\nWait"),
            atomic_directory(path),
        ):
            pytest.fail("the second writer was let in")
    assert [file.name for file in path.iterdir()] == ["first"]


def test_links_in_the_place_of_an_unfinished_directory_are_not_followed(tmp_path):
    victim = tmp_path / "victim"
    (victim / "thesis").mkdir(parents=True)
    unfinished = tmp_path / "run.unfinished"
    unfinished.symlink_to(victim)
    with (
        pytest.raises(SoctkError, match=r"run\.unfinished: it is a link or a file, not a directory, .*\nRemove it"),
        atomic_directory(tmp_path / "run"),
    ):
        pytest.fail("the link was followed")
    unfinished.unlink()
    unfinished.mkdir()
    (unfinished / "link").symlink_to(victim)
    with atomic_directory(tmp_path / "run") as directory:
        assert not (directory / "link").exists()
    (tmp_path / "again.unfinished").mkdir()
    (tmp_path / "again.unfinished" / ".lock").symlink_to(victim / "lock")
    with pytest.raises(OSError, match="symbolic links"), atomic_directory(tmp_path / "again"):
        pytest.fail("the link was followed")
    assert [entry.name for entry in victim.iterdir()] == ["thesis"]


def test_a_directory_of_another_user_is_refused(tmp_path, monkeypatch):
    (tmp_path / "run.unfinished").mkdir()
    monkeypatch.setattr(files.os, "geteuid", lambda: (tmp_path.stat().st_uid) + 1)
    with (
        pytest.raises(SoctkError, match="it belongs to another user, so nothing is written to it"),
        atomic_directory(tmp_path / "run"),
    ):
        pytest.fail("the directory was used")


def test_only_one_process_holds_a_lock(tmp_path):
    counter, others = tmp_path / "counter", []
    counter.write_text("0")
    code = f"""
import time
from pathlib import Path
from soctk.files import locked
counter = Path({str(counter)!r})
for _ in range(50):
    with locked(counter):
        number = int(counter.read_text())
        time.sleep(0.001)
        counter.write_text(str(number + 1))
"""
    others = [run_python(code) for _ in range(3)]
    assert [other.wait() for other in others] == [0, 0, 0]
    assert counter.read_text() == "150"


def test_a_lock_is_that_of_the_file_that_has_the_name_now(tmp_path, monkeypatch):
    path, flock = tmp_path / "file", files.fcntl.flock
    path.write_text("old")

    def replace_before(handle, operation):
        flock(handle, operation)
        if path.read_text() == "old":
            path.unlink()
            path.write_text("new")

    monkeypatch.setattr(files.fcntl, "flock", replace_before)
    with locked(path), path.open() as now, pytest.raises(BlockingIOError):
        flock(now, files.fcntl.LOCK_EX | files.fcntl.LOCK_NB)
