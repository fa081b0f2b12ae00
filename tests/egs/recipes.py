"""Functions for tests of recipes: stage 0 in this process, all stages in a copy of the recipe, and recordings."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import soundfile
from click.testing import CliRunner, Result
from conftest import ROOT

RATE = 16000
# Folder names of the mirror of repositories, beside the checkout, and of the repositories that tests read.
MIRROR = ROOT.parent / ".mirror"


def load(name: str, monkeypatch) -> ModuleType:
    """Return local/prepare.py of a recipe; the working directory becomes the recipe's, as in stage 0."""
    folder = ROOT / "egs" / name
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder / "local")
    for module in ("corpora", "table"):  # modules in local/ of the recipe
        sys.modules.pop(module, None)
    spec = importlib.util.spec_from_file_location(f"prepare_{name}", folder / "local" / "prepare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(module: ModuleType, *arguments: object) -> Result:
    """Call local/prepare.py with the arguments of a command line."""
    return CliRunner().invoke(module.main, [str(argument) for argument in arguments])


def tone(path: Path, number: int, seconds: float = 0.1) -> Path:
    """Write a recording that differs from those of other numbers; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(number)
    time = np.arange(int(RATE * seconds))
    samples = 0.3 * np.sin(time * (0.05 + 0.0001 * number)) + 0.02 * generator.normal(size=len(time))
    soundfile.write(path, samples, RATE, format="WAV")
    return path


def copy(name: str, folder: Path) -> Path:
    """Copy a recipe without its computed files; the copy uses this checkout."""
    ignore = shutil.ignore_patterns("data", "feats", "exp", "__pycache__")
    recipe = Path(shutil.copytree(ROOT / "egs" / name, folder / name, ignore=ignore))
    (recipe / "path.sh").write_text(f'. "{ROOT}/egs/{name}/path.sh"\n')
    return recipe


def run(recipe: Path, *arguments: object) -> subprocess.CompletedProcess:
    """Run run.sh of a recipe."""
    command = [str(recipe / "run.sh"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=recipe.parent)


def git_show(repository: str, path: str) -> str | None:
    """Return a file of a mirrored repository, or None if the mirror lacks it."""
    folder = MIRROR / repository / "repo"
    if not folder.is_dir():
        return None
    command = ["git", "--git-dir", str(folder), "show", f"HEAD:{path}"]
    environment = {"PATH": "/usr/bin:/bin", "GIT_NO_LAZY_FETCH": "1"}
    result = subprocess.run(command, capture_output=True, env=environment)
    return result.stdout.decode() if result.returncode == 0 else None


def to_scores(data: Path, folder: Path, *options: str) -> dict:
    """Extract filter banks of a data directory, train the mean with the linear head, and return experiment -> scores.

    The commands run in this process: it takes seconds to import their packages, and each stage of run.sh does so.
    """
    from soctk.cli import extract, score, train

    store, experiment = folder / "feats", folder / "exp" / "mean"
    model = ["--pooling", "mean", "--head", "linear", "--nj", "1", *options]
    for command, arguments in (
        (extract.main, [data, store, "--upstream", "fbank", "--nj", "1"]),
        (train.main, [data, store, experiment, *model]),
        (score.main, [folder / "exp"]),
    ):
        result = CliRunner().invoke(command, list(map(str, arguments)))
        assert result.exit_code == 0, result.output + str(result.exception)
    return json.loads((folder / "exp" / "scores.json").read_text())["experiments"]
