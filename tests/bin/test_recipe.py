"""bin/recipe.sh, on a recipe of a few lines that prints what it got, and the commands of its long stages."""

import os
import subprocess

import pytest
from conftest import ROOT

RECIPE = f"""#!/usr/bin/env bash
set -euo pipefail
recipe=$(dirname "$0")/here
SOCTK_ROOT="{ROOT}"
. "$SOCTK_ROOT/bin/options.sh"
corpus=""         # DIR of the corpus
pooling=mean      # the recipe's own default
extras=()
extract_cmd=(printf '<%s>') train_cmd=(printf '<%s>')
. "$SOCTK_ROOT/bin/recipe.sh"
for n in 0 1 2 3; do if run_stage "$n" "the work"; then :; fi; done
echo "corpus=$corpus upstream=$upstream expdir=$expdir data=$data feats=$feats experiment=$experiment in=$PWD"
extract_features
train_folds
"""
PATH_FILES = sorted(ROOT.glob("egs/*/path.sh"))


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "run.sh"
    path.write_text(RECIPE)
    (tmp_path / "here").mkdir()

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(["bash", path, *arguments], cwd=tmp_path, capture_output=True, text=True)

    return run


def stages(result) -> list[int]:
    return [int(line.split("Stage ")[1][0]) for line in result.stdout.splitlines() if "Stage " in line]


SPEEDS = 'a list of speeds from 0.5 to 2, other than 1, such as "0.9 1.1"'


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], [0, 1, 2, 3]),
        (["--stage", "2"], [2, 3]),
        (["--stage", "1", "--stop-stage", "2"], [1, 2]),
        (["--stop_stage", "0"], [0]),
        (["--stage=1", "--stop-stage=1"], [1]),
    ],
)
def test_stages(recipe, arguments, expected):
    result = recipe(*arguments)
    assert result.returncode == 0
    assert stages(result) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--poolin", "mean"], "unknown option '--poolin'"),
        (["--PATH", "x"], "unknown option '--PATH'"),
        (["--name", "x"], "unknown option '--name'"),
        (["mean"], "'mean' is not an option"),
        (["--pooling"], "--pooling needs a value"),
        (["--pooling", "maen"], "unknown pooling 'maen': there is no conf/pooling/maen.yaml"),
        (["--enrol", "5"], "--enrol is for --recentre speaker"),
        (["--enrol", "five", "--recentre", "speaker"], "--enrol is all or a whole number, not 'five'"),
        (["--recentre", "speakers"], "--recentre is none or speaker, not 'speakers'"),
        (["--combine", "max"], "--combine is sum or concat, not 'max'"),
        (["--protocol", "cross-lingual"], "--protocol is soctk or emobox, not 'cross-lingual'"),
        (["--device", "gpu"], "--device is cpu, cuda or auto, not 'gpu'"),
        (["--layer", "four"], "--layer is last, all or whole numbers such as \"3 4\", not 'four'"),
        (["--layer", ""], "--layer is last, all or whole numbers such as \"3 4\", not ''"),
        (["--use-layer", "last"], "--use-layer is all or whole numbers such as \"3 4\", not 'last'"),
        (["--folds", "1-3"], "--folds is a list of whole numbers such as \"1 2\", not '1-3'"),
        (["--seeds", "1 2 x"], "--seeds is a list of whole numbers such as \"1 2\", not '1 2 x'"),
        (["--seeds", ""], "--seeds is a list of whole numbers such as \"1 2\", not ''"),
        (["--seeds", "1 2, 1"], "--seeds has one twice: '1 2 1'"),
        (["--nj", "0"], "--nj is a whole number from 1, not '0'"),
        (["--nj", "2 3"], "--nj is a whole number from 1, not '2 3'"),
        *(
            (["--speed-perturb", speeds], f"--speed-perturb is {SPEEDS}, not '{speeds}'")
            for speeds in ("slow", "0.9 1", "0.3", "3")
        ),
        (["--speed-perturb", "0.9 .90"], "--speed-perturb has one twice: '0.9 0.9'"),
        (["--train-args", "--set 'a=b"], "--train-args has a quote (', \" or \\) that is not closed: --set 'a=b"),
        (["--preset", "papers"], "the presets are default and paper"),
        (["--stage", "4"], "stages are 0, 1, 2 and 3"),
        (["--stage", "one"], "stages are 0, 1, 2 and 3"),
        (["--stage", "3", "--stop-stage", "2"], "the first stage, 3, is after the last, 2"),
    ],
)
def test_wrong_options_die_in_one_message(recipe, arguments, message):
    result = recipe(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    first, last, rest = result.stderr.split("\n")
    assert last == "run.sh --help has the options, with their defaults."
    assert not rest
    told, _, known = first.partition("; there are ")
    assert told == f"run.sh: {message}"
    if "unknown option" in message:
        assert {"--stage", "--stop-stage", "--corpus", "--pooling"} <= set(known.split())


def test_help_shows_what_each_option_is_and_its_default(recipe):
    result = recipe("--help", "--stage", "9")
    assert result.returncode == 0
    assert "  --stop-stage    last stage to run (default: 3)\n" in result.stdout
    assert "  --corpus        DIR of the corpus (default: none)\n" in result.stdout
    assert "  --pooling       the recipe's own default (default: mean)\n" in result.stdout
    assert result.stdout.count("--pooling") == 1


def test_a_value_may_hold_anything_and_is_not_evaluated(recipe, tmp_path):
    result = recipe("--tag", "a b; $(touch evil) `touch evil` = --x")
    assert "experiment=exp/fbank-mean-linear-a b; $(touch evil) `touch evil` = --x" in result.stdout
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", []),
        ("--set  train.lr=1e-3 --tensorboard", ["--set", "train.lr=1e-3", "--tensorboard"]),
        ("--set 'head.C=[0.1, 1]' --set head.C=\"[1, 2]\"", ["--set", "head.C=[0.1, 1]", "--set", "head.C=[1, 2]"]),
        ("--set a=b\n--set\tc=d\n", ["--set", "a=b", "--set", "c=d"]),
        ("'two\nlines' '' a\\ b # é", ["two\nlines", "", "a b", "#", "é"]),
        ("$(touch evil) `touch evil` * ~ $HOME", ["$(touch", "evil)", "`touch", "evil`", "*", "~", "$HOME"]),
    ],
)
def test_more_options_are_split_as_a_shell_would_and_not_evaluated(recipe, tmp_path, value, words):
    result = recipe("--extract-args", value, "--train-args", value)
    assert result.returncode == 0, result.stderr
    extract, train = result.stdout.split("<soctk-")[1:]
    for command in (extract, train):
        assert command.endswith("".join(f"<{word}>" for word in ["--device", "auto", *words]))
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "cross-lingual", "--language", "en"], "--protocol cross-lingual is about both languages"),
        (["--protocol", "cross"], "--protocol is soctk or emobox or cross-lingual, not 'cross'"),
    ],
)
def test_a_recipe_may_have_a_protocol_of_its_own(arguments, message):
    result = subprocess.run([ROOT / "egs" / "esd" / "run.sh", *arguments], capture_output=True, text=True)
    assert result.returncode == 2
    assert f"run.sh: {message}\n" in result.stderr


