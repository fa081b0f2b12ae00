"""Experiments on the features of several encoders side by side."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT, write_corpus

from soctk import config
from soctk.errors import SoctkError
from soctk.features import side_by_side
from soctk.features.store import FeatureStore
from soctk.training.candidates import list_candidates
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features

BASE, TINY, CONSTANT = ("base", 7, 6, (4, 9)), ("tiny", 5, 4, (7, 12)), ("constant", 1, 3, (5, 6))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, corpus):
    """Two stores whose frames depend on the emotion, of other widths and rates, and one with constant frames."""
    path = tmp_path_factory.mktemp("features")
    for seed, (name, count, size, lengths) in enumerate((BASE, TINY, CONSTANT)):
        settings = {
            "upstream": name, "layers": list(range(count)), "num_layers": count, "hidden_size": size,
            "dtype": "float32", "versions": {},
        }  # fmt: skip
        random, frames = torch.Generator().manual_seed(seed), {}
        for number, utt in enumerate(corpus.utterances):
            shift = corpus.emotions.index(corpus.emotion[utt]) * torch.linspace(-1, 1, size)
            states = torch.randn(count, lengths[number % 2], size, generator=random)
            frames[utt] = torch.ones_like(states) if name == "constant" else states + 0.3 * shift
        store = FeatureStore.create(path / name, settings)
        store.write_shard(frames, {utt: utt for utt in corpus.utterances})
        store.finish()
    return path


def experiment(corpus, folder, path, names, pooling="mean+soc_full", *overrides) -> Experiment:
    store = side_by_side.open_stores(*(folder / name for name in names))
    head = "mlp" if pooling in ("soc", "asp") else "linear"
    settings = config.load([ROOT / "conf"], pooling, head, overrides=["frames.layer_norm=false", *overrides])
    return Experiment(settings, corpus, Features(store, corpus.utterances), path)


def posteriors(run: Experiment) -> np.ndarray:
    run.run([1], [1])
    table = pd.read_csv(run.path / "fold1" / "seed1" / "predictions.tsv", sep="\t", index_col="utt")
    return table[list(run.data.emotions)].to_numpy(float)


@pytest.mark.parametrize("pooling", ["mean", "soc_full"])
def test_the_blocks_are_those_of_each_encoder(tmp_path, corpus, folder, pooling):
    layers = "frames.layers=[2, 9, 11]"  # 2 and 4 of the second encoder
    both = experiment(corpus, folder, tmp_path, ("base", "tiny"), pooling, layers)
    found = both.features.blocks(both.config)
    assert list(found) == [(2, pooling), (9, pooling), (11, pooling)]
    for name, numbers in (("base", {2: 2}), ("tiny", {9: 2, 11: 4})):
        alone = experiment(corpus, folder, tmp_path, (name,), pooling, f"frames.layers={list(numbers.values())}")
        expected = alone.features.blocks(alone.config)
        for joint, own in numbers.items():
            np.testing.assert_array_equal(found[joint, pooling].descriptors, expected[own, pooling].descriptors)


def test_an_encoder_without_information_changes_nothing_and_the_order_of_encoders_neither(tmp_path, corpus, folder):
    layers = "frames.layers=last"
    alone = posteriors(experiment(corpus, folder, tmp_path / "alone", ("base",), "mean", layers))
    constant = posteriors(experiment(corpus, folder, tmp_path / "constant", ("base", "constant"), "mean", layers))
    np.testing.assert_allclose(constant, alone, atol=1e-5)
    one = posteriors(experiment(corpus, folder, tmp_path / "one", ("base", "tiny"), "mean", layers))
    other = posteriors(experiment(corpus, folder, tmp_path / "other", ("tiny", "base"), "mean", layers))
    np.testing.assert_allclose(one, other, atol=1e-3)
    assert np.abs(one - alone).max() > 0.01


def test_both_stores_are_recorded_and_compared(tmp_path, corpus, folder):
    path = tmp_path / "exp"
    posteriors(experiment(corpus, folder, path, ("base", "tiny"), "mean"))
    recorded = yaml.safe_load((path / "fold1" / "seed1" / "config.yaml").read_text())
    assert [recorded[name]["upstream"] for name in ("features", "features2")] == ["base", "tiny"]
    made_from = recorded["made_from"]
    assert [(path / "fold1" / "seed1" / made_from[name]).resolve().name for name in ("features", "features2")] == [
        "base",
        "tiny",
    ]
    assert experiment(corpus, folder, path, ("base", "tiny"), "mean").run([1], [1]) == 0
    with pytest.raises(SoctkError, match=r"made with other settings\n.*features2"):
        experiment(corpus, folder, path, ("base",), "mean").run([1], [1])


def test_one_store_is_recorded_as_before(tmp_path, corpus, folder):
    posteriors(experiment(corpus, folder, tmp_path, ("base",), "mean"))
    recorded = yaml.safe_load((tmp_path / "fold1" / "seed1" / "config.yaml").read_text())
    assert "features2" not in recorded and recorded["made_from"].keys() == {"data", "features"}


@pytest.mark.parametrize(("pooling", "more"), [("soc", []), ("mean", ["frames.combine=sum"])])
def test_trained_poolings_of_several_encoders_are_refused(tmp_path, corpus, folder, pooling, more):
    head = [] if pooling == "soc" else more
    store = side_by_side.open_stores(folder / "base", folder / "tiny")
    settings = config.load([ROOT / "conf"], pooling, "mlp", overrides=["frames.layers=all", *head])
    with pytest.raises(SoctkError, match=r"several encoders .*no trained parameters\nChoose poolings without trained"):
        Experiment(settings, corpus, Features(store, corpus.utterances), tmp_path / "exp").run([1], [1])


def test_the_head_mlp_trains_on_the_descriptors_of_both(tmp_path, corpus, folder):
    store = side_by_side.open_stores(folder / "base", folder / "tiny")
    quick = ["train.epochs=2", "train.batch_size=8", "frames.layers=[2, 9]", "frames.combine=concat"]
    settings = config.load([ROOT / "conf"], "mean", "mlp", overrides=quick)
    run = Experiment(settings, corpus, Features(store, corpus.utterances), tmp_path / "exp")
    assert run.new_model().head[0].in_features == 6 + 4
    assert run.run([1], [1]) == 1


def test_candidates_have_the_same_part_of_each_encoder(tmp_path, corpus, folder):
    both = experiment(corpus, folder, tmp_path, ("base", "tiny"), "mean", "frames.layers=auto")
    middle, every, last = list_candidates(both.config, both.features)
    assert middle.layers == (2, 3, 4, 5, 9, 10)  # 2 to 5 of 6, and 2 and 3 of 4
    assert every.layers == tuple(range(12))
    assert last.layers == (6, 11)


def test_an_encoder_with_one_hidden_state_is_in_all_candidates(tmp_path, corpus, folder):
    both = experiment(corpus, folder, tmp_path, ("constant", "base"), "mean", "frames.layers=auto")
    found = [candidate.layers for candidate in list_candidates(both.config, both.features)]
    assert found == [(0, 3, 4, 5, 6), tuple(range(8)), (0, 7)]  # hidden state n of the second has the number 1 + n
