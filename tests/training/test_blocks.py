import copy
import weakref

import numpy as np
import pytest
import torch
from conftest import ROOT, write_corpus
from safetensors.numpy import load_file

from soctk import config, pooling
from soctk.features.store import FeatureStore
from soctk.scoring.runs import RunDirectory
from soctk.training import blocks, final, inputs
from soctk.training.blocks import PooledAgain, gram
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features

D, LAYERS = 12, [0, 1]
PART = D * (D + 1) // 2  # of soc_full; more than there are utterances


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def frames(corpus) -> dict[str, torch.Tensor]:
    """Two hidden states `(2, T, D)` of each utterance, with different T, far from the origin."""
    random = np.random.default_rng(0)
    lengths = {utt: 8 + i % 5 for i, utt in enumerate(corpus.utterances)}
    return {utt: torch.from_numpy(3 + random.normal(size=(2, T, D))).float() for utt, T in lengths.items()}


@pytest.fixture(scope="module")
def store(tmp_path_factory, frames) -> FeatureStore:
    settings = {"upstream": "test", "layers": LAYERS, "hidden_size": D, "dtype": "float32", "versions": {}}
    store = FeatureStore.create(tmp_path_factory.mktemp("store") / "feats", settings)
    store.write_shard(frames, {utt: utt for utt in frames})
    store.finish()
    return FeatureStore.open(store.path)


def settings(head: str = "linear", *overrides: str):
    options = ["frames.layers=all", "frames.layer_norm=false", *overrides]
    if head == "linear":
        options += ["frames.combine=concat", "head.C=[0.01, 0.1]"]
    else:
        options += ["frames.layers=[1]"]
    return config.load([ROOT / "conf"], "mean+soc_full", head, overrides=options)


def bytes_of(corpus, number: int) -> int:
    """Return the max_bytes with which the descriptors of this many long blocks are kept."""
    return 2 * number * 4 * len(corpus.utterances) * PART


@pytest.mark.parametrize("kept", [0, 1, 2])
@pytest.mark.parametrize("nj", [1, 3])
def test_products_equal_those_of_all_descriptors_in_float64(corpus, frames, store, kept, nj):
    found = Features(store, corpus.utterances, max_bytes=bytes_of(corpus, kept)).blocks(settings(), nj)
    assert list(found) == [(0, "mean"), (0, "soc_full"), (1, "mean"), (1, "soc_full")]
    assert [found[layer, "soc_full"].is_kept for layer in LAYERS] == [number < kept for number in range(2)]
    factors = np.random.default_rng(1).normal(size=(2, 3, len(corpus.utterances)))
    for (layer, name), block in found.items():
        pool = pooling.create(name, D, settings().pooling).double()
        each = [frames[utt][layer].double() for utt in corpus.utterances]
        expected = torch.cat([pool(rows[None], torch.tensor([len(rows)])) for rows in each]).numpy()
        for own in (block, copy.deepcopy(block)):
            np.testing.assert_allclose(own.times(factors), factors @ expected, rtol=1e-4, atol=1e-4)
            assert (own.times(factors[1]) == own.times(factors)[1]).all()
        np.testing.assert_allclose(block.descriptors[5], expected[5], rtol=1e-4, atol=1e-5)
        assert block.size == expected.shape[1]
        if name == "mean":  # fewer numbers than utterances
            assert block.is_kept and block.products is None
        else:
            centred = expected - expected.mean(0)
            np.testing.assert_allclose(block.products, centred @ centred.T, atol=1e-3)


def test_gram_centres_parts_of_the_columns(monkeypatch):
    descriptors = 100 + np.random.default_rng(0).normal(size=(7, 23)).astype(np.float32)
    centred = descriptors.astype(np.float64) - descriptors.mean(0, dtype=np.float64)
    monkeypatch.setattr(blocks, "_COLUMNS", 5)
    np.testing.assert_allclose(gram(descriptors), centred @ centred.T, atol=1e-3)


@pytest.mark.parametrize("by", ["none", "speaker"])
def test_descriptors_that_are_pooled_again_give_the_same_predictions_and_weights(
    tmp_path, corpus, store, by, monkeypatch
):
    reads = []
    multiply = PooledAgain.__rmatmul__
    monkeypatch.setattr(PooledAgain, "__rmatmul__", lambda self, factors: reads.append(1) or multiply(self, factors))
    models = []
    for kept in (2, 0):
        path, features = tmp_path / str(kept), Features(store, corpus.utterances, max_bytes=bytes_of(corpus, kept))
        made = Experiment(settings("linear", f"recentre.by={by}"), corpus, features, path)
        made.run(corpus.folds, [1])
        assert len(reads) == (0 if kept else len(LAYERS))  # once for the weights of all folds
        models.append(final.on_all_speakers(made, [], seed=1))
    for fold in corpus.folds:
        one, other = (RunDirectory(tmp_path / str(kept), fold, 1) for kept in (2, 0))
        assert one.predictions.read_bytes() == other.predictions.read_bytes()
        weights = [load_file(run.weights) for run in (one, other)]
        for name in weights[0]:
            np.testing.assert_allclose(weights[1][name], weights[0][name], rtol=1e-4, atol=1e-5)
    weights = [model.classifier.head.weight.detach().numpy() for model in models]
    np.testing.assert_allclose(weights[1], weights[0], rtol=1e-4, atol=1e-5)
    if by == "speaker":
        np.testing.assert_allclose(models[1].prior, models[0].prior, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kept", "most"), [(0, 1), (1, 2), (2, 2)])
def test_beyond_the_kept_descriptors_those_of_one_block_are_in_memory(corpus, store, kept, most, monkeypatch):
    alive, counts = [], []

    def watched(descriptors):
        if descriptors.shape[1] == PART:
            alive.append(weakref.ref(descriptors))
            counts.append(sum(ref() is not None for ref in alive))
        return gram(descriptors)

    monkeypatch.setattr(inputs, "gram", watched)
    features = Features(store, corpus.utterances, max_bytes=bytes_of(corpus, kept))
    features.blocks(settings())
    assert len(counts) == len(LAYERS) and max(counts) == most
    assert sum(ref() is not None for ref in alive) == kept


def test_the_head_mlp_gets_descriptors_in_memory_also_after_a_linear_head(tmp_path, corpus, store):
    features = Features(store, corpus.utterances, max_bytes=0)
    assert not features.blocks(settings())[1, "soc_full"].is_kept
    mlp = settings("mlp", "train.epochs=1", "train.batch_size=8")
    assert features.blocks(mlp)[1, "soc_full"].is_kept
    assert Experiment(mlp, corpus, features, tmp_path / "exp").run([1], [1]) == 1