@pytest.mark.parametrize("file", PATH_FILES, ids=lambda path: path.parent.name)
def test_the_toolkit_is_the_recipes_own_whatever_the_shell_was_told_before(file):
    code = '. "$1"; echo "$SOCTK_ROOT" "${PATH%%:*}"'
    environment = {**os.environ, "SOCTK_ROOT": "/another/checkout"}
    output = subprocess.check_output(["bash", "-c", code, "bash", file], env=environment, text=True)
    assert output == f"{ROOT} {ROOT}/.venv/bin\n"


def test_a_folder_that_is_called_as_an_upstream_is_does_not_stand_in_for_it(recipe, tmp_path):
    (tmp_path / "fbank").mkdir()
    assert "upstream=fbank " in recipe("--upstream", "fbank").stdout
    assert f"upstream={tmp_path}/fbank " in recipe("--upstream", "./fbank").stdout
    (tmp_path / "fbank" / "config.json").write_text("{}")
    assert f"upstream={tmp_path}/fbank " in recipe("--upstream", "fbank").stdout


def test_a_corpus_that_is_not_there_is_told(recipe, tmp_path):
    result = recipe("--corpus", "gone")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"run.sh: --corpus {tmp_path}/gone: no such directory. Check the path.\n"


def test_relative_paths_are_the_callers(recipe, tmp_path):
    (tmp_path / "my encoder").mkdir()
    (tmp_path / "my encoder" / "config.json").write_text("{}")
    (tmp_path / "some" / "corpus").mkdir(parents=True)
    result = recipe("--corpus", "some/corpus", "--upstream", "my encoder", "--expdir=out")
    assert f"corpus={tmp_path}/some/corpus upstream={tmp_path}/my encoder expdir={tmp_path}/out" in result.stdout
    assert (
        f"data=data/here feats=feats/my encoder experiment={tmp_path}/out/my encoder-mean-linear in={tmp_path}/here\n"
        in result.stdout
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "feats=feats/fbank experiment=exp/fbank-mean-linear in="),
        (["--layer", "4", "--tag", "try"], "feats=feats/fbank-layer4 experiment=exp/fbank-layer4-mean-linear-try"),
        (["--pooling", "mean+asp"], "experiment=exp/fbank-mean+asp-mlp in="),
        (["--pooling", "mean", "--head", "mlp", "--combine", "concat"], "experiment=exp/fbank-mean-mlp-concat in="),
        (["--preset", "paper"], "experiment=exp/fbank-mean-mlp-paper in="),
        (["--recentre", "speaker", "--enrol", "5"], "experiment=exp/fbank-mean-linear-recentred-enrol5 in="),
        (["--layer", "all"], "feats=feats/fbank-layerall experiment=exp/fbank-layerall-mean-linear in="),
        (
            ["--layer", "3 4", "--combine", "concat"],
            "feats=feats/fbank-layer3-4 experiment=exp/fbank-layer3-4-mean-linear ",
        ),
        (
            ["--layer", " 4,  3,", "--speed-perturb", "1.10, .9"],
            "feats=feats/fbank-layer3-4-sp0.9-1.1 experiment=exp/fbank-layer3-4-mean-linear-sp0.9-1.1 in=",
        ),
        (["--layer", "all", "--use-layer", "4"], "feats=feats/fbank-layerall experiment=exp/fbank-layer4-mean-linear "),
        (
            ["--speed-perturb", "0.9 1.1", "--preset", "paper"],
            "feats=feats/fbank-sp0.9-1.1 experiment=exp/fbank-mean-mlp-paper-sp0.9-1.1 in=",
        ),
        (["--upstream", "s3prl:fbank"], "feats=feats/s3prl-fbank experiment=exp/s3prl-fbank-mean-linear "),
        (["--upstream", "facebook/hubert-base-ls960"], "upstream=facebook/hubert-base-ls960 "),
        (
            ["--upstream", "facebook/hubert-base-ls960"],
            "feats=feats/hubert-base-ls960 experiment=exp/hubert-base-ls960-mean-linear",
        ),
    ],
)
def test_names_of_stores_and_experiments(recipe, arguments, expected):
    assert expected in recipe(*arguments).stdout
