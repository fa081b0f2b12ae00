"""The final model is trained on all speakers, with the hyperparameter that the folds chose."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch
from conftest import ROOT, write_corpus

from soctk import config
from soctk.errors import SoctkError
from soctk.features import extract
from soctk.features.store import FeatureStore
from soctk.scoring import choice
from soctk.scoring.runs import RunDirectory
from soctk.training import final, linear, loop
from soctk.training.classes import Classes
from soctk.training.coordinates import make_coordinates
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features

MLP = ["train.epochs=12", "train.batch_size=8", "train.lr=1e-3"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A corpus whose first speaker has fewer utterances than the others."""
    data = write_corpus(tmp_path_factory.mktemp("corpus"))
    kept = [utt for utt in data.utterances if utt not in ("spk0-calm-0", "spk0-sad-0", "spk0-sad-1")]
    columns = ("wav", "speaker", "emotion", "seconds")
    return dataclasses.replace(data, **{name: {utt: getattr(data, name)[utt] for utt in kept} for name in columns})


@pytest.fixture(scope="module")
def store(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("store") / "fbank"
    extract.extract(corpus, folder, extract.Extraction("fbank", speeds=(0.9,)))
    return FeatureStore.open(folder)


def make(corpus, store, path, pooling, head, *overrides):
    settings = config.load([ROOT / "conf"], pooling, head, overrides=overrides)
    return Experiment(settings, corpus, Features(store, corpus.utterances), path)


def runs_of(experiment):
    return [RunDirectory(experiment.path, fold, 1) for fold in (1, 2, 3)]


def test_C_of_a_partition_is_that_of_its_run_and_all_parts_train_the_model(tmp_path, corpus, store):
    wrong = dict.fromkeys(corpus.utterances[::3], "calm")
    parts = {1: "train", 2: "dev", 3: "test"}
    split = {utt: parts[corpus.fold[name]] for utt, name in corpus.speaker.items()}
    data = dataclasses.replace(corpus, emotion={**corpus.emotion, **wrong}, fold={}, split=split)
    values = [1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100]
    experiment = make(data, store, tmp_path / "m", "mean", "linear", f"head.C={values}")
    settings = experiment.config.model_copy(update={"protocol": "partition"})
    experiment = dataclasses.replace(experiment, config=settings)
    experiment.run([1], [1])
    (run,) = RunDirectory.of_experiment(experiment.path)
    trained = final.on_all_speakers(experiment, [run], seed=1)
    assert trained.chosen["C"] == choice.read(run).record["C"]
    assert trained.utterances == data.utterances
    over_tests = dataclasses.replace(
        data, split={utt: {"test": "dev", "dev": "test"}.get(p, p) for utt, p in split.items()}
    )
    other = dataclasses.replace(experiment, data=over_tests)
    assert final.on_all_speakers(other, [run], seed=1).chosen != trained.chosen


@pytest.mark.parametrize("protocol", ["soctk", "emobox"])
@pytest.mark.parametrize("speeds", ["[]", "[0.9]"])
def test_C_has_the_lowest_loss_in_the_cross_validation_over_all_folds(tmp_path, corpus, store, protocol, speeds):
    values = [1e-4, 1e-2, 1, 100]
    # Wrong labels make a large C worse than a smaller one.
    wrong = dict.fromkeys(corpus.utterances[::3], "calm")
    corpus = dataclasses.replace(corpus, emotion={**corpus.emotion, **wrong})
    experiment = make(corpus, store, tmp_path, "mean", "linear", f"head.C={values}", f"frames.speeds={speeds}")
    settings = experiment.config.model_copy(update={"protocol": protocol})
    experiment = dataclasses.replace(experiment, config=settings)
    trained = final.on_all_speakers(experiment, [], seed=1)

    copies = 1 + (speeds != "[]")
    blocks = experiment.features.blocks(experiment.config).values()
    utterances, count = corpus.utterances, len(corpus.utterances)
    labels = np.array([corpus.emotions.index(corpus.emotion[utt]) for utt in utterances] * copies)
    losses, target = dict.fromkeys(values, 0.0), Classes(corpus.emotions, labels)
    for fold in corpus.folds:
        is_held = np.array([corpus.fold[corpus.speaker[utt]] == fold for utt in utterances])
        fitted = np.flatnonzero(np.tile(~is_held, copies))
        inputs = make_coordinates(blocks, fitted).values
        predicted = linear.predictions(inputs, target, fitted, experiment.config.head, copies)
        for C, log_posteriors in zip(values, predicted, strict=True):
            losses[C] -= log_posteriors[is_held, labels[:count][is_held]].sum()
    best = min(losses, key=losses.get)
    assert best in values[1:-1]  # else the grid would grow
    assert trained.chosen == {"C": best}

    head = experiment.new_model().head
    linear.fit(head, blocks, target, range(copies * count), best, experiment.config.head)
    torch.testing.assert_close(trained.classifier.head.weight, head.weight)
    torch.testing.assert_close(trained.classifier.head.bias, head.bias)
    assert list(trained.utterances) == utterances
    assert trained.prior is None


@pytest.fixture(scope="module")
def mlp(tmp_path_factory, corpus, store):
    """A finished experiment of the head mlp."""
    experiment = make(corpus, store, tmp_path_factory.mktemp("mlp") / "exp", "mean", "mlp", *MLP, "frames.speeds=[0.9]")
    experiment.run([1, 2, 3], [1])
    return experiment


def write_best_epochs(runs, best):
    """Write training logs in which the runs have these best epochs."""
    for run, epoch in zip(runs, best, strict=True):
        records = [
            {"epoch": i, "train_loss": 1.0, "valid_loss": 0.5 + abs(i - epoch), "valid_WA": 0.5, "valid_UA": 0.5}
            for i in range(1, 13)
        ]
        run.log.write_text("".join(f"{json.dumps(record)}\n" for record in records))


@pytest.mark.parametrize(("best", "median"), [([2, 9, 5], 5), ([1, 1, 12], 1), ([12, 3, 12], 12)])
def test_the_mlp_is_trained_for_the_median_of_the_best_epochs_on_all_utterances(mlp, monkeypatch, best, median):
    runs = runs_of(mlp)
    write_best_epochs(runs, best)
    train_for, batches = loop.train_for, []

    class Recorder:
        """Inputs that record the indices of each batch."""

        def __init__(self, inputs):
            self.inputs = inputs

        def batch(self, indices):
            batches.append(list(indices))
            return self.inputs.batch(indices)

    monkeypatch.setattr(loop, "train_for", lambda model, inputs, *args: train_for(model, Recorder(inputs), *args))
    trained = final.on_all_speakers(mlp, runs, seed=1)
    rows = 2 * len(mlp.data.utterances)  # with the copies
    assert trained.chosen == {"epochs": median}
    assert sorted(itertools.chain(*batches)) == sorted(list(range(rows)) * median)
    assert {mlp.data.speaker[utt] for utt in trained.utterances} == set(mlp.data.fold)
    assert not trained.classifier.training


def test_a_missing_training_log_is_named(mlp):
    runs = runs_of(mlp)
    write_best_epochs(runs, [1, 2, 3])
    runs[1].log.unlink()
    with pytest.raises(SoctkError, match=r"train\.jsonl: missing\nRemove the run's directory and train it again\."):
        final.on_all_speakers(mlp, runs, seed=1)


def test_the_seed_determines_the_model(mlp):
    runs = runs_of(mlp)
    write_best_epochs(runs, [1, 2, 3])
    first, same, other = (final.on_all_speakers(mlp, runs, seed).classifier.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["head.0.weight"], other["head.0.weight"])


@pytest.mark.parametrize("fold", [None, 2])
def test_the_prior_is_the_mean_of_the_means_of_the_training_speakers(tmp_path, corpus, store, fold):
    options = ("recentre.by=speaker", "head.C=[1.0]", "frames.speeds=[0.9]")
    experiment = make(corpus, store, tmp_path / "exp", "mean+stats", "linear", *options)
    experiment.run([1, 2, 3], [1])
    if fold is None:
        trained = final.on_all_speakers(experiment, runs_of(experiment), seed=1)
    else:
        trained = final.of_fold(experiment, RunDirectory(experiment.path, fold, 1))
    descriptors = np.hstack([block.descriptors for block in experiment.features.blocks(experiment.config).values()])
    speakers = np.array([corpus.speaker[utt] for utt in corpus.utterances])
    training = [speaker for speaker in corpus.fold if corpus.fold[speaker] != fold]
    by_speed = descriptors.reshape(2, len(speakers), -1)  # the utterances, then their copies
    means = [rows[speakers == speaker].mean(0) for rows in by_speed for speaker in training]
    np.testing.assert_allclose(trained.prior, np.mean(means, axis=0), rtol=1e-4, atol=1e-5)
    assert sorted(trained.utterances) == [utt for utt in corpus.utterances if corpus.speaker[utt] in training]
    assert len(training) == (6 if fold is None else 4)


def test_the_model_of_a_fold_is_that_of_its_run_and_damaged_weights_are_named(tmp_path, corpus, store):
    experiment = make(corpus, store, tmp_path / "exp", "mean", "linear", "head.C=[0.1, 1.0]", "frames.speeds=[]")
    experiment.run([1, 2, 3], [1])
    run = RunDirectory(experiment.path, 3, 1)
    trained = final.of_fold(experiment, run)
    records = [json.loads(line) for line in run.log.read_text().splitlines()]
    assert trained.chosen == {"C": min(records, key=lambda record: record["valid_loss"])["C"]}
    assert {corpus.fold[corpus.speaker[utt]] for utt in trained.utterances} == {1, 2}
    run.weights.write_bytes(run.weights.read_bytes()[:-8])
    with pytest.raises(SoctkError, match=r"missing or damaged .*\nRemove the run's directory and train it again"):
        final.of_fold(experiment, run)
