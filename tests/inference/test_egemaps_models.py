"""Models on eGeMAPS: one frame of values with units for each utterance."""

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import ROOT, write_corpus

from soctk import config
from soctk.errors import SoctkError
from soctk.features.extract import Extraction, extract
from soctk.features.store import FeatureStore
from soctk.inference.pack import Packing, pack
from soctk.inference.recogniser import Recogniser
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def store(tmp_path_factory, corpus):
    path = tmp_path_factory.mktemp("features") / "egemaps"
    extract(corpus, path, Extraction("egemaps"))
    return FeatureStore.open(path)


def experiment(corpus, store, path, pooling="mean", *overrides) -> Experiment:
    settings = config.load([ROOT / "conf"], pooling, "linear", overrides=overrides)
    return Experiment(settings, corpus, Features(store, corpus.utterances), path)


def test_a_packed_model_gives_the_posteriors_of_the_experiment(tmp_path, corpus, store):
    experiment(corpus, store, tmp_path / "exp").run([1, 2, 3], [1])
    pack(Packing(tmp_path / "exp", fold=2), tmp_path / "model")
    model = Recogniser.load(tmp_path / "model")
    expected = pd.read_csv(tmp_path / "exp" / "fold2" / "seed1" / "predictions.tsv", sep="\t", index_col="utt")
    for utt, row in expected.iloc[:4].iterrows():
        posteriors = list(model(corpus.wav[utt]).posteriors.values())
        np.testing.assert_allclose(posteriors, row[list(corpus.emotions)].astype(float), atol=1e-5)
    samples, rate = soundfile.read(corpus.wav[corpus.utterances[0]], dtype="float32")
    (first, *_) = model.windows(samples, rate, window=0.2, hop=0.1)
    assert first.result.posteriors == pytest.approx(model(samples[: rate // 5], rate).posteriors, abs=1e-5)
    assert "non-commercial use and research only" in (tmp_path / "model" / "README.md").read_text()


def test_functionals_are_not_layer_normalised(tmp_path, corpus, store):
    """The descriptor of the mean is the frame itself, for every setting of the layer norm."""
    frames = store.load(corpus.utterances)[:, 0].numpy()
    for number, setting in enumerate(("true", "utterance", "false")):
        own = experiment(corpus, store, tmp_path / f"exp{number}", "mean", f"frames.layer_norm={setting}")
        (block,) = own.features.blocks(own.config).values()
        np.testing.assert_array_equal(block.descriptors, frames)


@pytest.mark.parametrize("pooling", ["soc_full", "mean+stats"])
def test_one_frame_has_no_covariance(tmp_path, corpus, store, pooling):
    needs = pooling.removeprefix("mean+")
    with pytest.raises(
        SoctkError, match=rf"one frame for each utterance, and {needs} needs several\nChoose --pooling mean"
    ):
        experiment(corpus, store, tmp_path / "exp", pooling).run([1], [1])
    assert not (tmp_path / "exp").exists()


def test_there_is_no_onnx_form(tmp_path, corpus, store):
    experiment(corpus, store, tmp_path / "exp").run([1, 2, 3], [1])
    with pytest.raises(SoctkError, match="the encoder egemaps has no ONNX form in soctk"):
        pack(Packing(tmp_path / "exp", fold=2, onnx="float32"), tmp_path / "model")
    with pytest.raises(SoctkError, match="the features are from egemaps of opensmile, which is not read from a folder"):
        pack(Packing(tmp_path / "exp", fold=2, encoder=tmp_path), tmp_path / "model")
