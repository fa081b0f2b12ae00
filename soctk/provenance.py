"""The versions of packages, and the commit of the soctk checkout. Results record both."""

import subprocess
from importlib.metadata import version
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def versions(*packages: str) -> dict[str, str]:
    """Return the installed version of each package."""
    return {package: version(package) for package in packages}


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
