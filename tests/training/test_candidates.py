"""Each fold chooses hidden states and pooling layers by its inner cross-validation."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT, write_corpus
from safetensors.torch import load_file

from soctk import config
from soctk.errors import SoctkError
from soctk.features.store import FeatureStore
from soctk.schema import Config
from soctk.scoring import choice, predictions
from soctk.scoring.runs import RunDirectory
from soctk.training import coordinates, final, inner_fits
from soctk.training.candidates import Candidate, list_candidates
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features

BOTH = ("mean", "soc_full")
MIDDLE, ALL, LAST = (2, 3, 4, 5), (0, 1, 2, 3, 4, 5, 6), (6,)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def store(tmp_path_factory, corpus) -> FeatureStore:
    """Seven hidden states `(7, T, 8)`; the mean of some depends on the emotion, the covariance of one on the fold."""
    store = create_store(tmp_path_factory.mktemp("store") / "seven", list(ALL), num_layers=7)
    random = np.random.default_rng(0)
    frames = {}
    for utt in corpus.utterances:
        states = random.normal(size=(7, 20, 8))
        signal = np.eye(8)[corpus.emotions.index(corpus.emotion[utt])]
        states += np.array([0, 0, 0.25, 0.3, 0, 0.2, 0.1])[:, None, None] * signal
        states[1] *= 1 + corpus.fold[corpus.speaker[utt]]
        frames[utt] = torch.from_numpy(states).float()
    return filled(store, frames)


def create_store(path, layers: list[int], num_layers: int) -> FeatureStore:
    settings = {"upstream": "test", "source": "test", "layers": layers, "num_layers": num_layers, "hidden_size": 8}
    return FeatureStore.create(path, {**settings, "dtype": "float32", "versions": {}})


def filled(store: FeatureStore, frames: dict[str, torch.Tensor]) -> FeatureStore:
    store.write_shard(frames, {utt: utt for utt in frames})
    store.finish()
    return FeatureStore.open(store.path)


def settings(pooling: str = "mean+soc_full", layers: str = "auto", *overrides: str) -> Config:
    values = ["head.C=[0.01, 0.1, 1.0]", "frames.layer_norm=false", f"frames.layers={layers}", *overrides]
    return config.load([ROOT / "conf"], pooling, "linear", overrides=values)


def experiment(path, corpus, store, settings: Config) -> Experiment:
    return Experiment(settings, corpus, Features(store, corpus.utterances), path)


def files(path, name: str) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob(name))}


def records(path, fold: int) -> list[dict]:
    return [json.loads(line) for line in RunDirectory(path, fold, 1).log.read_text().splitlines()]


@pytest.mark.parametrize(
    ("num_layers", "stored", "expected"),
    [
        (7, range(7), [MIDDLE, ALL, LAST]),  # Whisper base
        (5, range(5), [(2, 3), (0, 1, 2, 3, 4), (4,)]),  # Whisper tiny
        (13, range(13), [tuple(range(4, 11)), tuple(range(13)), (12,)]),
        (25, range(25), [tuple(range(8, 21)), tuple(range(25)), (24,)]),
        (13, [0, 5, 12], [(5,), (0, 5, 12), (12,)]),
        (13, [2, 3, 12], [(2, 3, 12), (12,)]),  # nothing of the middle is stored
        (13, [4, 5], [(4, 5), (5,)]),
        (1, [0], [(0,)]),
        (7, [3], [(3,)]),
    ],
)
def test_hidden_states_are_the_middle_all_and_the_last(tmp_path, num_layers, stored, expected):
    features = Features(create_store(tmp_path / "store", list(stored), num_layers), [])
    assert list_candidates(settings("mean"), features) == [Candidate(layers, ("mean",)) for layers in expected]


def test_poolings_are_each_and_all_together_and_without_auto_nothing_is_chosen(store):
    features = Features(store, [])
    poolings = [BOTH, ("mean",), ("soc_full",)]
    assert list_candidates(settings("auto"), features) == [
        Candidate(layers, names) for layers in (MIDDLE, ALL, LAST) for names in poolings
    ]
    assert list_candidates(settings("auto", "last"), features) == [Candidate(LAST, names) for names in poolings]
    assert list_candidates(settings("mean", "[3, 1]"), features) == [Candidate((3, 1), ("mean",))]
    assert list_candidates(settings(layers="all"), features) == [Candidate(ALL, BOTH)]


@pytest.mark.parametrize("pooling", ["mean+soc_full", "auto"])
def test_the_choice_is_the_fixed_experiment_with_the_lowest_inner_loss(tmp_path, corpus, store, pooling):
    chosen = experiment(tmp_path / "auto", corpus, store, settings(pooling))
    chosen.run([1, 2, 3], [1])
    fixed = {}
    for number, candidate in enumerate(chosen.candidates()):
        path = tmp_path / f"fixed{number}"
        alone = settings("+".join(candidate.poolings), str(list(candidate.layers)))
        experiment(path, corpus, store, alone).run([1, 2, 3], [1])
        fixed[candidate] = path
    assert len(fixed) == (3 if pooling != "auto" else 9)
    for fold in (1, 2, 3):
        losses = {
            candidate: min(record["valid_loss"] for record in records(path, fold)) for candidate, path in fixed.items()
        }
        best = min(losses, key=losses.get)
        record = choice.require(RunDirectory(tmp_path / "auto", fold, 1)).record
        assert Candidate.of_record(record) == best
        assert record["valid_loss"] == losses[best] < sorted(losses.values())[1]
        for name in ("predictions.tsv", "model.safetensors"):
            one, other = (path / f"fold{fold}" / "seed1" / name for path in (tmp_path / "auto", fixed[best]))
            assert one.read_bytes() == other.read_bytes()
        # All records are those of the fixed experiments, with the keys of their candidate.
        expected = [
            {**candidate.record(), **record} for candidate, path in fixed.items() for record in records(path, fold)
        ]
        assert records(tmp_path / "auto", fold) == expected
    stored = yaml.safe_load((tmp_path / "auto" / "fold1" / "seed1" / "config.yaml").read_text())
    assert stored["frames"]["layers"] == "auto"
    assert stored.get("pooling_choice") == ("auto" if pooling == "auto" else None)


def test_the_labels_of_test_utterances_do_not_change_the_choice_or_the_model(tmp_path, corpus, store):
    tested = [utt for utt in corpus.utterances if corpus.fold[corpus.speaker[utt]] == 1]
    moved = {utt: corpus.emotion[other] for utt, other in zip(tested, [*tested[1:], tested[0]], strict=True)}
    other = dataclasses.replace(corpus, emotion={**corpus.emotion, **moved})
    assert other.emotion != corpus.emotion
    for name, data in (("one", corpus), ("other", other)):
        experiment(tmp_path / name, data, store, settings("auto")).run([1], [1])
    for name in ("train.jsonl", "model.safetensors"):
        assert files(tmp_path / "one", name) == files(tmp_path / "other", name)


def test_the_results_of_a_run_do_not_depend_on_other_runs_processes_or_interruptions(tmp_path, corpus, store):
    made = experiment(tmp_path / "together", corpus, store, settings("auto"))
    made.run([1, 2, 3], [1], nj=2)
    for fold in (3, 1, 2):
        experiment(tmp_path / "alone", corpus, store, settings("auto")).run([fold], [1])
    for file in (tmp_path / "alone" / "fold2" / "seed1").iterdir():
        file.unlink()
    (tmp_path / "alone" / "fold2" / "seed1").rmdir()
    experiment(tmp_path / "alone", corpus, store, settings("auto")).run([1, 2, 3], [1])
    for name in ("train.jsonl", "predictions.tsv", "model.safetensors"):
        assert files(tmp_path / "together", name) == files(tmp_path / "alone", name)
        assert len(files(tmp_path / "alone", name)) == 3


def test_folds_and_candidates_share_fits_and_standardised_blocks(tmp_path, corpus, store, monkeypatch):
    fits, standardised = [], []
    fit, standardise = inner_fits.linear.predictions, coordinates.standardise
    monkeypatch.setattr(
        inner_fits.linear, "predictions", lambda *args: fits.append((tuple(args[2]), args[3].C)) or fit(*args)
    )
    monkeypatch.setattr(
        coordinates,
        "standardise",
        lambda block, rows, *args: standardised.append((id(block), tuple(rows))) or standardise(block, rows, *args),
    )
    made = experiment(tmp_path, corpus, store, settings())
    inputs = inner_fits.TrainingData.load(made.config, corpus, made.features, False, 1)
    runs = [(inputs.split(fold, 1), 1) for fold in (1, 2, 3)]
    inner_fits.InnerFits.compute(inputs, made.config.head.model_copy(update={"C": [0.1]}), runs, 1, "cpu")
    # Three folds have three inner fits, each with three candidates; with one C, the values are not extended.
    assert len(fits) == 3 * 3
    assert len({rows for rows, _ in fits}) == 3
    # All blocks of the candidates in the dual form: 7 hidden states with 2 poolings, once for each fit.
    assert len(standardised) == len(set(standardised)) == 3 * 14


def test_a_store_with_one_hidden_state_gives_the_files_of_a_fixed_experiment(tmp_path, corpus, store):
    frames = {utt: store.load([utt], [4]).transpose(0, 1) for utt in corpus.utterances}
    one = filled(create_store(tmp_path / "store", [4], num_layers=7), frames)
    for layers in ("auto", "all"):
        experiment(tmp_path / layers, corpus, one, settings(layers=layers)).run([1, 2], [1])
    for name in ("train.jsonl", "predictions.tsv", "model.safetensors"):
        assert files(tmp_path / "auto", name) == files(tmp_path / "all", name)
    assert "layers" not in records(tmp_path / "auto", 1)[0]


def test_the_model_of_a_fold_has_the_chosen_hidden_states_and_gives_its_posteriors(tmp_path, corpus, store):
    made = experiment(tmp_path, corpus, store, settings("auto"))
    made.run([1, 2, 3], [1])
    for run in RunDirectory.of_experiment(tmp_path):
        trained = final.of_fold(made, run)
        chosen = Candidate.of_record(choice.require(run).record)
        assert trained.config.frames.layers == list(chosen.layers)
        assert tuple(trained.config.pooling) == chosen.poolings
        assert not trained.config.is_choice
        table = pd.read_csv(run.predictions, sep="\t")
        frames = store.load(table["utt"].tolist(), chosen.layers)
        with torch.inference_mode():
            lengths = torch.tensor(store.lengths(table["utt"].tolist()))
            posteriors = trained.classifier(frames, lengths).softmax(1).numpy()
        np.testing.assert_allclose(posteriors, table[list(corpus.emotions)].to_numpy(), atol=1e-4)
        assert load_file(run.weights)["head.weight"].shape[1] == len(chosen.layers) * sum(
            {"mean": 8, "soc_full": 36}[name] for name in chosen.poolings
        )


def test_the_mean_of_training_speakers_needs_the_descriptors_of_the_choice_alone(tmp_path, corpus, store):
    made = experiment(tmp_path, corpus, store, settings("auto", "auto", "recentre.by=speaker"))
    made.run([1], [1])
    (run,) = RunDirectory.of_experiment(tmp_path)
    chosen = Candidate.of_record(choice.require(run).record)
    assert len(chosen.keys) < 2 * len(ALL)
    fresh = experiment(tmp_path, corpus, store, made.config)
    trained = final.of_fold(fresh, run)
    assert len(fresh.features._blocks) == len(chosen.keys)
    other = [utt for utt in corpus.utterances if corpus.fold[corpus.speaker[utt]] != 1]
    descriptors = trained.classifier.describe(store.load(other, chosen.layers), torch.tensor(store.lengths(other)))
    means = [descriptors[[corpus.speaker[utt] == name for utt in other]].mean(0) for name in corpus.fold]
    expected = torch.stack([mean for mean in means if not mean.isnan().any()]).mean(0)
    torch.testing.assert_close(trained.prior, expected.detach(), atol=1e-4, rtol=1e-4)


def test_the_final_model_chooses_by_cross_validation_over_all_folds(tmp_path, corpus, store):
    made = experiment(tmp_path, corpus, store, settings("auto"))
    trained = final.on_all_speakers(made, [], seed=1)
    inputs = inner_fits.TrainingData.load(made.config, corpus, made.features, False, 1)
    losses = {}
    for candidate in made.candidates():
        alone = inputs.only(candidate)
        every = inner_fits.Split(corpus.utterances, [], [])
        fits = inner_fits.InnerFits.compute(alone, made.config.head, [(every, 1)], 1, "cpu")
        losses |= {(candidate, record["C"]): record["valid_loss"] for record in fits.records(every, 1)}
    best, C = min(losses, key=losses.get)
    assert trained.chosen == {"C": C}
    assert trained.config == best.settings(made.config)
    assert trained.classifier.descriptor_size == trained.classifier.head.in_features


def test_a_fold_without_its_log_cannot_be_packed_because_its_choice_is_unknown(tmp_path, corpus, store):
    made = experiment(tmp_path, corpus, store, settings())
    made.run([1], [1])
    run = RunDirectory(tmp_path, 1, 1)
    run.log.unlink()
    with pytest.raises(SoctkError, match=r"train\.jsonl: missing\nRemove the run's directory and train it again\."):
        final.of_fold(made, run)


def test_results_and_progress_name_the_choice_of_each_run(tmp_path, corpus, store, capsys):
    experiment(tmp_path, corpus, store, settings()).run([1, 2, 3], [1])
    runs = RunDirectory.of_experiment(tmp_path)
    printed = capsys.readouterr().out
    for run in runs:
        layers = choice.require(run).record["layers"]
        text = f"layer{'s' * (len(layers) > 1)} {' '.join(map(str, layers))}"
        assert f"fold {run.fold}, seed 1: {text}, C = " in printed
    assert predictions.read(runs).runs == runs
    described = choice.describe_candidates(runs)
    assert sum(int(part.partition(" in ")[2].split()[0]) for part in described.split("; ")) == 3
