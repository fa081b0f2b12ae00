"""Checkpoints from strangers: no code of theirs runs, and a damaged file gives one clear message."""

import json
import os
import pickle
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from soctk.errors import SoctkError
from soctk.features import upstream

CONFIG = Wav2Vec2Config(
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=8,
    conv_dim=[4] * 7,
    num_conv_pos_embedding_groups=4,
    num_conv_pos_embeddings=4,
    vocab_size=4,
)


@pytest.fixture(scope="module")
def intact(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("intact")
    Wav2Vec2Model(CONFIG).save_pretrained(path)
    Wav2Vec2FeatureExtractor().save_pretrained(path)
    return path


@pytest.fixture
def checkpoint(intact, tmp_path) -> Path:
    """A copy of a small intact checkpoint."""
    return shutil.copytree(intact, tmp_path / "encoder")


def edit(file: Path, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


class Attack:
    """An object that makes a directory when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("is_attack", [True, False])
def test_pickled_weights_are_not_read(checkpoint, tmp_path, is_attack):
    weights = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    if is_attack:
        (checkpoint / "pytorch_model.bin").write_bytes(pickle.dumps(Attack(tmp_path / "attacked")))
    else:
        torch.save(weights, checkpoint / "pytorch_model.bin")
    with pytest.raises(SoctkError) as error:
        upstream.load(str(checkpoint))
    assert not (tmp_path / "attacked").exists()
    message, remedy = str(error.value).split("\n")
    assert message.startswith(f"{checkpoint}: the weights are a pickle (pytorch_model.bin), which can run any program")
    command = remedy.partition("convert it: ")[2]
    assert command.startswith('python -c "from transformers import AutoModel; ')
    if not is_attack:
        exec(command.split('"')[1])  # the advice works
        assert upstream.load(str(checkpoint)).hidden_sizes == [8, 8]


def test_safetensors_are_read_beside_a_pickle(checkpoint, tmp_path):
    (checkpoint / "pytorch_model.bin").write_bytes(pickle.dumps(Attack(tmp_path / "attacked")))
    assert upstream.load(str(checkpoint)).hidden_sizes == [8, 8]
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}),
        ("config.json", {"model_type": "mine", "auto_map": {"AutoConfig": "some/one--mine.Config"}}),
        ("preprocessor_config.json", {"feature_extractor_type": "X", "auto_map": {"AutoFeatureExtractor": "mine.X"}}),
        ("config.json", {"_attn_implementation": "some/kernel"}),
    ],
)
def test_a_model_that_needs_its_own_code_is_refused_without_a_question(
    checkpoint, tmp_path, monkeypatch, file, changes
):
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers would ask whether to run the code
    edit(checkpoint / file, **changes)
    (checkpoint / "mine.py").write_text(f"import os; os.mkdir({str(tmp_path / 'attacked')!r})")
    with pytest.raises(SoctkError) as error:
        upstream.load(str(checkpoint))
    assert not (tmp_path / "attacked").exists()
    assert str(error.value).startswith(
        f"--upstream {checkpoint}: this model needs program code from its own repository, "
        "and soctk never runs such code\nUse a model whose architecture is part of transformers: wav2vec 2.0"
    )


def test_code_of_a_known_architecture_is_not_run(checkpoint, tmp_path):
    edit(checkpoint / "config.json", auto_map={"AutoConfig": "mine.Config", "AutoModel": "mine.Model"})
    (checkpoint / "mine.py").write_text(f"import os; os.mkdir({str(tmp_path / 'attacked')!r})")
    assert upstream.load(str(checkpoint)).hidden_sizes == [8, 8]
    assert not (tmp_path / "attacked").exists()


def test_a_pointer_of_git_lfs_in_the_place_of_the_weights_is_named(checkpoint):
    weights = checkpoint / "model.safetensors"
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(SoctkError) as error:
        upstream.load(str(checkpoint))
    assert str(error.value) == f"{weights}: a git-lfs pointer, not the weights\nRun `git lfs pull` there."


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [("[]", "not a JSON object"), ("", "not valid JSON"), ('{"a":' * 10_000, "not valid JSON: nested too deeply")],
)
def test_damaged_settings_name_the_file(checkpoint, file, content, message):
    (checkpoint / file).write_text(content)
    with pytest.raises(SoctkError) as error:
        upstream.load(str(checkpoint))
    assert str(error.value).startswith(f"{checkpoint / file}: {message}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": []}, "transformers cannot load it (TypeError: unhashable type"),
        ({"hidden_act": "none"}, "transformers cannot load it (KeyError: 'none')"),
        ({"hidden_size": "8"}, "expected int, got str (value: '8')"),
        ({"hidden_size": 0}, "transformers cannot load it (ZeroDivisionError"),
        ({"hidden_size": 10**15}, "can't allocate memory"),
        ({"hidden_size": 16}, "another shape than config.json says, such as "),
        ({"num_hidden_layers": 2}, "the checkpoint lacks 16 of the model's weights"),
        ({"dtype": "none"}, "transformers cannot load it (AttributeError"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "transformers cannot load it (ImportError"),
        ({"quantization_config": []}, "transformers cannot load it (AttributeError"),
    ],
)
def test_wrong_settings_give_a_message(checkpoint, changes, message):
    edit(checkpoint / "config.json", **changes)
    with pytest.raises(SoctkError) as error:
        upstream.load(str(checkpoint))
    assert message in str(error.value)


@pytest.mark.parametrize("sampling_rate", [0, -1, "16000", None, 16000.5, 10**13])
def test_wrong_sample_rates_give_a_message(checkpoint, sampling_rate):
    edit(checkpoint / "preprocessor_config.json", sampling_rate=sampling_rate)
    with pytest.raises(SoctkError, match="this model does not encode waveforms into frames"):
        upstream.load(str(checkpoint))


def test_weights_that_are_nan_are_refused(checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    weights["feature_extractor.conv_layers.3.conv.weight"][0, 0, 0] = torch.nan
    save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        SoctkError, match=r"does not encode waveforms into frames \(ValueError: NaN or infinite frames\)"
    ):
        upstream.load(str(checkpoint))


def test_a_path_that_is_not_utf_8_is_refused(checkpoint):
    moved = checkpoint.rename(checkpoint.with_name(os.fsdecode(b"caf\xe9")))
    with pytest.raises(SoctkError, match="the path is not UTF-8, and safetensors cannot open files there"):
        upstream.load(str(moved))


@settings(max_examples=60)
@given(data=st.data())
def test_any_damage_of_a_checkpoint_gives_a_message_or_an_encoder(intact, data):
    with tempfile.TemporaryDirectory() as folder:
        file = shutil.copytree(intact, Path(folder) / "encoder") / data.draw(
            st.sampled_from(["config.json", "preprocessor_config.json", "model.safetensors"])
        )
        content = file.read_bytes()
        start = data.draw(st.integers(0, min(len(content), 3000) - 1))
        end = data.draw(st.just(start + 1) | st.just(start) | st.just(len(content)))
        file.write_bytes(content[:start] + data.draw(st.binary(max_size=3)) + content[end:])
        try:
            assert upstream.load(str(file.parent)).sample_rate > 0
        except SoctkError as error:
            assert str(file.parent) in str(error) or "--upstream encoder" in str(error)
