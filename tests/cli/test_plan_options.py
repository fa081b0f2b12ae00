"""soctk-plan: how the options of a recipe are parsed from a command line."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from soctk.cli.plan import main

DEFAULTS = "corpus: {help: Folder of the corpus., download: the net}\ndefaults: {pooling: mean}\n"


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Return a function that calls soctk-plan on the recipe `here`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here" / "conf").mkdir(parents=True)
    (tmp_path / "here" / "conf" / "recipe.yaml").write_text(DEFAULTS)

    def plan(*arguments: str, shell: bool = True):
        return CliRunner().invoke(main, [*(["--shell"] if shell else []), "here", *arguments], prog_name="soctk-plan")

    return plan


def variables(result) -> dict[str, str]:
    assert result.exit_code == 0, result.output
    return dict(line.split("=", 1) for line in result.stdout.splitlines())


WHOLE = "not a list of different whole numbers such as"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--poolin", "mean"], "No such option '--poolin'. (Did you mean one of: '--pooling', '--protocol'?)"),
        (["--PATH", "x"], "No such option '--PATH'"),
        (["--name", "x"], "No such option '--name'"),
        (["mean"], "Got unexpected extra argument (mean)"),
        (["--pooling"], "Option '--pooling' requires an argument."),
        (["--enrol", "five", "--recentre", "speaker"], "'five' is not all or a whole number"),
        (["--recentre", "speakers"], "'speakers' is not one of 'none', 'speaker'"),
        (["--combine", "max"], "'max' is not one of 'sum', 'concat'"),
        (["--protocol", "cross-lingual"], "'cross-lingual' is not one of 'soctk', 'emobox'"),
        (["--device", "gpu"], "'gpu' is not one of 'cpu', 'cuda', 'auto'"),
        (["--layer", "four"], "'four' is not all, last or a list of different whole numbers"),
        (["--layer", ""], "at least one number is needed"),
        (["--use-layer", "first"], "'first' is not auto, all, last or a list of different whole numbers"),
        (["--folds", "1-3"], f"'1-3' is {WHOLE}"),
        (["--seeds", "1 2 x"], f"'1 2 x' is {WHOLE}"),
        (["--seeds", ""], "at least one number is needed"),
        (["--seeds", "1 2, 1"], f"'1 2, 1' is {WHOLE}"),
        (["--nj", "0"], "0 is not in the range x>=1"),
        (["--nj", "2 3"], "'2 3' is not a valid integer range"),
        *(
            (["--speed-perturb", speeds], f"'{speeds}' is not a list of different speeds from 0.5 to 2, other than 1")
            for speeds in ("slow", "0.9 1", "0.3", "3", "0.9 .90")
        ),
        *(
            (
                ["--augment", names],
                f"'{names}' is not a list of different names from: noise, babble, reverb, pitch, gain, codec",
            )
            for names in ("speech", "noise noise", "Noise")
        ),
        (["--normalise", "lufs"], "'lufs' is not one of 'none', 'level'"),
        (["--train-args", "--set 'a=b"], "'--train-args': a quote (', \" or \\) is not closed: --set 'a=b"),
        (["--extract-args", "a\\"], "'--extract-args': a quote (', \" or \\) is not closed: a\\"),
        (["--train-args", "--set"], "--train-args: Option '--set' requires an argument."),
        (["--train-args", "--dtype float32"], "--train-args: No such option '--dtype'"),
        (["--train-args", "more"], "--train-args: Got unexpected extra argument (more)"),
        (["--extract-args", "--dtype int8"], "--extract-args: Invalid value for '--dtype': 'int8' is not one of"),
        (["--extract-args", "--help"], "--extract-args: --help and --version do not work here"),
        (
            ["--train-args", "--pooling soc"],
            "--train-args: --pooling is an option of the recipe itself; give it to the recipe",
        ),
        (["--extract-args", "--upstream mfcc"], "--extract-args: --upstream is an option of the recipe itself"),
        (["--extract-args", "--layer 3"], "--extract-args: --layer is an option of the recipe itself"),
        (["--train-args", "--nj 2 --nj 3"], "--train-args: --nj is given 2 times. Give it once."),
        (
            ["--layer", "2", "--layer", "3", "--layer=4"],
            '--layer is given 3 times. Give it once, with all values in one argument, such as --layer "3 4".',
        ),
        (["--stop-stage", "2", "--stop_stage=2"], "--stop-stage is given 2 times. Give it once."),
        (["--stage", "6"], "6 is not in the range 0<=x<=5"),
        (["--stage", "one"], "'one' is not a valid integer range"),
    ],
)
def test_wrong_options_give_one_message(plan, arguments, message):
    result = plan(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    usage, hint, empty, error, *rest = result.stderr.split("\n")
    assert (usage, hint, empty, rest) == ("Usage: run.sh [OPTIONS]", "Try 'run.sh --help' for help.", "", [""])
    assert message in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pooling", "maen"], "--pooling maen: unknown pooling 'maen'\nDid you mean 'mean'? Known: asp, corr, mean,"),
        (
            ["--preset", "papers"],
            "--preset: unknown preset 'papers'\nDid you mean 'paper'? Known: default, emobox, paper.\n",
        ),
        (["--enrol", "5"], "enrol needs by: speaker (--recentre speaker)"),
        (["--stage", "3", "--stop-stage", "2"], "--stage: the first stage, 3, comes after the last, 2\n"),
        (["--corpus", "gone"], "/gone: no such directory\nCheck the path.\n"),
        (["--train-args", "--set train.lrr=1", "--head", "mlp"], "train: unknown key 'lrr'. Did you mean 'lr'?"),
        (["--train-args", "--conf gone"], "gone: no such conf directory\n"),
    ],
)
def test_unknown_names_and_contradictions_give_one_message(plan, arguments, message):
    result = plan(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--stop-stage", "1"], ["--stop_stage", "1"], ["--stop-stage=1"], ["--stop_stage=1"]],
)
def test_options_have_hyphens_or_underscores_and_a_space_or_an_equals_sign(plan, arguments):
    assert variables(plan(*arguments))["stop_stage"] == "1"


@pytest.mark.parametrize(
    ("arguments", "same"),
    [
        (["--layer", " 4,  3,", "--speed-perturb", "1.10, .9"], ["--layer", "3 4", "--speed-perturb", "0.9 1.1"]),
        (["--upstream", "hubert_base", "--use-layer", "4  3"], ["--upstream", "hubert_base", "--use-layer", "3 4"]),
        (["--augment", "reverb, noise"], ["--augment", "noise reverb"]),
        (["--folds", "1,2", "--seeds", "3, 1"], ["--folds", "1 2", "--seeds", "3 1"]),
    ],
)
def test_two_spellings_of_numbers_give_the_same_plan(plan, arguments, same):
    assert variables(plan(*arguments)) == variables(plan(*same))


def test_spelling_variants_give_the_same_names(plan):
    names = variables(plan("--layer", " 4,  3,", "--speed-perturb", "1.10, .9"))
    assert names["feats"] == "feats/fbank-layer3-4-sp0.9-1.1"
    assert names["experiment"] == "exp/fbank-layer3-4-mean-linear-sp0.9-1.1"


def test_extra_arguments_are_split_like_a_shell_does(plan):
    text = "--set 'head.C=[0.1, 1]' --set\n\thead.within_class_shrinkage=\"0.5\" --tensorboard"
    options = variables(plan("--train-args", text, "--extract-args", "--dtype  float32"))
    assert options["train_options"].endswith(
        "--set 'head.C=[0.1, 1]' --set head.within_class_shrinkage=0.5 --tensorboard)"
    )
    assert options["extract_options"].endswith("--device auto --dtype float32)")


def test_further_options_win_over_those_that_the_recipe_itself_would_give(plan):
    more = "--nj 7 --seeds '3 4' --folds=2 --conf other --set head.C=[0.1]"
    (Path("here") / "other").mkdir()
    options = variables(
        plan("--nj", "5", "--seeds", "1", "--folds", "1", "--train-args", more, "--extract-args=--device=cpu")
    )
    assert options["train_options"].endswith(
        "--device auto --nj 7 --seeds '3 4' --folds=2 --conf other --set 'head.C=[0.1]')"
    )
    counts = [options["train_options"].count(name) for name in ("--nj ", "--seeds ", "--conf ", "--folds")]
    assert counts == [1, 1, 2, 1]
    assert options["extract_options"].endswith("--nj 5 --device=cpu)")


def test_help_shows_the_options_and_defaults_of_the_recipe(plan, tmp_path):
    (tmp_path / "here" / "conf" / "recipe.yaml").write_text(
        DEFAULTS + "options: {accent: {choices: [all, north], default: all, help: Whose recordings.}}\n"
    )
    result = plan("--help", "--stage", "9", shell=False)
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    assert text.startswith("Usage: soctk-plan here [OPTIONS] Run the recipe here.")
    assert (
        "--stop-stage INTEGER RANGE Last stage to run. Stages 4 and 5 run only if --stage or --stop-stage chooses "
        "them. [default: 3, or --stage if it is greater; 0<=x<=5]"
    ) in text
    assert "--corpus DIR Folder of the corpus. [default: the net]" in text
    assert "each fold chooses mean, soc_full or both (head linear). [default: mean]" in text
    assert "--accent [all|north] Whose recordings. [default: all]" in text
    assert "--use-layer LAYERS Extracted hidden states to train on" in text
    assert text.count("--pooling ") == 1


@pytest.mark.parametrize(("option", "start"), [("--help", "Usage: run.sh [OPTIONS]\n"), ("--version", "soctk 0.")])
def test_the_shell_plan_prints_help_or_version_and_exits(plan, option, start):
    script = plan(option).stdout + "echo after the plan"
    output = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True).stdout
    assert output.startswith(start)
    assert "after the plan" not in output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("defaults: {poolin: mean}\n", "unknown option 'poolin'\nDid you mean 'pooling'?"),
        ("defaults: {expdir: x}\n", "unknown option 'expdir'"),
        ("options: {stage: {help: x}}\n", "'stage' is an option of every recipe\nRename the option."),
        ("corpus: [a]\n", "malformed\n  corpus: "),
    ],
)
def test_a_wrong_recipe_yaml_is_one_message(plan, tmp_path, text, message):
    (tmp_path / "here" / "conf" / "recipe.yaml").write_text(text)
    result = plan()
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"here/conf/recipe.yaml: {message}" in result.stderr


def test_the_defaults_of_a_recipe_are_checked_like_options(plan, tmp_path):
    (tmp_path / "here" / "conf" / "recipe.yaml").write_text("corpus: {download: x}\ndefaults: {nj: 0}\n")
    result = plan()
    assert result.exit_code == 2
    assert "Invalid value for '--nj': 0 is not in the range x>=1" in result.stderr


def test_a_recipe_without_recipe_yaml_has_the_common_options(plan, tmp_path):
    (tmp_path / "here" / "conf" / "recipe.yaml").unlink()
    assert variables(plan("--corpus", "here"))["experiment"] == "exp/fbank-mean+soc_full-linear"


def test_help_and_wrong_options_do_not_import_torch(tmp_path):
    code = """
