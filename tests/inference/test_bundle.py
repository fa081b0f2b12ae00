"""A packed model is read as it was written; a damaged one gives one error that says what is wrong."""

import shutil
from subprocess import PIPE

import numpy as np
import pytest
import torch
import yaml
from conftest import run_python
from hypothesis import given
from hypothesis import strategies as st
from random_models import RATE, noise, random_bundle
from safetensors.torch import load_file, save_file

import soctk
from soctk.errors import SoctkError
from soctk.inference import bundle, torch_runtime

RECENTRED = ("mean+soc_full", "linear", "recentre.by=speaker")


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A packed model with re-centring."""
    folder = tmp_path_factory.mktemp("packed")
    bundle.write(folder, random_bundle(*RECENTRED, channel="mix", speeds=(0.9,)))
    return folder


@pytest.fixture
def model(packed, tmp_path):
    """A copy of the packed model, for a test to damage."""
    return shutil.copytree(packed, tmp_path / "model")


def read(folder):
    """Read a model as the torch runtime does, with a check of its weights."""
    found = bundle.read(folder)
    return found, torch_runtime.classifier(found)


def change_settings(folder, **changes):
    """Change values of config.yaml; `a__b` is the value b of the mapping a."""
    content = yaml.safe_load((folder / "config.yaml").read_text())
    for name, value in changes.items():
        *path, last = name.split("__")
        section = content
        for key in path:
            section = section[key]
        section[last] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def change_weights(folder, **changes):
    file = folder / "model.safetensors"
    save_file({**load_file(file), **{name.replace("__", "."): value for name, value in changes.items()}}, file)


@pytest.mark.parametrize(
    "settings", [RECENTRED, ("stats", "linear"), ("soc", "mlp"), ("asp+mean", "mlp", "frames.layer_norm=false")]
)
def test_a_model_is_read_as_it_was_written(tmp_path, settings):
    written = random_bundle(*settings, speeds=(0.9, 1.1))
    bundle.write(tmp_path, written)
    found, classifier = read(tmp_path)
    assert found.settings == written.settings
    assert list(found.recordings) == list(written.recordings)
    assert found.weights.keys() == written.weights.keys()
    for name, weight in found.weights.items():
        np.testing.assert_array_equal(weight, written.weights[name])
    assert (found.prior is None) == (settings != RECENTRED)
    assert not any(module.training for module in classifier.modules())
    for name, weight in classifier.state_dict().items():
        np.testing.assert_array_equal(weight.numpy(), written.weights[name])


def test_load_gives_the_model_of_a_folder(tmp_path):
    bundle.write(tmp_path, random_bundle())
    model = soctk.load(str(tmp_path), device="auto")
    assert model(noise(1.0), RATE).posteriors.keys() == {"calm", "angry", "sad"}
    if not torch.cuda.is_available():
        with pytest.raises(SoctkError, match="torch finds no GPU"):
            soctk.load(tmp_path, device="cuda")


def test_the_import_of_soctk_does_not_import_torch():
    process = run_python("import sys, soctk; print(soctk.load.__name__, 'torch' in sys.modules)", stdout=PIPE)
    assert process.communicate()[0] == "load False\n"


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (2, r"config\.yaml: the model has the format 2, and this version .* format 1\nInstall a newer soctk"),
        (0, r"has the format 0, .*\nPack the experiment again \(soctk-pack\)"),
        ("1", r"damaged \(format: "),
        (1.0, r"damaged \(format: "),
        (True, r"damaged \(format: "),
        (None, r"damaged \(format: "),
    ],
)
def test_another_format_is_refused_with_what_to_do(model, version, message):
    change_settings(model, format=version)
    with pytest.raises(SoctkError, match=message):
        read(model)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("config.yaml", r"model: not a packed model: it has no config\.yaml\nGive the folder that soctk-pack wrote"),
        ("model.safetensors", r"model\.safetensors: damaged \(.*\nCopy the folder again"),
        ("recordings.txt", r"recordings\.txt: damaged \(.*\nCopy the folder again"),
    ],
)
def test_a_missing_file_is_named(model, file, message):
    (model / file).unlink()
    with pytest.raises(SoctkError, match=message):
        read(model)


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(SoctkError, match=r"nowhere: no such folder\nGive the folder that soctk-pack wrote"):
        soctk.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"emotions": ["calm", "angry", "calm"]}, r"damaged \(emotions: .*twice"),
        ({"emotions": ["calm", "angry"]}, "its weights are not those of the model in config.yaml"),
        ({"channel": "left"}, r"damaged \(channel: "),
        ({"channel": "0"}, r"damaged \(channel: "),
        ({"speeds": [0.9, 0.9]}, r"damaged \(speeds: .*twice"),
        ({"speeds": [float("nan")]}, r"damaged \(speeds\.0: "),
        ({"encoder__hidden_size": 241}, "its weights are not those"),
        ({"encoder__hidden_size": 10**9}, "its weights are not those"),
        ({"encoder__hidden_size": 10**10}, r"damaged \(a size is too large\)"),
        ({"encoder__layers": [0, 1]}, "its weights are not those"),
        ({"encoder__layers": []}, r"damaged \(encoder\.layers: "),
        ({"experiment__pooling": {}}, r"damaged \("),
        ({"experiment__pooling": {"soc_fulll": {}}}, "soc_full"),
        ({"experiment__recentre__by": "none"}, "its weights are not those"),
    ],
)
def test_settings_that_cannot_be_are_refused(model, changes, message):
    change_settings(model, **changes)
    with pytest.raises(SoctkError, match=message):
        read(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head__bias": torch.tensor([0, torch.nan, 0])}, "NaN or infinite weights"),
        ({"head__bias": torch.tensor([0, torch.inf, 0])}, "NaN or infinite weights"),
        ({"head__weight": torch.full((3, 29160), -torch.inf)}, "NaN or infinite weights"),
        ({"recentre__prior": torch.full((29160,), torch.nan)}, "NaN or infinite weights"),
        ({"recentre__prior": torch.zeros(7)}, "its weights are not those"),
        ({"head__bias": torch.zeros(3, dtype=torch.float16)}, "its weights are not those"),
        ({"recentre__prior": torch.zeros(29160).to(torch.float8_e4m3fn)}, r"damaged \(KeyError: 'F8_E4M3'\)"),
        ({"head__bias": torch.zeros(4)}, "its weights are not those"),
        ({"other": torch.zeros(4)}, "its weights are not those"),
    ],
)
def test_weights_that_cannot_be_are_refused(model, changes, message):
    change_weights(model, **changes)
    with pytest.raises(SoctkError, match=message):
        read(model)


def test_a_class_without_training_utterances_has_the_posterior_0(tmp_path):
    written = random_bundle()
    written.weights["head.bias"][1] = -np.inf  # as soctk.training.linear.fit sets it
    bundle.write(tmp_path, written)
    result = soctk.load(tmp_path)(noise(1.0), RATE)
    assert result.posteriors["angry"] == 0
    assert sum(result.posteriors.values()) == pytest.approx(1)


def require_one_message(folder):
    """Check that a folder is read, or refused with one message."""
    try:
        read(folder)
    except SoctkError as error:
        assert error.what
        assert error.remedy
        assert error.where


def fuzzed(content: bytes):
    """Return a strategy for the content with flipped, removed or inserted bytes, or cut."""
    position = st.integers(0, len(content))
    edit = st.tuples(position, st.integers(0, 4), st.binary(max_size=4))
    edits = st.lists(edit, min_size=1, max_size=3)

    def apply(edits):
        changed = content
        for start, length, inserted in edits:
            changed = changed[:start] + inserted + changed[start + length :]
        return changed

    return st.one_of(edits.map(apply), position.map(lambda end: content[:end]))


@given(data=st.data())
def test_damaged_settings_give_one_message(packed, tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "fuzzed settings"
    shutil.copytree(packed, folder, dirs_exist_ok=True)
    (folder / "config.yaml").write_bytes(data.draw(fuzzed((packed / "config.yaml").read_bytes())))
    require_one_message(folder)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 10**9), st.floats(), st.text(max_size=5), st.just([]), st.just({}),
    st.lists(st.integers(-1, 5), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@given(data=st.data())
def test_wrong_values_of_settings_give_one_message(packed, tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "wrong settings"
    shutil.copytree(packed, folder, dirs_exist_ok=True)
    content = yaml.safe_load((packed / "config.yaml").read_text())
    section = content
    while True:
        key = data.draw(st.sampled_from(sorted(section)))
        if isinstance(section[key], dict) and section[key] and data.draw(st.integers(0, 3)):
            section = section[key]
            continue
        section[key] = data.draw(VALUES)
        break
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    require_one_message(folder)


@given(data=st.data())
def test_damaged_weights_give_one_message(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "fuzzed weights"
    folder.mkdir(exist_ok=True)
    bundle.write(folder, random_bundle())
    weights = (folder / "model.safetensors").read_bytes()
    head = 8 + int.from_bytes(weights[:8], "little")  # its length and the header are the part that can be wrong
    start = data.draw(fuzzed(weights[:head]))
    (folder / "model.safetensors").write_bytes(start + weights[head:])
    require_one_message(folder)
