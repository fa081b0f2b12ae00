"""soctk-train, soctk-sweep and soctk-cross: their common options, and what they need."""

import shutil
from unittest import mock

import pytest
import yaml
from click.testing import CliRunner
from conftest import write_corpus

from soctk import config
from soctk.cli import cross, extract, pack, robustness, sweep, train
from soctk.cli import score as score_command
from soctk.scoring.score import score

MODEL_OPTIONS = {
    "--preset", "--pooling", "--head", "--conf", "--set", "--layer", "--combine", "--recentre", "--enrol",
}  # fmt: skip


def invoke(command, *arguments: object):
    return CliRunner().invoke(command.main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Two corpora with features of three layers, without their recordings."""
    home = tmp_path_factory.mktemp("corpora")
    for seed, name in enumerate(("one", "two")):
        write_corpus(home / f"{name}-home", seed=seed)
        (home / f"{name}-home" / "data").rename(home / name)
        result = invoke(extract, home / name, home / f"feats-{name}", "--upstream", "mfcc")
        assert result.exit_code == 0, result.output
        shutil.rmtree(home / f"{name}-home")
    (home / "labels.yaml").write_text("calm: Neutral\nangry: Angry\nsad: Sad\n")
    return home


def cross_arguments(home, exp) -> list:
    sources = [
        word
        for name in ("one", "two")
        for word in ("--corpus", home / name, home / f"feats-{name}", home / "labels.yaml")
    ]
    return [exp, *sources, "--train", "one", "--test", "two"]


@pytest.mark.parametrize("command", [train, sweep, cross])
def test_the_commands_that_train_have_the_same_options_of_the_model(command):
    assert {name for parameter in command.main.params for name in parameter.opts} >= MODEL_OPTIONS


def test_features_are_trained_without_their_recordings(corpora, tmp_path):
    assert not list(corpora.rglob("*.wav"))
    data, store = corpora / "one", corpora / "feats-one"
    result = invoke(train, data, store, tmp_path / "exp", "--pooling", "mean", "--set", "head.C=[0.1]")
    assert result.exit_code == 0, result.output
    result = invoke(sweep, data, store, tmp_path / "sweep", "--grid", "pooling=[mean]", "--set", "head.C=[0.1]")
    assert result.exit_code == 0, result.output
    assert invoke(cross, *cross_arguments(corpora, tmp_path / "cross"), "--pooling", "mean").exit_code == 0


def test_options_of_the_model_reach_the_experiment_of_soctk_cross(corpora, tmp_path):
    options = ["--pooling", "mean", "--layer", "0", "--combine", "concat", "--recentre", "speaker", "--enrol", "1"]
    result = invoke(cross, *cross_arguments(corpora, tmp_path), *options, "--set", "head.C=[0.1]")
    assert result.exit_code == 0, result.output
    assert " †" in result.output
    settings = yaml.safe_load((tmp_path / "one-to-two" / "fold1" / "seed1" / "config.yaml").read_text())
    assert settings["frames"]["layers"] == [0]
    assert settings["frames"]["combine"] == "concat"
    assert settings["recentre"] == {"by": "speaker", "enrol": 1, "relevance": 2.0}
    result = invoke(cross, *cross_arguments(corpora, tmp_path / "other"), "--pooling", "mean", "--layer", "7")
    assert result.exit_code == 1
    assert "the store has no hidden state 7, only 0" in result.output


def test_a_copy_of_a_corpus_under_another_name_is_refused(corpora, tmp_path):
    shutil.copytree(corpora / "one", tmp_path / "copy")
    sources = [
        ("--corpus", data, corpora / "feats-one", corpora / "labels.yaml")
        for data in (corpora / "one", tmp_path / "copy")
    ]
    result = invoke(cross, tmp_path / "exp", *(word for source in sources for word in source))
    assert result.exit_code == 1
    assert (
        "Error: --corpus: the corpora share recordings: one and copy share 36\n  spk0-angry-0 of one = "
        in result.output
    )
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    ("grid", "options", "axis"),
    [
        ("pooling=[mean]", ["--pooling", "stats"], "pooling"),
        ("frames.layers=[[0]]", ["--layer", "all"], "frames.layers"),
        ("recentre.by=[speaker]", ["--recentre", "none"], "recentre.by"),
        ("head.C=[[1.0]]", ["--set", "head.C=[2.0]"], "head.C"),
    ],
)
def test_an_axis_of_a_sweep_cannot_be_an_option_too(grid, options, axis, tmp_path):
    result = invoke(sweep, tmp_path, tmp_path, tmp_path / "sweep", "--grid", grid, *options)
    assert result.exit_code == 2
    assert f"{axis} is an axis of --grid, and another option sets it too" in result.output


def test_options_hold_for_all_points_of_a_sweep(corpora, tmp_path):
    grid = ["--grid", "head.within_class_shrinkage=[0.5, 1]"]
    options = ["--pooling", "stats", "--recentre", "speaker", "--set", "head.C=[0.1]"]
    result = invoke(sweep, corpora / "one", corpora / "feats-one", tmp_path / "sweep", *grid, *options, "--folds", "1")
    assert result.exit_code == 0, result.output
    for value in ("0.5", "1"):
        run = tmp_path / "sweep" / f"head.within_class_shrinkage={value}" / "fold1" / "seed1"
        settings = yaml.safe_load((run / "config.yaml").read_text())
        assert list(settings["pooling"]) == ["stats"]
        assert settings["recentre"]["by"] == "speaker"
    assert "is at the edge of its values: " in result.output


def test_an_unknown_axis_lists_the_known_ones(corpora, tmp_path):
    result = invoke(sweep, corpora / "one", corpora / "feats-one", tmp_path, "--grid", "poling=[mean]")
    assert result.exit_code == 1
    assert (
        "Error: --grid: unknown axis 'poling'\nDid you mean 'pooling'? Any setting SECTION.KEY is an axis too"
        in result.output
    )


def test_the_nested_choice_is_scored_beside_the_best_point(corpora, tmp_path):
    grid = ["--grid", "pooling=[mean, stats]", "--set", "head.C=[0.1]"]
    arguments = [corpora / "one", corpora / "feats-one", tmp_path / "sweep", *grid]
    assert "Chosen in each run" not in invoke(sweep, *arguments).output
    assert not (tmp_path / "sweep" / "nested").exists()
    result = invoke(sweep, *arguments, "--nested")
    assert result.exit_code == 0, result.output
    table, nested = result.output.split("\nChosen in each run by its own validation loss: ")
    lines = table.splitlines()
    (header,) = (i for i, line in enumerate(lines) if line.startswith("point "))
    first, second = (line.split()[0] for line in lines[header + 2 : header + 4])
    assert {first, second} == {"pooling=mean", "pooling=stats"}
    assert f"\nBest on validation: {tmp_path / 'sweep' / first} (validation WA " in table
    place, scores, *chosen = nested.splitlines()
    assert place == str(tmp_path / "sweep" / "nested")
    (scored,) = score([tmp_path / "sweep" / "nested"])
    assert scores.startswith(f"  test: WA {scored.pooled['WA'].value:.2f} [")
    assert sorted(run for line in chosen for run in line.split(": ")[1].split(", ")) == [
        f"fold{fold}/seed1" for fold in (1, 2, 3)
    ]
    result = invoke(score_command, tmp_path / "sweep", "--compare")
    assert result.exit_code == 0, result.output
    assert "nested" in result.output


def test_an_experiment_on_two_corpora_is_not_packed_or_disturbed(corpora, tmp_path):
    trained = invoke(cross, *cross_arguments(corpora, tmp_path), "--pooling", "mean", "--set", "head.C=[0.1]")
    assert trained.exit_code == 0, trained.output
    for result in (
        invoke(pack, tmp_path / "one-to-two", tmp_path / "model"),
        invoke(robustness, tmp_path / "one-to-two", "--conditions", "clean"),
    ):
        assert result.exit_code == 1
        assert "this experiment has two corpora (soctk-cross), and no data directory has both\n" in result.output


def test_cross_tells_that_a_comma_in_layer_separates_encoders(corpora, tmp_path):
    result = invoke(cross, *cross_arguments(corpora, tmp_path / "cross"), "--layer", "0, 0")
    assert result.exit_code == 2
    assert "--layer has a comma, which separates several encoders, and soctk-cross takes one" in result.output


def test_the_preset_paper_tells_what_it_takes_for_the_size_of_the_corpus(corpora, tmp_path):
    options = ["--preset", "paper", "--set", "train.epochs=1", "--folds", "1"]
    result = invoke(train, corpora / "one", corpora / "feats-one", tmp_path / "exp", *options)
    assert result.exit_code == 0, result.output
    assert "preset paper, 36 utterances: pooling.soc.d=8, train.batch_size=32\n" in result.output
    settings = yaml.safe_load((tmp_path / "exp" / "fold1" / "seed1" / "config.yaml").read_text())
    assert (settings["pooling"]["soc"]["d"], settings["train"]["batch_size"]) == (8, 32)
    result = invoke(
        cross, *cross_arguments(corpora, tmp_path / "cross"), "--preset", "paper", "--set", "train.epochs=1"
    )
    assert result.exit_code == 0, result.output
    assert "preset paper, 36 utterances: pooling.soc.d=8, train.batch_size=32 (the smallest corpus)\n" in result.output
    grid = ["--grid", "train.epochs=[1]", "--folds", "1", "--preset", "paper"]
    from_36 = {36: config.size_directories("paper")[5000]}
    with mock.patch.object(config, "size_directories", lambda preset: from_36):
        result = invoke(sweep, corpora / "one", corpora / "feats-one", tmp_path / "sweep", *grid)
    assert result.exit_code == 0, result.output
    run = tmp_path / "sweep" / "train.epochs=1" / "fold1" / "seed1"
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert (settings["pooling"]["soc"]["d"], settings["train"]["batch_size"]) == (24, 64)