import sys
from soctk.cli.plan import main
for option in ("--help", "--poolin"):
    try:
        main([sys.argv[1], option])
    except SystemExit:
        pass
print("TORCH" if "torch" in sys.modules else "LIGHT")
"""
    (tmp_path / "here").mkdir()
    output = subprocess.check_output([sys.executable, "-c", code, tmp_path / "here"], text=True)
    assert output.endswith("LIGHT\n")


def test_an_option_for_a_folder_becomes_absolute_and_one_for_the_scores_gives_a_folder_of_exp(plan, tmp_path):
    (tmp_path / "here" / "conf" / "recipe.yaml").write_text(
        "corpus: {download: the net}\noptions:\n  meta: {help: Its labels., is_folder: true}\n"
        "  set: {help: Which., choices: [all, one], default: all, names: [features, expdir]}\n"
    )
    (tmp_path / "labels").mkdir()
    planned = variables(plan("--meta", "labels", "--set", "one"))
    assert planned["meta"] == str(tmp_path / "labels")
    assert (planned["data"], planned["feats"]) == ("data/here", "feats/fbank-one")
    assert (planned["expdir"], planned["experiment"]) == ("exp/one", "exp/one/fbank-mean+soc_full-linear")
    planned = variables(plan())
    assert (planned["meta"], planned["data"], planned["expdir"]) == ("''", "data/here", "exp")
    assert variables(plan("--set", "one", "--expdir", "else"))["expdir"] == str(tmp_path / "else")
    assert "Directory 'nowhere' does not exist." in plan("--meta", "nowhere").output
