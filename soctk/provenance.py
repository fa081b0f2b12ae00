"""With what something was made: versions, and the commit of the checkout."""

import subprocess
from importlib.metadata import version
from pathlib import Path


def versions(*packages: str) -> dict[str, str]:
    """Return the installed version of each package."""
    return {package: version(package) for package in packages}


def commit() -> str:
    """Return the commit of the checkout that soctk runs from, marked where it has changes on top, or "unknown"."""
    describe = ["git", "describe", "--always", "--dirty=+changes"]
    try:
        result = subprocess.run(describe, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return result.stdout.strip()
