"""Models with several encoders, of other frame rates and widths."""

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml
from conftest import ROOT, write_corpus
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from soctk import config
from soctk.errors import SoctkError
from soctk.features import side_by_side
from soctk.features.extract import Extraction, extract
from soctk.inference import bundle
from soctk.inference.pack import Packing, pack
from soctk.inference.recogniser import Recogniser
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features

SMALL = {
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24, "conv_dim": (8, 8),
    "conv_stride": (10, 32), "conv_kernel": (20, 32), "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "layer",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("several")


@pytest.fixture(scope="module")
def corpus(folder):
    return write_corpus(folder)


@pytest.fixture(scope="module")
def folders(folder):
    """The folders of two small encoders with random weights: 3 layers of width 16, and 2 layers of width 8."""
    for seed, (name, changes) in enumerate({"first": {}, "second": {"hidden_size": 8, "num_hidden_layers": 2}}.items()):
        torch.manual_seed(seed)
        Wav2Vec2Model(Wav2Vec2Config(**{**SMALL, **changes})).save_pretrained(folder / name)
        Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder / name)
    return [folder / "first", folder / "second"]


@pytest.fixture(scope="module")
def trained(folder, corpus, folders):
    """An experiment on both encoders and fbank, whose frames are twice as many; layers 1 and 3, 2, and 0."""
    names = [*map(str, folders), "fbank"]
    for number, name in enumerate(names):
        extract(corpus, folder / f"feats{number}", Extraction(name, "all"))
    store = side_by_side.open_stores(*(folder / f"feats{number}" for number in range(3)))
    layers = side_by_side.numbers(store, ((1, 3), (2,), (0,)))
    overrides = [f"frames.layers={layers}", "recentre.by=none"]
    settings = config.load([ROOT / "conf"], "mean+soc_full", "linear", overrides=overrides)
    run = Experiment(settings, corpus, Features(store, corpus.utterances), folder / "exp")
    run.run([1, 2, 3], [3])
    return folder / "exp"


@pytest.fixture(scope="module")
def model(folder, trained, folders):
    """A packed model of fold 2 that includes both encoders; the folders are given in the other order."""
    pack(Packing(trained, fold=2, encoder=folders[1], more_encoders=[folders[0]]), folder / "model")
    return folder / "model"


def test_the_model_gives_the_posteriors_of_the_experiment(trained, model, corpus):
    recogniser = Recogniser.load(model)
    expected = pd.read_csv(trained / "fold2" / "seed3" / "predictions.tsv", sep="\t", index_col="utt")
    for utt, row in expected.iloc[::3].iterrows():
        posteriors = list(recogniser(corpus.wav[utt]).posteriors.values())
        np.testing.assert_allclose(posteriors, row[list(corpus.emotions)].astype(float), atol=1e-5)
    samples, rate = soundfile.read(corpus.wav[corpus.utterances[0]], dtype="float32")
    segments = list(recogniser.windows(samples, rate, window=0.2, hop=0.1))
    alone = recogniser(samples[: rate // 5], rate)
    assert segments[0].result.posteriors == pytest.approx(alone.posteriors, abs=1e-5)


def test_the_folder_names_all_encoders(model):
    assert sorted(path.name for path in model.iterdir() if path.is_dir()) == ["encoder", "encoder2"]
    settings = bundle.read(model).settings
    assert [(one.name, one.layers, one.hidden_size) for one in settings.encoders] == [
        ("first", [1, 3], 16),
        ("second", [2], 8),
        ("fbank", [0], 240),
    ]
    card = (model / "README.md").read_text()
    assert "Encoder: first, hidden states 1, 3; frozen" in card
    assert "Encoder: second, hidden states 2; frozen" in card
    assert "several encoders, first and second and fbank" in card


def test_a_model_of_one_encoder_is_written_as_before(tmp_path, folder, corpus):
    settings = config.load([ROOT / "conf"], "mean", "linear", overrides=["frames.layers=[0]"])
    store = side_by_side.open_stores(folder / "feats2")
    Experiment(settings, corpus, Features(store, corpus.utterances), tmp_path / "exp").run([1, 2, 3], [1])
    pack(Packing(tmp_path / "exp", fold=1), tmp_path / "model")
    written = yaml.safe_load((tmp_path / "model" / "config.yaml").read_text())
    assert "more_encoders" not in written and "has_units" not in written["encoder"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"onnx": "float32"}, "a model of several encoders has no ONNX form\nLeave out --onnx"),
        (
            {"encoder": "third"},
            "this encoder is not one of the feature store: it has sha256:.*Give the folder of first or",
        ),
    ],
)
def test_what_several_encoders_cannot_do_is_one_message(tmp_path, trained, folder, folders, options, message):
    if "encoder" in options:
        torch.manual_seed(7)
        Wav2Vec2Model(Wav2Vec2Config(**SMALL)).save_pretrained(tmp_path / "third")
        Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(tmp_path / "third")
        options = {"encoder": tmp_path / "third"}
    with pytest.raises(SoctkError, match=f"(?s){message}"):
        pack(Packing(trained, fold=2, **options), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_folder_for_one_of_several_encoders_is_refused(model, folders):
    with pytest.raises(
        SoctkError, match="the model has 3 encoders, and a folder or class can only be given for a model of one encoder"
    ):
        Recogniser.load(model, folders[0])
