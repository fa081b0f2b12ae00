"""Tests of the log-covariances for the picture against the functions of soctk.pooling.spd."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from soctk import config, pooling
from soctk.corpus import datadir
from soctk.errors import SoctkError
from soctk.features.extract import Extraction, extract
from soctk.features.store import FeatureStore
from soctk.pooling import spd
from soctk.reporting import descriptors
from soctk.scoring import predictions
from soctk.training.experiment import Experiment
from soctk.training.frames import Frames
from soctk.training.inputs import Features


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


def oracle(found: predictions.Predictions, utterances: list[str], weights: torch.Tensor, **options) -> np.ndarray:
    """Return the tangent vectors of utterances, from their frames times the weights, by soctk.pooling.spd."""
    store = FeatureStore.open(found.made_from["features"])
    vectors = []
    for utt in utterances:
        frames, lengths = Frames.of(store, [utt]).batch([0])
        frames = torch.nn.functional.layer_norm(frames, frames.shape[-1:])[:, 0].unsqueeze(0)
        vectors.append(spd.tangent_vector(spd.log_covariance(frames @ weights.T, lengths, **options))[0].numpy())
    return np.stack(vectors)


def test_a_pooling_without_parameters_describes_the_test_utterances_of_all_folds(trained):
    found = trained("mean+soc_full", "linear", ("pooling.soc_full.d=4",))
    assert descriptors.has_log_covariances(found)
    described = descriptors.of_run(found)
    assert described.source == "36 of the 36 test utterances, hidden state 0"
    assert described.utterances["utt"].tolist() == sorted(found.table["utt"])
    layer = pooling.create("soc_full", 39, found.settings["pooling"])
    options = {**layer.regularisation, "projection": layer.projection}
    expected = oracle(found, sorted(found.table["utt"]), torch.eye(39), **options)
    assert described.vectors == pytest.approx(expected, abs=1e-4)


def test_a_trained_pooling_describes_the_test_utterances_of_the_first_fold(trained):
    found = trained("soc", overrides=("pooling.d=5",))
    described = descriptors.of_run(found)
    own = sorted(found.table["utt"][found.table["fold"] == 1])
    assert described.source == "12 of the 12 test utterances of fold 1, hidden state 0, by the model of fold 1, seed 1"
    assert described.utterances["utt"].tolist() == own
    weights = load_file(found.path / "fold1" / "seed1" / "model.safetensors")["poolings.0.projection.weight"]
    options = pooling.create("soc", 39, found.settings["pooling"]).regularisation
    assert described.vectors == pytest.approx(oracle(found, own, weights, **options), abs=1e-3)


def test_poolings_without_a_matrix_logarithm_have_no_log_covariances(trained):
    assert not descriptors.has_log_covariances(trained("mean", "linear"))
    assert not descriptors.has_log_covariances(trained("soc_nolem"))


def test_the_number_of_described_utterances_and_their_memory_are_limited(trained, monkeypatch):
    found = trained("mean+soc_full", "linear", ("pooling.soc_full.d=4",))
    monkeypatch.setattr(descriptors, "MOST_UTTERANCES", 7)
    assert len(descriptors.of_run(found).vectors) == 7
    monkeypatch.setattr(descriptors, "MOST_NUMBERS", 5 * 10)
    assert descriptors.of_run(found).vectors.shape == (5, 10)


def test_a_missing_store_gives_none_and_another_store_is_an_error(trained, tmp_path):
    found = trained("mean+soc_full", "linear", ("pooling.soc_full.d=4",))
    assert descriptors.of_run(dataclasses.replace(found, made_from={})) is None
    assert descriptors.of_run(dataclasses.replace(found, made_from={"features": tmp_path / "gone"})) is None
    with pytest.raises(SoctkError, match="gone: no feature store"):
        descriptors.of_run(found, tmp_path / "gone")
    corpus = datadir.read(found.made_from["data"])
    extract(corpus.only(corpus.utterances[:2]), tmp_path / "other", Extraction("mfcc"))
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
    found = trained("mean+soc_full", "linear", ("pooling.soc_full.d=4",))
    older = {**found.settings, "head": {"name": "linear", "C": [1.0]}}
    with pytest.raises(SoctkError, match=r"another version of soctk \(head.linear.within_class_shrinkage\)"):
        descriptors.of_run(dataclasses.replace(found, settings=older))
