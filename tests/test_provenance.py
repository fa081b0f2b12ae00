import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from soctk import provenance


@pytest.fixture
def repository(tmp_path) -> Path:
    """A git repository with a copy of soctk's __init__.py and provenance.py in lib/soctk, not yet tracked by git."""
    package = tmp_path / "lib" / "soctk"
    package.mkdir(parents=True)
    for name in ("__init__.py", "provenance.py"):
        (package / name).write_text((ROOT / "soctk" / name).read_text())
    (tmp_path / "theirs.txt").write_text("another project\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "theirs.txt")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def git(repository: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@x.org")
    return subprocess.check_output(["git", *identity, *arguments], cwd=repository, text=True).strip()


def commit(repository: Path) -> str:
    """Return the result of provenance.commit() in the copy of soctk in the repository."""
    code = "from soctk import provenance; print(provenance.commit())"
    environment = {**os.environ, "PYTHONPATH": str(repository / "lib")}
    output = subprocess.check_output([sys.executable, "-c", code], cwd=repository, env=environment, text=True)
    return output.strip()


def test_in_a_checkout_its_commit_is_returned(repository):
    git(repository, "add", "lib")
    git(repository, "commit", "-qm", "second")
    assert commit(repository) == git(repository, "rev-parse", "--short", "HEAD")
    (repository / "lib" / "soctk" / "provenance.py").open("a").write("# changed\n")
    assert commit(repository) == git(repository, "rev-parse", "--short", "HEAD") + "+changes"


def test_the_commit_of_another_project_is_not_returned(repository):
    """Here soctk is installed inside that project's repository, in files that git does not track."""
    assert commit(repository) == "unknown"


def test_without_a_repository_the_commit_is_unknown(repository):
    (repository / ".git").rename(repository / "no.git")
    assert commit(repository) == "unknown"


def test_versions_are_those_of_the_installed_packages():
    assert provenance.versions("numpy")["numpy"].count(".") >= 1


@pytest.mark.parametrize(
    ("argument", "written"),
    [
        ("exp/a", "exp/a"),
        ("../exp", "../exp"),
        ("{here}/exp", "exp"),
        ("{here}/a b/../exp", "exp"),
        ("{here}", ".../{name}"),
        ("/home/alice/exp", ".../exp"),
        ("--data=/home/alice/data", "--data=.../data"),
        ("--data={here}/data", "--data=data"),
        ("-o/home/alice/x.html", "-o.../x.html"),
        ("--set=train.lr=1/2", "--set=train.lr=1/2"),
        ("/", ".../"),
        ("\udcff/exp", r"'\udcff/exp'"),
    ],
)
def test_the_recorded_command_line_has_no_absolute_path(argument, written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = {"here": tmp_path, "name": tmp_path.name}
    monkeypatch.setattr(sys, "argv", ["/home/alice/venv/bin/soctk-report", argument.format(**here), "--compare"])
    assert provenance.command_line() == f"soctk-report {written.format(**here)} --compare"
