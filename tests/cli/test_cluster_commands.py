"""The commands with --cluster local:2 give the same files as without it."""

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from conftest import write_corpus

from soctk.cli import cross, extract, pack, predict, sweep

pytestmark = pytest.mark.slow


def run(command, *arguments, code: int = 0) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def contents(path: Path, *names: str) -> dict[str, bytes]:
    files = [file for name in names for file in sorted(path.rglob(name))]
    assert files
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> Path:
    """A folder with the data directories, features and label maps of the corpora `one` and `two`."""
    root = tmp_path_factory.mktemp("corpora")
    (root / "data").mkdir()
    for seed, name in enumerate(("one", "two")):
        corpus = write_corpus(root / name, seed=seed)
        (root / name / "data").rename(root / "data" / name)
        (root / f"{name}.yaml").write_text("".join(f"{emotion}: {emotion}\n" for emotion in corpus.emotions))
        run(extract.main, root / "data" / name, root / "feats" / name, "--upstream", "mfcc")
    return root


def test_extract_predict_and_a_sweep_of_all_points_at_once(corpora, tmp_path):
    data, feats = corpora / "data" / "one", corpora / "feats" / "one"
    cluster = ("--cluster", "local:2")
    output = run(extract.main, data, tmp_path / "feats", "--upstream", "mfcc", *cluster)
    assert "36 utterances, 36 of them extracted now" in output
    names = ("*.safetensors", "index.tsv")
    assert contents(tmp_path / "feats", *names) == contents(feats, *names)

    grid = ("--grid", "pooling=[mean, mean+soc_full]", "--set", "head.C=[0.01, 0.1]", "--nested")
    run(sweep.main, data, feats, tmp_path / "local", *grid)
    run(sweep.main, data, feats, tmp_path / "sweep", *grid, *cluster)
    names = ("predictions.tsv", "model.safetensors", "config.yaml", "sweep.tsv")
    assert contents(tmp_path / "sweep", *names) == contents(tmp_path / "local", *names)
    logs = sorted(path.name for path in (tmp_path / "sweep" / "log").iterdir())
    assert logs == ["worker-0.log", "worker-1.log"]

    run(pack.main, tmp_path / "local" / "pooling=mean", tmp_path / "model")
    recordings = corpora / "one" / "recordings of the corpus"
    inputs = (tmp_path / "model", recordings, tmp_path / "missing.wav")
    local = run(predict.main, *inputs, "-o", tmp_path / "local.tsv", code=1)
    output = run(predict.main, *inputs, "-o", tmp_path / "answers.tsv", *cluster, code=1)
    assert "missing.wav: no such file" in output
    assert output == local
    local, answers = (pd.read_csv(tmp_path / name, sep="\t") for name in ("local.tsv", "answers.tsv"))
    assert len(answers) == 36
    pd.testing.assert_frame_equal(answers, local, rtol=0, atol=1e-5)


def test_cross_trains_all_pairs(corpora, tmp_path):
    sources = [
        word
        for name in ("one", "two")
        for word in ("--corpus", corpora / "data" / name, corpora / "feats" / name, corpora / f"{name}.yaml")
    ]
    options = (*sources, "--pooling", "mean", "--set", "head.C=[0.01, 0.1]")
    run(cross.main, tmp_path / "local", *options)
    output = run(cross.main, tmp_path / "exp", *options, "--cluster", "local:2")
    assert "one-to-two: fold 1, seed 1: C = " in output  # several experiments are trained at the same time
    names = ("predictions.tsv", "CROSS.md")
    assert contents(tmp_path / "exp", *names) == contents(tmp_path / "local", *names)
    assert len(contents(tmp_path / "exp", "predictions.tsv")) == 8  # two corpora with 3 folds, and two pairs


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (predict.main, ("MODEL", "-"), "--cluster classifies files; it does not work with --score or a pipe"),
        (
            extract.main,
            ("DATA", "STORE", "--upstream", "mfcc", "--nj", "2", "--job", "1"),
            "--job divides the work by hand",
        ),
    ],
)
def test_options_that_contradict_a_cluster_are_refused(command, arguments, message):
    result = CliRunner().invoke(command, [*arguments, "--cluster", "local:2"])
    assert result.exit_code == 2
    assert message in result.output
