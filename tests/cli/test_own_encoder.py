"""A class of one's own is the encoder of an experiment and of its model: the example of docs/encoders.md."""

import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from conftest import write_corpus
from docs_blocks import commands_of, of_language

from soctk.cli import extract, pack, plan, predict, train
from soctk.features.store import FeatureStore


def invoke(command, *arguments: object):
    return CliRunner().invoke(command.main, [str(argument) for argument in arguments])


def example() -> str:
    """Return the class in docs/encoders.md."""
    blocks = [block for block in of_language("sh") if block.page == "docs/encoders.md"]
    (command,) = [command for command in commands_of(*blocks) if command.words[-1] == "log_mel.py"]
    return "\n".join(command.text.splitlines()[1:-1]) + "\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with a corpus, an experiment, a model, and the class in the module log_mel_example."""
    home = tmp_path_factory.mktemp("home")
    write_corpus(home)
    (home / "log_mel_example.py").write_text(example())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for command, *arguments in (
            (extract, "data", "feats", "--upstream", "log_mel_example:LogMel"),
            (train, "data", "feats", "exp", "--pooling", "mean", "--head", "linear"),
            (pack, "exp", "model"),
        ):
            result = invoke(command, *arguments)
            assert result.exit_code == 0, result.output
        (home / "pack.txt").write_text(result.stdout)
    return home


@pytest.mark.slow
def test_features_of_the_class_are_trained_and_the_model_needs_the_class(home, monkeypatch):
    monkeypatch.chdir(home)
    settings = FeatureStore.open(home / "feats").settings
    assert settings["upstream"] == "log_mel_example:LogMel"
    assert settings["source"].startswith("code:")
    assert "It needs the class log_mel_example:LogMel, which it does not contain.\n" in Path("pack.txt").read_text()
    assert not list(Path("model").rglob("*.py"))
    recording = next(home.rglob("spk0-sad-0.wav"))
    refused = invoke(predict, "model", recording)
    assert refused.exit_code == 1
    assert "soctk runs such code only if you name it\nName it: --encoder log_mel_example:LogMel" in refused.output
    answers = [
        invoke(predict, "model", recording, "--encoder", encoder)
        for encoder in ("log_mel_example:LogMel", "./log_mel_example.py:LogMel")
    ]
    assert [answer.exit_code for answer in answers] == [0, 0], answers[0].output
    assert answers[0].stdout == answers[1].stdout
    assert "\tsad\t" in answers[0].stdout
    Path("other_mel_example.py").write_text(example().replace("1e-6", "1e-5"))
    other = invoke(predict, "model", recording, "--encoder", "other_mel_example:LogMel")
    assert other.exit_code == 1
    assert "this encoder is not the one that the model was trained with: it has code:" in other.output
    assert "Give log_mel_example:LogMel with exactly this source file" in other.output


@pytest.mark.slow
def test_a_model_contains_no_code(home, monkeypatch):
    monkeypatch.chdir(home)
    refused = invoke(pack, "exp", "with code", "--with-encoder", ".")
    assert refused.exit_code == 1
    assert "which is a Python class, and models contain no code\nLeave out --with-encoder" in refused.output
    refused = invoke(pack, "exp", "with onnx", "--onnx")
    assert refused.exit_code == 1
    assert "log_mel_example:LogMel is a Python class, which has no ONNX form in soctk\nLeave out" in refused.output


@pytest.mark.slow
def test_a_model_cannot_name_code_that_soctk_runs(home, monkeypatch):
    monkeypatch.chdir(home)
    Path("harm_example.py").write_text("open('harm', 'w')\n" + example())
    shutil.copytree("model", "harmful")
    settings = yaml.safe_load(Path("harmful/config.yaml").read_text())
    for name in ("harm_example:LogMel", "./harm_example.py:LogMel"):
        settings["encoder"] |= {"hub": name, "source": "revision:1"}
        Path("harmful/config.yaml").write_text(yaml.safe_dump(settings))
        refused = invoke(predict, "harmful", next(home.rglob("spk0-sad-0.wav")))
        assert refused.exit_code == 1
        assert f"damaged (the model names {name}, a Python class; soctk runs such code only if you" in refused.output
    assert not Path("harm").exists()


def test_a_recipe_names_its_folders_after_the_class_and_finds_the_file_from_its_stages(tmp_path, monkeypatch):
    recipe = tmp_path / "recipe"
    (recipe / "conf").mkdir(parents=True)
    (recipe / "conf" / "recipe.yaml").write_text("corpus: {help: Folder., download: the net}\n")
    (tmp_path / "mine.py").write_text(example())
    monkeypatch.chdir(tmp_path)
    for upstream in ("mine:LogMel", "./mine.py:LogMel"):
        result = invoke(plan, "--shell", "recipe", "--upstream", upstream, "--stop-stage", 4)
        assert "feats=feats/mine-LogMel-layerall\n" in result.output
        assert "experiment=exp/mine-LogMel-layerauto-" in result.output
        assert f"upstreams=({tmp_path}/mine.py:LogMel)\n" in result.output
        assert "--with-encoder" not in result.output
    assert (
        "upstreams=(package.mine:LogMel)\n"
        in invoke(plan, "--shell", "recipe", "--upstream", "package.mine:LogMel").output
    )
    missing = invoke(plan, "--shell", "recipe", "--upstream", "gone.py:LogMel")
    assert "--upstream gone.py:LogMel: no such file\nCheck the path." in missing.output
