"""The versions of packages, the commit of the soctk checkout, and the command line: results record them."""

import os
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from soctk.errors import printable

_PACKAGE = Path(__file__).resolve().parent


def versions(*packages: str) -> dict[str, str]:
    """Return the version of each package that is installed; optional ones may be missing."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def commit() -> str:
    """Return the commit of the checkout that soctk runs from, followed by `+changes` if tracked files have changed.

    Returns "unknown" if soctk does not run from a checkout. An installed soctk may lie inside the repository of another
    project. That project's git does not track soctk's files, so its commit is not returned.
    """
    tracked = ["git", "ls-files", "--error-unmatch", f"{_PACKAGE.name}/__init__.py"]
    describe = ["git", "describe", "--always", "--dirty=+changes"]
    try:
        for command in (tracked, describe):
            result = subprocess.run(command, cwd=_PACKAGE.parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return result.stdout.strip()


def command_line() -> str:
    """Return the command line of this process, with displayed paths in place of absolute ones."""
    words = [Path(sys.argv[0]).name, *map(_without_absolute_path, sys.argv[1:])]
    return printable(shlex.join(words))


def displayed_path(path: Path) -> str:
    """Return a path without the folders above the working directory: `exp/a`, or `.../NAME` if it lies elsewhere.

    Reports are passed on to others, and absolute paths contain the names of users and machines.
    """
    here, path = Path.cwd(), Path(os.path.abspath(path))  # noqa: PTH100  (resolve would follow links)
    if path == here or not path.is_relative_to(here):
        return printable(f".../{path.name}")
    return printable(path.relative_to(here).as_posix())


def _without_absolute_path(word: str) -> str:
    """Shorten the path in `PATH`, `--option=PATH` or `-oPATH`, if it is absolute."""
    match = re.fullmatch("(--[^=/]+=|-[a-zA-Z])?(/.*)", word, re.DOTALL)
    return (match[1] or "") + displayed_path(Path(match[2])) if match else word
