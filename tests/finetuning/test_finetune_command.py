"""soctk-finetune as a user calls it."""

import pytest
import yaml
from click.testing import CliRunner
from conftest import write_corpus
from encoders import write_encoder

from soctk.cli.finetune import main


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with a data directory and an encoder."""
    folder = tmp_path_factory.mktemp("command")
    write_corpus(folder)
    write_encoder(folder / "encoder of mine", "wav2vec2")
    return folder


def run(root, *arguments: object):
    command = [root / "data", root / "exp", *arguments, "--device", "cpu"]
    return CliRunner().invoke(main, [str(argument) for argument in command])


@pytest.mark.slow
def test_options_become_settings_and_finished_runs_are_not_repeated(root):
    encoder = ("--upstream", root / "encoder of mine", "--tune", "top:02", "--layer", "2", "--pooling", "mean")
    more = ("--folds", "2", "--precision", "bfloat16", "--speed-perturb", "0.9", "--set", "finetune.epochs=1")
    first, second = (run(root, *encoder, *more) for _ in range(2))
    assert first.exit_code == second.exit_code == 0, first.output
    assert "1 fold x 1 seed, 1 of 1 trained now" in first.output
    assert "1 fold x 1 seed, 0 of 1 trained now" in second.output
    content = yaml.safe_load((root / "exp" / "fold2" / "seed1" / "config.yaml").read_text())
    tuning = content["finetune"]
    assert (tuning["tune"], tuning["precision"], tuning["epochs"]) == ("top:2", "bfloat16", 1)
    assert (content["features"]["upstream"], content["features"]["speeds"]) == ("encoder of mine", [0.9])
    assert content["frames"]["layers"] == [2]
    other = run(root, *encoder, *more, "--set", "finetune.lr_encoder=1")
    assert other.exit_code == 1
    assert "this run was made with other settings" in other.output
    assert "finetune.lr_encoder: 0.0002 stored, 1.0 requested" in other.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--upstream", "fbank"], 1, "--upstream fbank: only encoders of Hugging Face transformers can be fine-tuned"),
        (["--upstream", "./missing"], 1, "--upstream ./missing: no such directory"),
        (["--upstream", "x", "--tune", "top"], 2, "'top' is not lora, all, or top:N with a number N, such as top:2"),
        (["--upstream", "x", "--set", "finetune.tune=all"], 1, "Choose the parameters with --tune."),
        (["--upstream", "x", "--set", "train.lr=1"], 1, "such as --set finetune.epochs=5"),
        (["--upstream", "x", "--set", "finetune.snr=[9, 3]"], 1, "snr needs the lower ratio first"),
        (["--upstream", "x", "--set", "finetune.rank=3"], 1, "unknown key 'rank'"),
        ([], 2, "Missing option '--upstream'"),
    ],
)
def test_wrong_options_give_one_message(root, arguments, code, message):
    result = run(root, *arguments)
    assert (result.exit_code, "Traceback" in result.output) == (code, False)
    assert message in result.output
