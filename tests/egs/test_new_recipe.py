"""bin/new-recipe and egs/TEMPLATE; tests/test_docs_commands.py follows docs/own-corpus.md."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT

from soctk.corpus import datadir


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A separate copy of the checkout, with .venv in place."""
    path = tmp_path_factory.mktemp("a folder") / "checkout"
    for name in ("egs/TEMPLATE", "conf", "bin", "soctk"):
        shutil.copytree(ROOT / name, path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (path / ".venv").symlink_to(ROOT / ".venv")
    (path / "bin" / "setup").write_text("#!/bin/sh\n")
    return path


@pytest.fixture
def new(checkout):
    """A fresh recipe."""
    result = subprocess.run([checkout / "bin" / "new-recipe", "fresh_one"], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("egs/fresh_one is ready. Complete these files; each has an example:\n")
    for file in ("egs/fresh_one/local/prepare.py ", "egs/fresh_one/conf/folds.yaml "):
        assert file in result.stdout
    yield checkout / "egs" / "fresh_one"
    shutil.rmtree(checkout / "egs" / "fresh_one")


def call(recipe: Path, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([recipe / "run.sh", *arguments], capture_output=True, text=True, cwd=recipe)


@pytest.mark.slow
def test_a_new_recipe_names_the_files_to_complete(new, tmp_path):
    result = call(new)
    assert (result.returncode, result.stderr) == (
        1,
        "Error: stage 0 needs the recordings\nGive --corpus DIR. First complete local/prepare.py and conf/folds.yaml "
        "as their examples do, or see docs/own-corpus.md.\n",
    )
    soundfile.write(tmp_path / "ann_1_happy.wav", np.ones(1600) / 2, 16000)
    result = call(new, "--corpus", tmp_path)
    assert result.returncode == 1
    assert result.stdout.endswith(
        "\nError: local/prepare.py: describe() is not filled in yet\nWrite describe() like the example in it. "
        "conf/folds.yaml may list the speakers of each fold.\n"
    )
    assert not (new / "data" / "fresh_one" / "wav.scp").exists()
    assert "NAME" not in (new / "README.md").read_text() + (new / "run.sh").read_text()


@pytest.mark.slow
def test_a_recipe_completed_like_its_examples_writes_the_data_directory(new, tmp_path):
    for name in ("ann_1_happy", "ann_2_sad", "bob_1_happy", "bob_2_sad"):
        soundfile.write(tmp_path / f"{name}.wav", np.ones(1600) / 2, 16000)
    file = new / "local" / "prepare.py"
    text = file.read_text()
    (example,) = re.findall(r"^ {8}(speaker, _, .*\n) {8}(return .*)$", text, flags=re.MULTILINE)
    statements = text[text.index("    remedy = ") : text.index("\n\n\n@click")]
    file.write_text(text.replace(statements, f"    {example[0]}    {example[1]}"))
    table = new / "conf" / "folds.yaml"
    example = re.findall(r"^#     (\d: .*)$", table.read_text(), flags=re.MULTILINE)
    table.write_text("\n".join(example[:2]))  # the corpus has no speaker of the third fold
    result = call(new, "--corpus", tmp_path, "--stop-stage", "0")
    assert result.returncode == 0, result.stdout + result.stderr
    data = datadir.read(new / "data" / "fresh_one")
    assert data.emotion == {"ann-1_happy": "Happy", "ann-2_sad": "Sad", "bob-1_happy": "Happy", "bob-2_sad": "Sad"}
    assert (data.gender, data.fold) == ({"ann": "f", "bob": "m"}, {"ann": 1, "bob": 2})


@pytest.mark.slow
def test_a_copied_recipe_works_under_its_new_name(checkout, tmp_path):
    ignored = shutil.ignore_patterns("corpus", "downloads", "data", "feats", "exp", "__pycache__")
    shutil.copytree(ROOT / "egs" / "ravdess", checkout / "egs" / "mine", ignore=ignored)
    result = call(checkout / "egs" / "mine", "--corpus", tmp_path, "--stop-stage", "0")
    assert result.returncode == 1
    assert f"Stage 0: data: {tmp_path} -> data/mine (log: data/mine/log/prepare.log)\n" in result.stdout
    assert (checkout / "egs" / "mine" / "data" / "mine" / "log" / "prepare.log").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Usage: bin/new-recipe NAME"),
        (["two", "names"], 2, "Usage: bin/new-recipe NAME"),
        (["../evil"], 2, "Usage: bin/new-recipe NAME"),
        (["TEMPLATE"], 1, "egs/TEMPLATE exists already; choose another name"),
    ],
)
def test_an_invalid_name_is_reported(checkout, arguments, code, message):
    result = subprocess.run([checkout / "bin" / "new-recipe", *arguments], capture_output=True, text=True)
    assert result.returncode == code
    assert message in result.stderr


def test_path_sh_and_cmd_sh_are_the_same_in_all_recipes():
    for file in ("path.sh", "cmd.sh"):
        assert len({(recipe.parent / file).read_text() for recipe in ROOT.glob("egs/*/run.sh")}) == 1
