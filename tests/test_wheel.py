"""The wheel contains the package and the settings, and works outside a checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, write_corpus

from soctk.features.extract import Extraction, extract

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the files that git tracks or would add: a build leaves files in its folder."""
    folder = tmp_path_factory.mktemp("wheel")
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "soctk", "conf", "*.*", "LICENSE"]
    for name in subprocess.check_output(listing, cwd=ROOT, text=True).split("\0"):
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / "source" / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", folder, folder / "source"], check=True)
    (built,) = folder.glob("soctk-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel) -> Path:
    """A folder with the content of the wheel."""
    folder = wheel.parent / "installed"
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def run(installed: Path, code: str, folder: Path, *arguments: object) -> str:
    """Run Python with the content of the wheel instead of the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def files(folder: Path) -> set[str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)) for path in paths}


def test_the_wheel_contains_only_the_package_and_the_settings(installed):
    contents = files(installed / "soctk")
    assert contents == files(ROOT / "soctk") | {f"conf/{name}" for name in files(ROOT / "conf")}
    assert {"py.typed", "conf/preset/paper/model.yaml", "reporting/templates/report.html"} <= contents
    assert {path.name.partition("-")[0] for path in installed.iterdir()} == {"soctk"}


def test_version_and_commands_equal_those_of_the_checkout(installed, tmp_path):
    code = "import soctk, importlib.metadata as m; print(soctk.__file__, soctk.__version__, m.version('soctk'))"
    path, *versions = run(installed, code, tmp_path).split()
    assert Path(path).parent == installed / "soctk"
    assert len(set(versions)) == 1
    (metadata,) = installed.glob("soctk-*.dist-info")
    assert "soctk-plan = soctk.cli.plan:main" in (metadata / "entry_points.txt").read_text()
    assert "Provides-Extra: fast" in (metadata / "METADATA").read_text()


def test_training_outside_a_checkout_uses_the_settings_in_the_wheel(installed, tmp_path):
    extract(write_corpus(tmp_path), tmp_path / "feats", Extraction("mfcc"))
    code = "from soctk.cli.train import main; main()"
    output = run(installed, code, tmp_path, "data", "feats", "exp/default")
    assert output.endswith("exp/default: 3 folds x 1 seed, 3 of 3 trained now\n")
    settings = yaml.safe_load((tmp_path / "exp" / "default" / "fold1" / "seed1" / "config.yaml").read_text())
    assert (list(settings["pooling"]), settings["head"]["name"]) == (["mean", "soc_full"], "linear")
    assert settings["made_with"]["commit"] == "unknown"
    directories = run(installed, "from soctk import config; print(config.BUILTIN_CONF)", tmp_path)
    assert directories.strip() == str(installed / "soctk" / "conf")
