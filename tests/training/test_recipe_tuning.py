"""soctk-plan with --finetune: stage 2 is soctk-finetune, and options that do not work with it are refused."""

import pytest
from click.testing import CliRunner

from soctk.cli.plan import main


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Return a function that plans the recipe `here` with the encoder in the folder `encoder`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here" / "conf").mkdir(parents=True)
    (tmp_path / "here" / "conf" / "recipe.yaml").write_text("corpus: {download: the net}\n")
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "config.json").write_text("{}")

    def plan(*arguments: str, upstream: str = "encoder") -> str:
        result = CliRunner().invoke(main, ["here", "--upstream", upstream, *arguments], prog_name="soctk-plan")
        return result.output

    return plan


def stage(output: str, number: int) -> list[str]:
    """Return the description of a stage and its commands."""
    lines = output.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"Stage {number}:"))
    rest = lines[start + 1 :]
    end = next((i for i, line in enumerate(rest) if line.startswith("Stage")), len(rest))
    return [lines[start], *(line.strip() for line in rest[:end])]


def test_stage_2_fine_tunes_without_features(plan, tmp_path):
    output = plan("--finetune", "top:2", "--use-layer", "3 2", "--speed-perturb", "1.1 0.9", "--nj", "4")
    assert "Stage 1" not in output
    title, command = stage(output, 2)
    assert title.startswith(
        "Stage 2: train: data/here -> exp/encoder-layer2-3-mean+soc_full-linear-sp0.9-1.1-tuned-top2"
    )
    words = command.split()
    assert words[:3] == ["soctk-finetune", "data/here", title.split()[5]]
    assert words[words.index("--upstream") + 1] == str(tmp_path / "encoder")
    assert words[words.index("--tune") + 1] == "top:2"
    assert command.count("--layer") == 1
    assert '--layer "2 3"' in command or "--layer '2 3'" in command
    assert "--speed-perturb '0.9 1.1'" in command
    assert words[words.index("--nj") + 1] == "4"
    assert "--with-store" not in command


def test_without_the_option_the_plan_is_as_before(plan):
    output = plan()
    assert stage(output, 1)[1].startswith("soctk-extract")
    assert stage(output, 2)[1].startswith("soctk-train data/here feats/encoder-layerall exp/")
    assert "tuned" not in output


def test_hidden_states_that_would_be_extracted_are_trained_on(plan):
    assert "--layer '3 4'" in stage(plan("--finetune", "lora", "--layer", "4 3"), 2)[1]
    assert "--layer last" in stage(plan("--finetune", "lora", "--layer", "last"), 2)[1]
    assert "--layer auto" in stage(plan("--finetune", "lora"), 2)[1]


def test_stage_4_packs_one_fold(plan):
    packing = stage(plan("--finetune", "lora", "--stop-stage", "4", "--folds", "3 2"), 4)[1]
    assert "--fold 2" in packing
    assert "--fold" not in stage(plan("--stop-stage", "4", "--folds", "3 2"), 4)[1]


def test_train_args_are_those_of_soctk_finetune(plan):
    output = plan("--finetune", "lora", "--train-args", "--precision bfloat16 --set finetune.epochs=2")
    assert stage(output, 2)[1].endswith("--precision bfloat16 --set finetune.epochs=2")
    assert "No such option" in plan("--finetune", "lora", "--train-args", "--max-memory 3")
    assert "--tune is an option of the recipe itself" in plan("--finetune", "lora", "--train-args", "--tune all")
    assert "unknown section 'finetune'" in plan("--train-args", "--set finetune.epochs=2")
    assert "such as --set finetune.epochs=5" in plan("--finetune", "all", "--train-args", "--set train.epochs=2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--finetune", "top:0"], "'top:0' is not lora, all, or top:N with a number N, such as top:2"),
        (["--finetune", "lora", "--augment", "noise"], "--augment: this does not work with --finetune"),
        (["--finetune", "lora", "--recentre", "speaker"], "--recentre: this does not work with --finetune"),
        (["--finetune", "lora", "--cluster", "local:2"], "--cluster: this does not work with --finetune"),
        (["--finetune", "lora", "--stop-stage", "5"], "--stop-stage: this does not work with --finetune"),
        (["--finetune", "lora", "--extract-args", "--dtype float32"], "--extract-args: this does not work"),
    ],
)
def test_options_that_do_not_work_with_it_are_refused(plan, arguments, message):
    assert message in plan(*arguments)


@pytest.mark.parametrize("upstream", ["fbank", "s3prl:wavlm", "encoder fbank"])
def test_other_upstreams_are_refused(plan, upstream):
    output = plan("--finetune", "lora", upstream=upstream)
    assert f"--upstream {upstream}: --finetune trains one encoder of Hugging Face transformers" in output


def test_a_name_in_conf_upstream_is_accepted(plan):
    assert "--upstream wavlm_base_plus" in stage(plan("--finetune", "lora", upstream="wavlm_base_plus"), 2)[1]
