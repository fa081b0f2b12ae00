"""Models are uploaded to a stand-in of the Hugging Face hub, and found there by their ids."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import hub_server
import pytest
import soundfile
import torch
from conftest import ROOT
from random_models import RATE, noise, random_bundle
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

import soctk
from soctk.errors import SoctkError
from soctk.features import upstream
from soctk.inference import bundle, hub
from soctk.inference.onnx import export
from soctk.inference.recogniser import Recogniser
from soctk.inference.torch_runtime import TorchRuntime

CARD = "---\nlibrary_name: soctk\n---\n# A model\n"


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A hub with the account ada, logged in, and an empty cache."""
    with hub_server.running() as hub:
        hub_server.connect(monkeypatch, hub.url, tmp_path / "cache")
        yield hub


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    bundle.write(folder, random_bundle())
    (folder / bundle.CARD).write_text(CARD)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder as the hub has them: path -> content."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_an_uploaded_model_gives_the_same_posteriors_by_its_id(server, packed):
    commit = hub.push(packed, "ada/emotions", private=False)
    model = server.models["ada/emotions"]
    assert model.commits == {commit: content(packed)}
    assert not model.private
    assert soctk.load("ada/emotions")(noise(1.0), RATE) == soctk.load(packed)(noise(1.0), RATE)


def test_a_model_that_was_loaded_once_is_not_downloaded_again_and_needs_no_network(
    server, packed, tmp_path, monkeypatch
):
    server.add("ada/emotions", content(packed))
    first = soctk.load("ada/emotions")(noise(1.0), RATE)
    server.requests.clear()
    assert soctk.load("ada/emotions")(noise(1.0), RATE) == first
    assert not [request for request in server.requests if request.startswith("GET /ada/")]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    server.requests.clear()
    assert soctk.load("ada/emotions")(noise(1.0), RATE) == first
    assert not server.requests
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    hub_server.unplug(monkeypatch, tmp_path / "cache")
    assert soctk.load("ada/emotions")(noise(1.0), RATE) == first


def test_a_hub_with_a_fault_of_its_own_leaves_the_copy_on_this_machine(server, packed):
    server.add("ada/emotions", content(packed))
    first = soctk.load("ada/emotions")(noise(1.0), RATE)
    server.faults["GET /api/models/ada/emotions"] = 503
    assert soctk.load("ada/emotions")(noise(1.0), RATE) == first


def test_a_revision_is_a_commit_a_tag_or_the_newest(server, packed, tmp_path):
    other = shutil.copytree(packed, tmp_path / "other")
    bundle.write(other, random_bundle("stats"))
    first = server.add("ada/emotions", content(packed))
    server.models["ada/emotions"].tags["v1"] = first
    server.add("ada/emotions", content(other))
    old, new = (soctk.load(folder)(noise(1.0), RATE) for folder in (packed, other))
    assert old != new
    assert soctk.load("ada/emotions")(noise(1.0), RATE) == new
    assert soctk.load("ada/emotions", revision="v1")(noise(1.0), RATE) == old
    assert soctk.load("ada/emotions", revision=first)(noise(1.0), RATE) == old
    with pytest.raises(SoctkError, match=r"the model on the Hugging Face hub has no revision v2\nChoose a commit"):
        soctk.load("ada/emotions", revision="v2")


def test_a_second_upload_replaces_the_model_and_leaves_other_files(server, packed, tmp_path):
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "config.json").write_text("{}")
    (tmp_path / "config.yaml").write_text("format: 0")
    server.add("ada/emotions", {**content(tmp_path), "scores.png": b"a picture"})
    hub.push(packed, "ada/emotions", private=False)
    newest = list(server.models["ada/emotions"].commits.values())[-1]
    assert newest == {**content(packed), "scores.png": b"a picture"}


def test_only_the_files_of_a_packed_model_are_downloaded(server, packed):
    server.add("ada/emotions", {**content(packed), "pytorch_model.bin": b"a pickle", "encoder/weights.pkl": b"another"})
    folder = hub.find("ada/emotions")
    assert content(folder) == content(packed)
    server.add("ada/whisper", {"config.json": b"{}", "model.safetensors": b"gigabytes"})
    server.requests.clear()
    message = r"ada/whisper: not a packed model: it has no config\.yaml on the Hugging Face hub\nGive a model that"
    with pytest.raises(SoctkError, match=message):
        soctk.load("ada/whisper")
    assert not [request for request in server.requests if request.endswith("safetensors")]


