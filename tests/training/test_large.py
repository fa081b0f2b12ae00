"""The linear head of a large corpus: descriptors in a file, a choice on a part, a fit in parts."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, write_corpus

from soctk import config
from soctk.errors import SoctkError
from soctk.features import extract
from soctk.features.store import FeatureStore
from soctk.training import final, large
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features
from soctk.training.large import StandardisedParts


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    work = tmp_path_factory.mktemp("large")
    corpus = write_corpus(work, utterances_each=8)
    extract.extract(corpus, work / "feats", extract.Extraction("mfcc"))
    return work, corpus, FeatureStore.open(work / "feats")


def experiment(work, name, *overrides, max_bytes=0) -> Experiment:
    folder, corpus, store = work
    settings = config.load([ROOT / "conf"], "mean", "linear", overrides=list(overrides))
    return Experiment(settings, corpus, Features(store, corpus.utterances, max_bytes=max_bytes), folder / name)


def posteriors(experiment) -> np.ndarray:
    tables = [pd.read_csv(file, sep="\t", index_col="utt") for file in sorted(experiment.path.rglob("predictions.tsv"))]
    return pd.concat(tables)[list(experiment.data.emotions)].to_numpy()


def logs(experiment) -> list[list[dict]]:
    files = sorted(experiment.path.rglob("train.jsonl"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


def chosen(experiment) -> list[float]:
    return [min(log, key=lambda record: record["valid_loss"])["C"] for log in logs(experiment)]


def test_results_are_those_of_the_usual_fit_up_to_the_rounding_of_descriptors(work):
    usual, parted = experiment(work, "usual", max_bytes=1e9), experiment(work, "parted")
    assert usual.run([1, 2], [1]) == parted.run([1, 2], [1]) == 2
    np.testing.assert_allclose(posteriors(parted), posteriors(usual), atol=0.01)
    assert chosen(parted) == chosen(usual)


def test_results_do_not_depend_on_the_number_of_threads(work, monkeypatch):
    monkeypatch.setattr(large, "_ROWS", 16)
    one, three = experiment(work, "one"), experiment(work, "three")
    assert one.run([1], [1], nj=1) == three.run([1], [1], nj=3) == 1
    np.testing.assert_array_equal(posteriors(one), posteriors(three))


def test_a_part_of_the_training_utterances_chooses_C(work, monkeypatch):
    monkeypatch.setattr(large, "SAMPLE", 60)
    whole, part = experiment(work, "whole", max_bytes=1e9), experiment(work, "part")
    assert whole.run([1], [1]) == part.run([1], [1]) == 1
    assert logs(part) != logs(whole)
    np.testing.assert_allclose(posteriors(part).argmax(1), posteriors(whole).argmax(1))


def test_the_final_model_is_fitted_in_parts_too(work):
    usual, parted = experiment(work, "final usual", max_bytes=1e9), experiment(work, "final parted")
    models = [final.on_all_speakers(each, [], 1) for each in (usual, parted)]
    assert models[0].chosen == models[1].chosen
    weights, others = (model.classifier.head.weight.detach() for model in models)
    assert (weights - others).norm() <= 0.02 * weights.norm()


def test_parts_are_standardised_by_the_training_rows():
    generator = np.random.default_rng(0)
    blocks = [generator.normal(5, 2, (9000, 3)).astype(np.float16), np.ones((9000, 2), np.float16)]
    fitted = np.arange(0, 9000, 2)
    parts = StandardisedParts.of(blocks, fitted, "cpu")
    assert len(parts) == 2
    values = np.concatenate([parts[0].numpy(), parts[1].numpy()])
    exact = blocks[0][fitted].astype(float)
    expected = (exact - exact.mean(0)) / exact.std(0) / np.sqrt(3)
    np.testing.assert_allclose(values[:, :3], expected, atol=1e-5)
    assert (values[:, :3] ** 2).sum() == pytest.approx(len(fitted), rel=1e-3)
    assert not values[:, 3:].any()


def test_the_fit_in_parts_has_no_re_centring(work):
    with pytest.raises(SoctkError, match="a fit that reads them from a file has no re-centring"):
        experiment(work, "recentred", "recentre.by=speaker").run([1], [1])
