"""Augmented copies are for training: validation, test and the mean of the posteriors see recordings as they are."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT, write_corpus
from safetensors.torch import load_file

from soctk import config
from soctk.corpus import splits
from soctk.errors import SoctkError
from soctk.features import extract
from soctk.features.store import FeatureStore
from soctk.training import linear
from soctk.training.blocks import Block
from soctk.training.classes import Classes
from soctk.training.classifier import EmotionClassifier
from soctk.training.coordinates import make_coordinates
from soctk.training.experiment import Experiment
from soctk.training.frames import Frames
from soctk.training.inputs import Features
from soctk.training.loop import predict
from soctk.training.recentre import Recentring

MLP = ("train.epochs=2", "train.batch_size=8", "train.lr=1e-3")
LINEAR = ("head.C=[0.1]",)
TESTED, AUGMENTED = ("", "-sp0.9"), ("-aug-noise", "-aug-gain")


def make(corpus, store, path, pooling, head, *overrides, protocol="soctk", max_bytes=1e9) -> Experiment:
    overrides = (*(MLP if head == "mlp" else LINEAR), *overrides)
    settings = config.load([ROOT / "conf"], pooling, head, protocol, overrides)
    return Experiment(settings, corpus, Features(store, corpus.utterances, max_bytes=max_bytes), path)


def predictions(experiment: Experiment, fold: int = 1) -> pd.DataFrame:
    return pd.read_csv(experiment.path / f"fold{fold}" / "seed1" / "predictions.tsv", sep="\t")


def log(experiment: Experiment) -> list[dict]:
    lines = (experiment.path / "fold1" / "seed1" / "train.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def store(tmp_path_factory, corpus) -> FeatureStore:
    path = tmp_path_factory.mktemp("store") / "mfcc"
    extract.extract(corpus, path, extract.Extraction("mfcc", speeds=(0.9,), augmentations=("noise", "gain")))
    return FeatureStore.open(path)


def with_other_copies(store, corpus, path, utterances) -> FeatureStore:
    """Return a store in which the augmented copies of these utterances are others."""
    other = FeatureStore.create(path, store.settings)
    for suffix in (*TESTED, *AUGMENTED):
        frames = Frames.of(store, [utt + suffix for utt in corpus.utterances]).utterances
        changed = {utt for utt in utterances if suffix in AUGMENTED}
        named = zip(corpus.utterances, frames, strict=True)
        states = {utt + suffix: (3 * rows.flip(2) if utt in changed else rows).transpose(0, 1) for utt, rows in named}
        other.write_shard(states, {name: store.recordings[name] for name in states})
    other.finish()
    return FeatureStore.open(path)


@pytest.mark.parametrize(("pooling", "head"), [("soc", "mlp"), ("mean", "mlp"), ("mean+soc_full", "linear")])
def test_posteriors_are_the_mean_over_the_recording_and_its_speeds_alone(tmp_path, corpus, store, pooling, head):
    experiment = make(corpus, store, tmp_path / "exp", pooling, head)
    experiment.run([1], [1])
    table = predictions(experiment)
    model = EmotionClassifier(39, 1, 3, experiment.config)
    model.load_state_dict(load_file(tmp_path / "exp" / "fold1" / "seed1" / "model.safetensors"))
    target = Classes(corpus.emotions, np.zeros(0, dtype=int))
    each = [
        predict(model, Frames.of(store, list(table["utt"] + suffix)).layer_normalised(), target, range(len(table)))
        for suffix in TESTED
    ]
    posteriors = table[list(corpus.emotions)].to_numpy()
    np.testing.assert_allclose(torch.stack(each).exp().mean(0), posteriors, atol=5e-4)


@pytest.mark.parametrize(("pooling", "head"), [("soc", "mlp"), ("mean", "mlp"), ("mean+soc_full", "linear")])
@pytest.mark.parametrize("recentre", ["none", "speaker"])
def test_augmented_copies_of_training_speakers_train_and_those_of_others_change_nothing(
    tmp_path, corpus, store, pooling, head, recentre
):
    if (pooling, recentre) == ("soc", "speaker"):
        pytest.skip("descriptors with trained parameters cannot be re-centred")
    split = splits.split(corpus, 1, "soctk", 1)
    held_out = split.test + (split.valid if head == "mlp" else [])
    stores = {
        "as it is": store,
        "other held-out": with_other_copies(store, corpus, tmp_path / "held", held_out),
        "other trained": with_other_copies(store, corpus, tmp_path / "trained", split.train),
    }
    tables, logs = [], []
    for name, features in stores.items():
        experiment = make(corpus, features, tmp_path / "exp" / name, pooling, head, f"recentre.by={recentre}")
        experiment.run([1], [1])
        tables.append(predictions(experiment))
        logs.append(log(experiment))
    posteriors = [table[list(corpus.emotions)].to_numpy() for table in tables]
    losses = [[record["valid_loss"] for record in records] for records in logs]
    # Not exactly equal: inner products in float32 are rounded after the mean of all rows is subtracted (in float64,
    # the posteriors are equal).
    np.testing.assert_allclose(posteriors[0], posteriors[1], atol=5e-4)
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-4)
    assert np.abs(posteriors[0] - posteriors[2]).max() > 1e-3
    assert np.abs(np.subtract(losses[0], losses[2])).max() > 1e-3


def test_inner_validation_sees_recordings_as_they_are(tmp_path, corpus, store):
    """Under the protocol emobox, C is chosen on validation utterances, to which no inner fit is fitted."""
    split = splits.split(corpus, 1, "emobox", 1)
    logs = []
    for name, utterances in (("none", []), ("valid", split.valid), ("train", split.train)):
        other = with_other_copies(store, corpus, tmp_path / name, utterances)
        experiment = make(corpus, other, tmp_path / "exp" / name, "mean+soc_full", "linear", protocol="emobox")
        experiment.run([1], [1])
        logs.append([record["valid_loss"] for record in log(experiment)])
    np.testing.assert_allclose(logs[0], logs[1], atol=1e-4)
    assert np.abs(np.subtract(logs[0], logs[2])).max() > 1e-3


def test_without_its_copies_a_store_gives_the_results_of_a_store_without_copies(tmp_path, corpus, store):
    extract.extract(corpus, tmp_path / "plain", extract.Extraction("mfcc"))
    plain = FeatureStore.open(tmp_path / "plain")
    one = make(corpus, plain, tmp_path / "one", "mean+soc_full", "linear")
    other = make(corpus, store, tmp_path / "other", "mean+soc_full", "linear", "frames.speeds=[]", "frames.augment=[]")
    some = make(
        corpus, store, tmp_path / "some", "mean+soc_full", "linear", "frames.speeds=[]", "frames.augment=[gain]"
    )
    for experiment in (one, other, some):
        experiment.run([1], [1])
    assert predictions(one).equals(predictions(other))
    assert not predictions(one).equals(predictions(some))


def test_the_setting_is_recorded_only_if_it_is_not_the_default(tmp_path, corpus, store):
    for name, value, recorded in (("all", "all", None), ("some", "[gain]", ["gain"])):
        make(corpus, store, tmp_path / name, "mean", "linear", f"frames.augment={value}").run([1], [1])
        settings = yaml.safe_load((tmp_path / name / "fold1" / "seed1" / "config.yaml").read_text())
        assert settings["frames"].get("augment") == recorded
        assert settings["features"]["augmentations"] == ["noise", "gain"]


def test_an_augmentation_that_the_store_lacks_is_an_error(tmp_path, corpus, store):
    extract.extract(corpus, tmp_path / "plain", extract.Extraction("mfcc"))
    plain = FeatureStore.open(tmp_path / "plain")
    for features, has in ((store, "it has copies with noise, gain"), (plain, "it has none")):
        experiment = make(corpus, features, tmp_path / "exp", "mean", "linear", "frames.augment=[reverb]")
        with pytest.raises(SoctkError, match=rf"the store has no copies with reverb; {has}\nChoose .*--augment"):
            experiment.run([1], [1])


def test_frames_read_batch_by_batch_give_the_same_results(tmp_path, corpus, store):
    tables = []
    for name, max_bytes in (("memory", 1e9), ("streamed", 0)):
        experiment = make(corpus, store, tmp_path / name, "soc", "mlp", max_bytes=max_bytes)
        experiment.run([1], [1])
        tables.append(predictions(experiment))
    pd.testing.assert_frame_equal(*tables, atol=1e-5)


def test_predictions_of_the_linear_head_are_the_mean_over_the_tested_copies():
    random = np.random.default_rng(0)
    labels = np.tile(np.arange(2), 10)
    values = [random.normal(size=(20, 3)).astype(np.float32) + labels[:, None] for _ in range(3)]
    settings = config.load([ROOT / "conf"], "mean", "linear", overrides=["head.C=[1.0]"]).head
    target, fitted = Classes(("a", "b"), np.tile(labels, 3)), [*range(15), *range(20, 35), *range(40, 55)]

    def posteriors(copies, tested):
        inputs = make_coordinates([Block(np.vstack(values), None)], fitted).values
        return np.exp(linear.predictions(inputs, target, fitted, settings, 3, tested)[0])

    alone = posteriors(3, 1)
    both = posteriors(3, 2)
    np.testing.assert_allclose(both.sum(1), 1, atol=1e-5)
    assert np.abs(alone - both).max() > 0.01
    # Copy c of utterance i is row i + 20 c; with the copies in another order, the other one is tested alone.
    values[0], values[1] = values[1], values[0]
    other = posteriors(3, 1)
    np.testing.assert_allclose(both, (alone + other) / 2, atol=1e-4)


def test_the_mean_of_training_speakers_leaves_augmented_copies_out():
    speakers = ["a", "a", "b", "b", "c"]
    recentring = Recentring.of(speakers, 0, 0, seed=0).with_copies(1, augmented=1)
    values = np.arange(15.0)[:, None] ** 2
    fitted = [copy * 5 + i for copy in range(3) for i in range(4)]
    expected = np.mean([values[first : first + 2].mean() for first in (0, 2, 5, 7)])  # not those at 10 and 12
    np.testing.assert_allclose(recentring.prior(fitted) @ values, [[expected]])
    np.testing.assert_allclose(recentring.without_means(values, fitted)[4], values[4] - expected)
