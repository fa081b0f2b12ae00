"""Training on the GPU: the same results as on the CPU; frames in memory and streamed; the same bits again."""

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, write_corpus
from random_encoders import write

from soctk import config
from soctk.features import extract
from soctk.features.store import FeatureStore
from soctk.training.experiment import Experiment, run_together
from soctk.training.inputs import Features

pytestmark = pytest.mark.gpu

LAYERS = "frames.layers=[1, 2]"
EXPERIMENTS = {
    "linear": ("mean+soc_full", "linear", [LAYERS, "frames.combine=concat", "head.C=[0.01, 1]"]),
    "linear, projected": ("soc_full", "linear", ["pooling.soc_full.d=16", "head.C=[0.1]"]),
    "re-centred": ("mean", "linear", ["recentre.by=speaker", "head.C=[0.1]"]),
    "mlp on descriptors": ("mean+soc_full", "mlp", ["train.epochs=2"]),
    "soc": ("soc", "mlp", ["pooling.soc.d=8", "train.epochs=2"]),
    "weights of layers": ("soc", "mlp", [LAYERS, "frames.combine=sum", "pooling.soc.d=8", "train.epochs=2"]),
    "asp": ("asp", "mlp", ["train.epochs=2"]),
    "frames are projected": ("stats", "mlp", ["frames.projection=8", "train.epochs=2"]),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"), utterances_each=4)


@pytest.fixture(scope="module")
def store(tmp_path_factory, corpus, device) -> FeatureStore:
    folder = tmp_path_factory.mktemp("features")
    extraction = extract.Extraction(str(write(folder / "wav2vec2", "wav2vec2")), "all", device=device, batch_seconds=4)
    extract.extract(corpus, folder / "feats", extraction, nj=2)
    return FeatureStore.open(folder / "feats")


def posteriors(path, name, corpus, store, device, folds=(1, 2), seeds=(1, 2), **options) -> np.ndarray:
    """Train and test folds with seeds, together on a GPU, and return the posteriors `(utterances, classes)`."""
    experiment = make(path, name, corpus, Features(store, corpus.utterances, device, **options))
    assert experiment.run(folds, seeds) == len(folds) * len(seeds)
    return predicted(path, corpus)


def make(path, name, corpus, features, *more) -> Experiment:
    """Return an experiment with some more settings."""
    pooling, head, overrides = EXPERIMENTS[name]
    settings = config.load([ROOT / "conf"], pooling, head, overrides=[*overrides, *more])
    return Experiment(settings, corpus, features, path, features.device)


def predicted(path, corpus) -> np.ndarray:
    """Return the posteriors of all runs below a directory."""
    tables = [pd.read_csv(file, sep="\t", index_col="utt") for file in sorted(path.rglob("predictions.tsv"))]
    return pd.concat(tables)[list(corpus.emotions)].to_numpy()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_results_equal_those_on_the_cpu_and_are_the_same_again(tmp_path, corpus, store, device, name):
    results = posteriors(tmp_path / "device", name, corpus, store, device)
    again = posteriors(tmp_path / "again", name, corpus, store, device)
    streamed = posteriors(tmp_path / "streamed", name, corpus, store, device, max_bytes=0)
    assert np.isfinite(results).all()
    np.testing.assert_array_equal(again, results)
    np.testing.assert_allclose(streamed, results, atol=1e-3)
    alone = posteriors(tmp_path / "alone", name, corpus, store, device, seeds=[2], folds=[2])
    np.testing.assert_allclose(alone, results[-len(alone) :], atol=1e-3)
    if device == "cuda" and EXPERIMENTS[name][1] == "linear":  # torch's dropout draws other numbers on a GPU
        on_cpu = posteriors(tmp_path / "cpu", name, corpus, store, "cpu")
        np.testing.assert_allclose(results, on_cpu, atol=1e-3)


@pytest.mark.parametrize("name", ["soc", "mlp on descriptors"])
def test_points_of_a_sweep_learn_the_same_together_and_alone(tmp_path, corpus, store, device, name):
    features = Features(store, corpus.utterances, device)
    points = {"a": ["train.lr=1e-2", "head.dropout=0"], "b": ["train.epochs=3"], "c": ["train.grad_clip=0.01"]}
    together = [make(tmp_path / "sweep" / point, name, corpus, features, *own) for point, own in points.items()]
    assert run_together(together, [1, 2], [1]) == 6
    for point, own in points.items():
        make(tmp_path / "alone" / point, name, corpus, features, *own).run([1, 2], [1])
        results, alone = (predicted(tmp_path / way / point, corpus) for way in ("sweep", "alone"))
        np.testing.assert_allclose(results, alone, atol=1e-3)
