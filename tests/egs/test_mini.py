"""All stages of egs/mini, in a copy of the recipe whose path contains a space."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow

WA_ROW = re.compile(r"\| fbank-mean\+soc_full-linear +\| +5 \| +1 \| (\d+\.\d+) ±")


def run(recipe: Path, *arguments: str) -> str:
    return subprocess.check_output([recipe / "run.sh", *arguments], text=True, cwd=recipe.parent)


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    """The recipe after a run of all its stages, and the output of that run."""
    recipe = tmp_path_factory.mktemp("a folder") / "mini"
    shutil.copytree(
        ROOT / "egs" / "mini", recipe, ignore=shutil.ignore_patterns("corpus", "data", "feats", "exp", "__pycache__")
    )
    (recipe / "path.sh").write_text(f'. "{ROOT}/egs/mini/path.sh"\n')  # the copy uses this checkout
    return recipe, run(recipe)


def test_all_stages_run_and_give_plausible_scores(mini):
    recipe, output = mini
    assert re.findall(r"Stage \d: .*", output) == [
        "Stage 0: data: corpus -> data/mini (log: data/mini/log/prepare.log)",
        "Stage 1: features: data/mini -> feats/fbank (log: feats/fbank/log/extract.log)",
        "Stage 2: train: feats/fbank -> exp/fbank-mean+soc_full-linear "
        "(log: exp/fbank-mean+soc_full-linear/log/train.log)",
        "Stage 3: score: exp -> exp/RESULTS.md (log: exp/log/score.log)",
    ]
    assert (
        "500 utterances, 0.21 h, 20 speakers, 5 folds; neutral 100, happy 100, sad 100, angry 100, surprise 100"
        in output
    )
    scores = json.loads((recipe / "exp" / "scores.json").read_text())["experiments"]
    assert 30 < scores["fbank-mean+soc_full-linear"]["over_folds"]["WA"]["mean"] < 90


def test_scores_are_close_to_the_published_table(mini):
    recipe, _ = mini
    published, found = (
        float(WA_ROW.search((path / "RESULTS.md").read_text())[1]) for path in (ROOT / "egs" / "mini", recipe / "exp")
    )
    assert found == pytest.approx(published, abs=5)  # processors round differently, and training amplifies it


def test_the_synthesised_speech_is_reproducible(mini):
    recipe, _ = mini
    spoken = {path: path.read_bytes() for path in recipe.glob("corpus/**/*.wav")}
    assert len(set(spoken.values())) == 500
    run(recipe, "--stop-stage", "0")
    assert all(path.read_bytes() == content for path, content in spoken.items())


def test_run_again_it_repeats_nothing(mini):
    recipe, _ = mini
    output = run(recipe, "--stage", "1")
    assert "feats/fbank: 500 utterances, 0 of them extracted now" in output
    assert "exp/fbank-mean+soc_full-linear: 5 folds x 1 seed, 0 of 5 trained now" in output
