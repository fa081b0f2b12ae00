"""A packed model is only used with the encoder that trained it."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from conftest import ROOT, write_corpus
from random_models import RATE, noise, random_bundle
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from soctk import config
from soctk.errors import SoctkError
from soctk.features import extract, upstream
from soctk.features.store import FeatureStore
from soctk.features.upstream import huggingface
from soctk.inference import encoders
from soctk.inference.pack import Packing, pack
from soctk.inference.recogniser import Recogniser
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features

SMALL = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "conv_dim": (8, 8),
    "conv_stride": (10, 32), "conv_kernel": (20, 32), "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "layer",
}  # fmt: skip


def with_encoder(**changes):
    """Return a model of fbank with other settings of the encoder."""
    made = random_bundle()
    encoder = made.settings.encoder.model_copy(update=changes)
    return dataclasses.replace(made, settings=made.settings.model_copy(update={"encoder": encoder}))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two encoders of the same shape with other weights."""
    root = tmp_path_factory.mktemp("encoders")
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        Wav2Vec2Model(Wav2Vec2Config(**SMALL)).save_pretrained(root / name)
        Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(root / name)
    return root


def test_another_encoder_is_refused(folders):
    first, second = (upstream.load(str(folders / name)) for name in ("first", "second"))
    made = with_encoder(name="first", source=first.source, layers=[1], hidden_size=16)
    assert encoders.load(made, folders / "first").source == first.source
    with pytest.raises(SoctkError) as error:
        encoders.load(made, folders / "second")
    assert str(error.value) == (
        f"{folders / 'second'}: this encoder is not the one that the model was trained with: it has {second.source}, "
        f"and the model needs {first.source}\n"
        "Give the folder of first with exactly these files (--encoder DIR)."
    )


def test_a_model_whose_encoder_is_missing_says_what_to_do(tmp_path):
    with pytest.raises(SoctkError) as error:
        encoders.load(with_encoder(name="first", source="sha256:0123"))
    assert str(error.value) == (
        "model: the model needs the encoder first (sha256:0123), which is not in its folder\n"
        "Give the folder of the encoder (--encoder DIR), or pack the model with its encoder "
        "(soctk-pack --with-encoder)."
    )
    with pytest.raises(SoctkError, match=r"--encoder .*nowhere: no such directory\nCheck the path"):
        encoders.load(with_encoder(source="sha256:0123"), tmp_path / "nowhere")


def test_a_folder_without_an_encoder_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SoctkError, match=rf"^the encoder {tmp_path}/empty: transformers cannot load it"):
        encoders.load(with_encoder(source="sha256:0123"), tmp_path / "empty")


def test_an_encoder_of_the_hub_that_is_not_on_this_machine_needs_the_network(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SoctkError) as error:
        encoders.load(with_encoder(source="revision:0123", hub="nobody/nothing"))
    assert str(error.value).startswith("model: its encoder, nobody/nothing of the Hugging Face hub in revision:0123: ")
    assert error.value.remedy.startswith("The first use of this encoder needs a network connection.")


def test_an_encoder_of_s3prl_may_be_of_another_version_of_the_package():
    found = encoders.load(with_encoder(source="espnet-s3prl 0.0.1: fbank"))
    assert found.name == "fbank"
    assert encoders.load(with_encoder(source="espnet-s3prl 99.0: mfcc", name="mfcc", hidden_size=39)).name == "mfcc"


@pytest.mark.parametrize(
    ("changes", "encoder"), [({}, "fbank"), ({"source": "revision:1", "hub": "some/hubert"}, "some/hubert")]
)
def test_an_encoder_that_is_not_from_a_folder_takes_none(tmp_path, changes, encoder):
    with pytest.raises(SoctkError, match=f"is {encoder}, which is not read from a folder\nLeave out --encoder"):
        encoders.load(with_encoder(**changes), tmp_path)


def test_an_encoder_of_the_hub_is_loaded_by_its_id_and_must_have_the_revision(monkeypatch):
    asked = []

    def load(name, device, precision, revision):
        asked.append((name, revision))
        return found

    found = upstream.load("fbank")
    right, wrong = (with_encoder(source=f"revision:{number}", hub="some/hubert") for number in (1, 2))
    monkeypatch.setattr(upstream, "load", load)
    monkeypatch.setattr(found, "source", "revision:1")
    assert encoders.load(right) is found
    assert asked == [("some/hubert", "1")]
    with pytest.raises(SoctkError, match=r"it has revision:1, and the model needs revision:2\nThe hub has changed"):
        encoders.load(wrong)


@pytest.mark.parametrize("changes", [{"layers": [0, 1]}, {"layers": [7]}, {"hidden_size": 39}])
def test_hidden_states_that_the_encoder_lacks_are_reported(changes):
    with pytest.raises(SoctkError, match=r"damaged \(fbank has not all of the hidden states"):
        encoders.load(with_encoder(**changes))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def train(corpus, encoder: str, path):
    """Extract features and train an experiment."""
    extract.extract(corpus, path / "feats", extract.Extraction(encoder))
    settings = config.load([ROOT / "conf"], "mean", "linear", overrides=["head.C=[1.0]"])
    features = Features(FeatureStore.open(path / "feats"), corpus.utterances)
    Experiment(settings, corpus, features, path / "exp").run([1, 2, 3], [1])
    return path / "exp"


def test_the_encoder_of_the_features_can_be_included_and_no_other(tmp_path, corpus, folders):
    # A pickle beside the weights is part of the checksum, but is never copied.
    first = shutil.copytree(folders / "first", tmp_path / "first")
    (first / "pytorch_model.bin").write_bytes(b"not read")
    experiment = train(corpus, str(first), tmp_path)
    pack(Packing(experiment, encoder=first), tmp_path / "model")
    assert not list(tmp_path.glob("model/encoder/*.bin"))
    pack(Packing(experiment), tmp_path / "without")
    expected = Recogniser.load(tmp_path / "without", first)(noise(1.0), RATE)
    shutil.rmtree(first)
    assert Recogniser.load(tmp_path / "model")(noise(1.0), RATE) == expected
    with pytest.raises(SoctkError, match=r"--with-encoder .*second: this encoder is not the one of the feature store"):
        pack(Packing(experiment, encoder=folders / "second"), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_folder_of_an_encoder_of_the_hub_is_recognised_by_its_frames(tmp_path, corpus, folders, monkeypatch):
    with monkeypatch.context() as hub:
        hub.setattr(huggingface, "identify_source", lambda *_: "revision:1")
        experiment = train(corpus, str(folders / "first"), tmp_path)
    pack(Packing(experiment, encoder=folders / "first"), tmp_path / "model")
    model = Recogniser.load(tmp_path / "model")
    assert model.settings.encoder.source == upstream.load(str(folders / "first")).source
    assert np.isfinite(model(noise(1.0), RATE).confidence)
    with pytest.raises(SoctkError, match=r"second: this encoder is not the one .* the features are from revision:1"):
        pack(Packing(experiment, encoder=folders / "second"), tmp_path / "other")


def test_a_folder_is_no_encoder_of_s3prl(tmp_path, corpus, folders):
    experiment = train(corpus, "fbank", tmp_path)
    with pytest.raises(SoctkError, match=r"from fbank of s3prl, .*\nLeave out --with-encoder"):
        pack(Packing(experiment, encoder=folders / "first"), tmp_path / "model")
