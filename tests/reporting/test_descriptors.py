"""Tests of the descriptors for figures against the outputs of the pooling layers."""

import dataclasses

import numpy as np
import pytest
import torch

from soctk import config
from soctk.corpus import datadir
from soctk.errors import SoctkError
from soctk.features.extract import Extraction, extract
from soctk.features.store import FeatureStore
from soctk.pooling import spd
from soctk.reporting import descriptors
from soctk.scoring import predictions
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features, Frames


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a function that trains a pooling on the small corpus and reads its predictions."""
    from conftest import ROOT, write_corpus

    root = tmp_path_factory.mktemp("corpus")
    data = write_corpus(root)
    extract(data, root / "feats", Extraction("mfcc"))

    def train(pooling: str, head: str = "mlp", overrides: tuple[str, ...] = ()) -> predictions.Predictions:
        overrides = (*overrides, "train.epochs=2") if head == "mlp" else overrides
        settings = config.load([ROOT / "conf"], pooling, head, overrides=overrides)
        path = root / "exp" / f"{pooling}-{head}"
        Experiment(settings, data, Features(FeatureStore.open(root / "feats"), data.utterances), path).run(
            data.folds, [1]
        )
        (runs,) = predictions.find(path).values()
        return predictions.read(runs)

    return train


def test_a_pooling_without_parameters_describes_the_test_utterances_of_all_folds(trained):
    found = trained("mean+soc_full", "linear", ("pooling.soc_full.d=4",))
    described = descriptors.of_run(found)
    assert described.utterances["utt"].tolist() == sorted(found.table["utt"])
    store = FeatureStore.open(found.made_from["features"])
    utt = described.utterances["utt"][0]
    frames, lengths = Frames.of(store, [utt]).batch([0])
    frames = torch.nn.functional.layer_norm(frames, frames.shape[-1:])[:, 0].unsqueeze(0)
    assert described.values[0] == pytest.approx(described.pooling(frames, lengths)[0].numpy(), abs=1e-5)
    logarithms = described.log_covariances()
    projection = described.pooling.layers[1].projection
    expected = spd.log_covariance(frames, lengths, **described.pooling.layers[1].regularisation, projection=projection)
    assert logarithms.shape == (36, 4, 4)
    assert logarithms[0] == pytest.approx(expected[0].numpy(), abs=1e-4)


def test_a_trained_pooling_describes_the_test_utterances_of_the_first_fold(trained):
    found = trained("soc", overrides=("pooling.d=5",))
    described = descriptors.of_run(found)
    assert described.utterances["utt"].tolist() == sorted(found.table["utt"][found.table["fold"] == 1])
    logarithms = described.log_covariances()
    assert logarithms.shape == (12, 5, 5)
    assert np.array_equal(logarithms, logarithms.transpose(0, 2, 1))
    assert spd.upper_triangle(torch.from_numpy(logarithms)).numpy() == pytest.approx(described.values)


def test_poolings_without_a_matrix_logarithm_have_no_log_covariances(trained):
    assert descriptors.of_run(trained("mean", "linear")).log_covariances() is None
    assert descriptors.of_run(trained("soc_nolem")).log_covariances() is None


def test_the_number_of_described_utterances_is_limited(trained, monkeypatch):
    monkeypatch.setattr(descriptors, "MOST_UTTERANCES", 7)
    assert len(descriptors.of_run(trained("mean", "linear")).values) == 7


def test_a_missing_store_gives_none_and_another_store_is_an_error(trained, tmp_path):
    found = trained("mean", "linear")
    assert descriptors.of_run(dataclasses.replace(found, made_from={})) is None
    assert descriptors.of_run(dataclasses.replace(found, made_from={"features": tmp_path / "gone"})) is None
    with pytest.raises(SoctkError, match="gone: no feature store"):
        descriptors.of_run(found, tmp_path / "gone")
    corpus = datadir.read(found.made_from["data"])
    some = dict(list(corpus.wav.items())[:2])
    extract(dataclasses.replace(corpus, wav=some), tmp_path / "other", Extraction("mfcc"))
    with pytest.raises(SoctkError, match="was not trained on this feature store"):
        descriptors.of_run(found, tmp_path / "other")


def test_a_model_with_other_settings_is_an_error(trained):
    found = trained("soc", overrides=("pooling.d=5",))
    weights = found.path / "fold1" / "seed1" / "model.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes((trained("soc_nolem").path / "fold1" / "seed1" / "model.safetensors").read_bytes())
    with pytest.raises(SoctkError, match=r"model.safetensors: the model does not match the settings"):
        descriptors.of_run(found)
    weights.write_bytes(kept)


def test_settings_of_another_version_are_an_error(trained):
    found = trained("mean", "linear")
    older = {**found.settings, "head": {"name": "linear", "C": [1.0]}}
    with pytest.raises(SoctkError, match=r"another version of soctk \(head.linear.within_class_shrinkage\)"):
        descriptors.of_run(dataclasses.replace(found, settings=older))