def test_the_onnx_form_of_a_model_is_part_of_it(server, tmp_path):
    made = replace(random_bundle(), path=tmp_path)
    bundle.write(tmp_path, made)
    export.write(made, upstream.load("fbank"))
    server.add("ada/small", content(tmp_path))
    answers = [soctk.load(model, runtime="onnx")(noise(1.0), RATE) for model in ("ada/small", tmp_path)]
    assert answers[0] == answers[1]


def test_damaged_weights_in_the_cache_are_noticed(server, packed):
    server.add("ada/emotions", content(packed))
    blob = (hub.find("ada/emotions") / bundle.WEIGHTS).resolve()
    weights = bytearray(blob.read_bytes())
    weights[-1] ^= 1
    blob.write_bytes(weights)
    with pytest.raises(SoctkError, match=rf"model\.safetensors: damaged \(its checksum.*\nRemove it, .*: rm {blob}"):
        soctk.load("ada/emotions")
    blob.unlink()
    assert soctk.load("ada/emotions")(noise(1.0), RATE) == soctk.load(packed)(noise(1.0), RATE)


def test_a_folder_with_the_name_of_a_model_is_preferred(server, packed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(packed, tmp_path / "ada" / "emotions")
    assert hub.find("ada/emotions") == Path("ada/emotions")
    assert hub.find("./ada/elsewhere") == Path("ada/elsewhere")
    assert hub.find(Path("ada/elsewhere")) == Path("ada/elsewhere")
    assert not server.requests
    with pytest.raises(SoctkError, match=r"a revision is given, but this is not the id of .*\nLeave out the revision"):
        soctk.load("ada/emotions", revision="main")


def test_a_model_that_is_not_there_is_one_message(server, packed, monkeypatch):
    server.add("bob/secrets", content(packed), private=True)
    for name in ("ada/nothing", "bob/secrets"):
        with pytest.raises(SoctkError) as error:
            soctk.load(name)
        what, remedy = (
            "no such folder, and no such model on the Hugging Face hub",
            "Check the path, or the name on the hub.",
        )
        assert str(error.value) == f"{name}: {what}\n{remedy}"
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere")
    with pytest.raises(SoctkError, match=r"on the hub\. For a private model: Log in once: hf auth login"):
        soctk.load("bob/secrets")
    with pytest.raises(SoctkError, match=r"^exp/a/model: no such folder\nGive the folder"):
        soctk.load("exp/a/model")


@pytest.mark.parametrize("name", ["exp/a--b", "exp/a..b", "exp/a.git"])
def test_a_path_that_the_hub_allows_as_no_id_is_a_folder(server, name):
    with pytest.raises(SoctkError, match=rf"^{name}: no such folder\nGive the folder"):
        soctk.load(name)
    assert not server.requests


@pytest.fixture(params=["HF_HUB_OFFLINE", "unplugged"])
def without_network(request, monkeypatch, tmp_path):
    if request.param == "unplugged":
        hub_server.unplug(monkeypatch, tmp_path / "cache")
    else:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("without_network")
def test_a_model_without_network_is_one_message():
    message = (
        r"^exp/modle: no such folder, and no copy of such a model on this machine; the Hugging Face hub is not "
        r"available \(\w+\)\nCheck the path\. The first use of a model on the hub needs a network connection"
    )
    with pytest.raises(SoctkError, match=message):
        soctk.load("exp/modle")


@pytest.mark.usefixtures("without_network")
def test_a_push_needs_a_network(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    with pytest.raises(SoctkError, match=r"^--push: the Hugging Face hub cannot be reached .*\nCheck the network"):
        hub.check_access("ada/emotions", private=True)


def test_only_faults_of_the_network_and_the_hub_are_reported_as_such(server, monkeypatch):
    def answer(error):
        def model_info(*arguments, **options):
            raise error

        monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)

    answer(json.JSONDecodeError("Expecting value", "<html>", 0))  # the page of another server
    with pytest.raises(SoctkError, match=r"the Hugging Face hub is not available \(JSONDecodeError\)"):
        soctk.load("ada/emotions")
    answer(TypeError("an error in the code"))
    with pytest.raises(TypeError, match="an error in the code"):
        soctk.load("ada/emotions")


@pytest.mark.parametrize("name", ["emotions", "ada/my model", "ada/a/b", "ada--x/y", "/ada", "ada/x..y", "ada/.x", ""])
def test_a_malformed_name_is_refused_before_any_request(server, name):
    with pytest.raises(SoctkError, match=rf"^--push: '{name}' is no name of a model .*\nGive USER/NAME"):
        hub.check_access(name, private=False)
    assert not server.requests


def test_a_push_needs_a_login_with_the_right_to_write(server, packed, monkeypatch):
    hub.check_access("ada/emotions", private=True)
    with pytest.raises(SoctkError, match=r"^--push bob/emotions: you have no right .*\nYou are logged in as ada"):
        hub.check_access("bob/emotions", private=False)
    with pytest.raises(SoctkError, match=r"^--push bob/emotions: you have no right .*\nThe token needs the right"):
        hub.push(packed, "bob/emotions", private=False)
    monkeypatch.setenv("HF_TOKEN", "reader")
    with pytest.raises(SoctkError, match=r"^--push ada/emotions: you have no right .*\nThe token needs the right"):
        hub.push(packed, "ada/emotions", private=False)
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(SoctkError, match=r"^--push: the Hugging Face hub does not accept your token\nLog in once"):
        hub.check_access("ada/emotions", private=True)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere")
    with pytest.raises(SoctkError, match=r"^--push: you are not logged in to .*\nLog in once: hf auth login"):
        hub.check_access("ada/emotions", private=True)
    assert not server.models


def test_a_private_model_is_seen_by_its_owner_only(server, packed, monkeypatch):
    hub.push(packed, "ada/emotions", private=True)
    assert server.models["ada/emotions"].private
    assert soctk.load("ada/emotions")(noise(1.0), RATE) == soctk.load(packed)(noise(1.0), RATE)
    server.add("ada/public", {})
    message = r"^--push ada/public: this model exists on the hub, and everybody can see it\nMake it private"
    with pytest.raises(SoctkError, match=message):
        hub.check_access("ada/public", private=True)
    with pytest.raises(SoctkError, match=message):
        hub.push(packed, "ada/public", private=True)
    assert len(server.models["ada/public"].commits) == 1


def hubert(folder: Path, seed: int) -> Path:
    """Write a small encoder with random weights."""
    torch.manual_seed(seed)
    sizes = {"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": (8, 8), "conv_stride": (20, 16), "conv_kernel": (20, 16)}
    positions = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    HubertModel(HubertConfig(**sizes, **convolutions, **positions)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_soctk_predict_loads_model_and_encoder_from_the_hub_in_their_revisions(server, tmp_path):
    trained, changed = (content(hubert(tmp_path / f"hubert{seed}", seed)) for seed in (0, 1))
    written = random_bundle(name=str(tmp_path / "hubert0"), layers=[1])
    commit = server.add("bob/hubert", trained)
    server.add("bob/hubert", changed)
    encoder = written.settings.encoder
    expected = Recogniser(written, TorchRuntime(written, upstream.load(str(tmp_path / "hubert0"))))(noise(1.0), RATE)
    source = encoder.model_copy(update={"hub": "bob/hubert", "source": f"revision:{commit}"})
    settings = written.settings.model_copy(update={"encoder": source})
    (tmp_path / "model").mkdir()
    bundle.write(tmp_path / "model", replace(written, settings=settings))
    server.add("ada/emotions", content(tmp_path / "model"))
    server.models["ada/emotions"].tags["v1"] = next(iter(server.models["ada/emotions"].commits))
    server.add("ada/emotions", {})
    soundfile.write(tmp_path / "clip.wav", noise(1.0)[0], RATE, "FLOAT")
    environment = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", "from soctk.cli.predict import main; main()"]
    command += ["ada/emotions", str(tmp_path / "clip.wav"), "--revision", "v1", "--format", "jsonl"]
    process = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["posteriors"] == pytest.approx(expected.posteriors, abs=1e-5)
