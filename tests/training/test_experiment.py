import dataclasses
import json
import signal
import sys
import time
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT, run_python
from safetensors.torch import load_file

from soctk import config
from soctk.corpus import splits
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.features import extract
from soctk.features.store import FeatureStore
from soctk.files import atomic_directory
from soctk.schema import Config
from soctk.scoring import prediction_file
from soctk.training import linear as linear_head
from soctk.training.classes import Classes
from soctk.training.classifier import EmotionClassifier
from soctk.training.experiment import Experiment
from soctk.training.frames import Frames
from soctk.training.inputs import Features
from soctk.training.loop import predict

CLASSES = Classes("abc", np.zeros(0, dtype=int))  # without labels, for predictions
QUICK = ["train.epochs=4", "train.batch_size=8", "train.lr=1e-3"]


@pytest.fixture
def store(tmp_path, corpus) -> FeatureStore:
    extract.extract(corpus, tmp_path / "feats", extract.Extraction("mfcc"))
    return FeatureStore.open(tmp_path / "feats")


def settings(pooling: str = "soc", *overrides: str) -> Config:
    return config.load([ROOT / "conf"], pooling, overrides=[*QUICK, *overrides])


def linear(pooling: str, *overrides: str) -> Config:
    return config.load([ROOT / "conf"], pooling, "linear", overrides=["head.C=[0.01, 0.1]", *overrides])


def read_files(path, name: str = "predictions.tsv") -> dict[str, bytes]:
    """Return the contents of the files with this name below `path`, by relative path."""
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in sorted(path.rglob(name))}


@pytest.mark.parametrize("pooling", ["mean", "soc", "mean+soc_full"])
def test_a_run_writes_settings_log_model_and_predictions(tmp_path, corpus: DataDir, store, pooling):
    assert (
        Experiment(settings(pooling), corpus, Features(store, corpus.utterances), tmp_path / "exp").run([2], [7]) == 1
    )
    path = tmp_path / "exp" / "fold2" / "seed7"
    assert sorted(file.name for file in path.iterdir()) == [
        "config.yaml",
        "model.safetensors",
        "predictions.tsv",
        "train.jsonl",
    ]
    split = splits.split(corpus, 2, "soctk", 7)
    table = pd.read_csv(path / "predictions.tsv", sep="\t")
    assert list(table.columns) == ["utt", "spk", "ref", "hyp", *corpus.emotions]
    assert table["utt"].tolist() == split.test
    assert table["ref"].tolist() == [corpus.emotion[utt] for utt in split.test]
    assert table["spk"].tolist() == [corpus.speaker[utt] for utt in split.test]
    posteriors = table[list(corpus.emotions)]
    assert posteriors.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    assert posteriors.idxmax(axis=1).tolist() == table["hyp"].tolist()

    resolved = yaml.safe_load((path / "config.yaml").read_text())
    assert (resolved["fold"], resolved["seed"], resolved["train"]["epochs"]) == (2, 7, 4)
    assert resolved["features"]["upstream"] == "mfcc"
    assert resolved["made_with"].keys() == {"soctk", "torch", "commit", "device"}
    records = [json.loads(line) for line in (path / "train.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]

    model = EmotionClassifier(39, 1, 3, settings(pooling))
    model.load_state_dict(load_file(path / "model.safetensors"))
    index = [corpus.utterances.index(utt) for utt in split.test]
    again = predict(model, Frames.of(store, corpus.utterances).layer_normalised(), CLASSES, index).exp()
    torch.testing.assert_close(again, torch.tensor(posteriors.to_numpy(), dtype=torch.float32), atol=1e-4, rtol=0)


def test_files_of_an_interrupted_run_are_not_read(tmp_path, corpus, store):
    unfinished = tmp_path / "exp" / "fold2" / "seed7.unfinished" / "config.yaml"
    unfinished.parent.mkdir(parents=True)
    unfinished.write_text("train: {epochs")
    assert Experiment(linear("mean"), corpus, Features(store, corpus.utterances), tmp_path / "exp").run([2], [7]) == 1
    assert [path.name for path in (tmp_path / "exp" / "fold2").iterdir()] == ["seed7"]


@pytest.mark.parametrize("pooling", ["mean", "mean+soc_full"])
def test_the_saved_model_of_the_linear_head_gives_the_same_predictions(tmp_path, corpus, store, pooling):
    assert Experiment(linear(pooling), corpus, Features(store, corpus.utterances), tmp_path / "exp").run([2], [7]) == 1
    path = tmp_path / "exp" / "fold2" / "seed7"
    table = pd.read_csv(path / "predictions.tsv", sep="\t")
    records = [json.loads(line) for line in (path / "train.jsonl").read_text().splitlines()]
    assert [record["C"] for record in records][:2] == [0.01, 0.1]
    assert yaml.safe_load((path / "config.yaml").read_text())["train"] is None

    model = EmotionClassifier(39, 1, 3, linear(pooling))
    model.load_state_dict(load_file(path / "model.safetensors"))
    index = [corpus.utterances.index(utt) for utt in table["utt"]]
    again = predict(model, Frames.of(store, corpus.utterances).layer_normalised(), CLASSES, index).exp()
    posteriors = torch.tensor(table[list(corpus.emotions)].to_numpy(), dtype=torch.float32)
    torch.testing.assert_close(again, posteriors, atol=1e-3, rtol=0)


def test_ids_with_quotes_survive_writing_and_reading(tmp_path, corpus):
    odd = {utt: utt.replace("-", '_"') for utt in corpus.utterances}
    columns = {
        name: {odd[utt]: value for utt, value in getattr(corpus, name).items()}
        for name in ("wav", "emotion", "speaker", "seconds")
    }
    quoted = dataclasses.replace(corpus, **columns)
    extract.extract(quoted, tmp_path / "feats", extract.Extraction("mfcc"))
    features = Features(FeatureStore.open(tmp_path / "feats"), quoted.utterances)
    Experiment(linear("mean"), quoted, features, tmp_path / "exp").run([1], [1])
    table = prediction_file.read_run(tmp_path / "exp" / "fold1" / "seed1" / "predictions.tsv").table
    assert table["utt"].tolist() == splits.split(quoted, 1, "soctk", 1).test
    assert '"' in table["utt"][0]


@pytest.fixture
def perturbed(tmp_path, corpus) -> FeatureStore:
    extract.extract(corpus, tmp_path / "sp", extract.Extraction("mfcc", speeds=(0.9, 1.1)))
    return FeatureStore.open(tmp_path / "sp")


@pytest.mark.parametrize(
    "config", [settings("soc"), settings("mean"), linear("mean+soc_full")], ids=["soc", "mean", "linear"]
)
def test_posteriors_are_the_mean_over_copies_at_other_speeds(tmp_path, corpus, perturbed, config):
    assert Experiment(config, corpus, Features(perturbed, corpus.utterances), tmp_path / "exp").run([2], [7]) == 1
    path = tmp_path / "exp" / "fold2" / "seed7"
    table = pd.read_csv(path / "predictions.tsv", sep="\t")
    assert table["utt"].tolist() == splits.split(corpus, 2, "soctk", 7).test
    model = EmotionClassifier(39, 1, 3, config)
    model.load_state_dict(load_file(path / "model.safetensors"))
    by_speed = [
        predict(
            model, Frames.of(perturbed, (table["utt"] + suffix).tolist()).layer_normalised(), CLASSES, range(len(table))
        ).exp()
        for suffix in ("", "-sp0.9", "-sp1.1")
    ]
    posteriors = torch.tensor(table[list(corpus.emotions)].to_numpy(), dtype=torch.float32)
    torch.testing.assert_close(sum(by_speed) / 3, posteriors, atol=5e-4, rtol=0)
    assert (by_speed[0] - posteriors).abs().max() > 5e-3


def store_with_equal_copies(store: FeatureStore, corpus: DataDir, path) -> FeatureStore:
    frames = Frames.of(store, corpus.utterances)
    copies = FeatureStore.create(path, {**store.settings, "speeds": [0.9, 1.1]})
    for suffix in ("", "-sp0.9", "-sp1.1"):
        named = {utt + suffix: rows for utt, rows in zip(corpus.utterances, frames.utterances, strict=True)}
        copies.write_shard({utt: rows.transpose(0, 1) for utt, rows in named.items()}, {utt: utt for utt in named})
    copies.finish()
    return FeatureStore.open(path)


@pytest.mark.parametrize("recentre", ["none", "speaker"])
def test_three_equal_copies_at_C_equal_one_utterance_at_three_times_C(tmp_path, corpus, store, recentre):
    same = store_with_equal_copies(store, corpus, tmp_path / "same")
    for name, features, C in (("alone", store, 0.3), ("copies", same, 0.1)):
        config = linear("soc_full", f"head.C=[{C}]", f"recentre.by={recentre}")
        Experiment(config, corpus, Features(features, corpus.utterances), tmp_path / name).run([1, 2], [1])
    for run in ("fold1/seed1", "fold2/seed1"):
        tables = [pd.read_csv(tmp_path / name / run / "predictions.tsv", sep="\t") for name in ("alone", "copies")]
        pd.testing.assert_frame_equal(*tables, atol=2e-3, rtol=0)


@pytest.mark.parametrize("config", [settings("soc"), linear("mean")], ids=["mlp", "linear"])
def test_copies_of_test_and_validation_speakers_are_not_trained_on(tmp_path, corpus, perturbed, config):
    split = splits.split(corpus, 1, "soctk", 1)
    held_out = split.test + (split.valid if config.head.name == "mlp" else [])
    other = FeatureStore.create(tmp_path / "other", perturbed.settings)
    for suffix in ("", "-sp0.9", "-sp1.1"):
        frames = Frames.of(perturbed, [utt + suffix for utt in corpus.utterances]).utterances
        other.write_shard(
            {
                utt + suffix: (3 * rows.flip(2) if suffix and utt in held_out else rows).transpose(0, 1)
                for utt, rows in zip(corpus.utterances, frames, strict=True)
            },
            {utt + suffix: utt for utt in corpus.utterances},
        )
    other.finish()
    for name, path in (("right", perturbed.path), ("other", tmp_path / "other")):
        features = Features(FeatureStore.open(path), corpus.utterances)
        Experiment(config, corpus, features, tmp_path / "exp" / name).run([1], [1])
    models = read_files(tmp_path / "exp", "model.safetensors")
    assert len(models) == 2
    assert len(set(models.values())) == 1
    assert len(set(read_files(tmp_path / "exp").values())) == 2


def test_without_speeds_a_store_with_copies_gives_the_results_of_a_store_without_copies(
    tmp_path, corpus, store, perturbed
):
    for name, features, speeds in (("one", store, "all"), ("other", perturbed, "[]")):
        config = linear("mean+soc_full", f"frames.speeds={speeds}")
        Experiment(config, corpus, Features(features, corpus.utterances), tmp_path / "exp" / name).run([1, 2], [1])
    runs = read_files(tmp_path / "exp" / "one")
    assert len(runs) == 2
    assert runs == read_files(tmp_path / "exp" / "other")


def test_a_speed_that_the_store_lacks_is_an_error(tmp_path, corpus, store, perturbed):
    for features, copies in ((store, "it has none"), (perturbed, "it has copies at speed 0.9, 1.1")):
        experiment = Experiment(
            linear("mean", "frames.speeds=[0.9, 0.7]"), corpus, Features(features, corpus.utterances), tmp_path / "exp"
        )
        with pytest.raises(SoctkError, match=rf"the store has no copies at speed 0.[97]; {copies}\n"):
            experiment.run([1], [1])


@pytest.fixture
def layered(tmp_path, corpus) -> FeatureStore:
    """A store of three hidden states: mfcc, minus mfcc, and twice mfcc."""
    extract.extract(corpus, tmp_path / "one", extract.Extraction("mfcc"))
    one = FeatureStore.open(tmp_path / "one")
    frames = Frames.of(one, corpus.utterances)
    store = FeatureStore.create(tmp_path / "three", {**one.settings, "layers": [1, 2, 5]})
    states = {utt: state.transpose(0, 1) for utt, state in zip(corpus.utterances, frames.utterances, strict=True)}
    store.write_shard({utt: torch.cat([x, -x, 2 * x]) for utt, x in states.items()}, one.recordings)
    store.finish()
    return FeatureStore.open(tmp_path / "three")


@pytest.mark.parametrize(
    "config",
    [settings("mean", "frames.combine=concat"), settings("soc"), linear("mean+soc_full", "frames.combine=concat")],
    ids=["mlp-concat", "mlp-sum", "linear-concat"],
)
def test_the_saved_model_of_several_layers_gives_the_same_predictions(tmp_path, corpus, layered, config):
    config = config.model_copy(update={"frames": config.frames.model_copy(update={"layers": [5, 1]})})
    assert Experiment(config, corpus, Features(layered, corpus.utterances), tmp_path / "exp").run([2], [7]) == 1
    path = tmp_path / "exp" / "fold2" / "seed7"
    assert yaml.safe_load((path / "config.yaml").read_text())["frames"]["layers"] == [5, 1]
    table = pd.read_csv(path / "predictions.tsv", sep="\t")
    model = EmotionClassifier(39, 2, 3, config)
    model.load_state_dict(load_file(path / "model.safetensors"))
    index = [corpus.utterances.index(utt) for utt in table["utt"]]
    again = predict(model, Frames.of(layered, corpus.utterances, [5, 1]).layer_normalised(), CLASSES, index).exp()
    posteriors = torch.tensor(table[list(corpus.emotions)].to_numpy(), dtype=torch.float32)
    torch.testing.assert_close(again, posteriors, atol=1e-3, rtol=0)


def test_one_of_several_stored_layers_gives_the_results_of_a_store_with_only_that_layer(
    tmp_path, corpus, store, layered
):
    Experiment(settings(), corpus, Features(store, corpus.utterances), tmp_path / "alone").run([1], [1])
    Experiment(
        settings("soc", "frames.layers=[1]"), corpus, Features(layered, corpus.utterances), tmp_path / "of several"
    ).run([1], [1])
    assert read_files(tmp_path / "alone") == read_files(tmp_path / "of several")


def test_a_layer_that_the_store_lacks_is_an_error(tmp_path, corpus, layered):
    with pytest.raises(SoctkError, match="the store has no hidden state 3, only 1, 2, 5"):
        Experiment(
            settings("soc", "frames.layers=[3]"), corpus, Features(layered, corpus.utterances), tmp_path / "exp"
        ).run([1], [1])


def test_finished_runs_are_not_repeated(tmp_path, corpus, store):
    assert Experiment(settings(), corpus, Features(store, corpus.utterances), tmp_path / "exp").run([1, 2], [1]) == 2
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "exp").rglob("*.*")}
    assert Experiment(settings(), corpus, Features(store, corpus.utterances), tmp_path / "exp").run([1, 2], [1, 2]) == 2
    assert {file: file.stat().st_mtime_ns for file in times} == times
    assert Experiment(settings(), corpus, Features(store, corpus.utterances), tmp_path / "exp").run([1, 2], [1, 2]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "config", [settings(), settings("mean"), linear("mean+soc_full")], ids=["soc", "mean", "linear"]
)
def test_predictions_do_not_depend_on_the_number_of_processes(tmp_path, corpus, store, config):
    for nj in (1, 2):
        Experiment(config, corpus, Features(store, corpus.utterances), tmp_path / f"exp{nj}").run(
            [1, 2, 3], [1, 2], nj=nj
        )
    one, two = read_files(tmp_path / "exp1"), read_files(tmp_path / "exp2")
    assert len(one) == 6
    assert one == two
    # The linear head does not depend on the seed.
    assert (one["fold1/seed1/predictions.tsv"] == one["fold1/seed2/predictions.tsv"]) == (config.head.name == "linear")


def test_folds_of_the_linear_head_share_inner_fits(tmp_path, corpus, store, monkeypatch):
    experiment = Experiment(linear("mean+soc_full"), corpus, Features(store, corpus.utterances), tmp_path / "together")
    fitted, predictions = [], linear_head.predictions

    def counted(*arguments):
        fitted.append((tuple(arguments[2]), tuple(arguments[3].C)))
        return predictions(*arguments)

    def of_the_settings():
        return [fit for fit, values in fitted if values == (0.01, 0.1)]

    monkeypatch.setattr(linear_head, "predictions", counted)
    experiment.run([1, 2, 3], [1, 2])
    assert len(fitted) == len(set(fitted)) > 3
    assert len(of_the_settings()) == 3  # with three folds, each inner fit is on one fold
    for fold in (1, 2, 3):
        dataclasses.replace(experiment, path=tmp_path / "alone").run([fold], [1, 2])
    assert len(of_the_settings()) == 3 + 6
    for name in ("predictions.tsv", "train.jsonl"):
        assert read_files(tmp_path / "alone", name) == read_files(tmp_path / "together", name)


def test_other_settings_are_refused_with_their_differences(tmp_path, corpus, store):
    Experiment(settings(), corpus, Features(store, corpus.utterances), tmp_path / "exp").run([1], [1])
    with pytest.raises(SoctkError) as error:
        Experiment(settings("soc", "train.lr=0.01"), corpus, Features(store, corpus.utterances), tmp_path / "exp").run(
            [1], [1]
        )
    assert f"{tmp_path / 'exp' / 'fold1' / 'seed1'}: this run was made with other settings" in str(error.value)
    assert "train.lr: 0.001 stored, 0.01 requested" in str(error.value)
    assert "--tag" in str(error.value)


def test_an_error_in_a_worker_process_keeps_its_message(tmp_path, corpus, store):
    partial = dataclasses.replace(
        corpus,
        **{
            name: {"spk0-new-0": value, **getattr(corpus, name)}
            for name, value in (
                ("wav", corpus.wav["spk0-sad-0"]),
                ("speaker", "spk0"),
                ("emotion", "sad"),
                ("seconds", 1.0),
            )
        },
    )
    with pytest.raises(SoctkError, match="1 utterance has no features, such as spk0-new-0"):
        Experiment(settings(), partial, Features(store, partial.utterances), tmp_path / "exp").run([1, 2], [1], nj=2)


def test_new_folds_and_seeds_with_other_settings_are_refused(tmp_path, corpus, store):
    Experiment(settings("mean"), corpus, Features(store, corpus.utterances), tmp_path / "exp").run([1], [1])
    with pytest.raises(SoctkError, match=r"pooling\.mean: {} stored, None requested"):
        Experiment(settings("soc"), corpus, Features(store, corpus.utterances), tmp_path / "exp").run([2], [2])
    relabelled = dataclasses.replace(corpus, emotion={**corpus.emotion, "spk0-sad-0": "calm"})
    with pytest.raises(SoctkError, match="data: "):
        Experiment(settings("mean"), relabelled, Features(store, corpus.utterances), tmp_path / "exp").run([2], [2])


def test_a_run_that_another_process_writes_is_not_disturbed(tmp_path, corpus, store):
    with atomic_directory(tmp_path / "exp" / "fold1" / "seed1") as directory:
        with pytest.raises(SoctkError, match=r"seed1\.unfinished: another process is writing to this directory"):
            Experiment(settings("mean"), corpus, Features(store, corpus.utterances), tmp_path / "exp").run([1], [1])
        (directory / "mine").touch()
    assert [file.name for file in (tmp_path / "exp" / "fold1" / "seed1").iterdir()] == ["mine"]


@pytest.mark.slow
def test_a_killed_experiment_continues_to_the_same_predictions(tmp_path, corpus, store):
    process = run_python(
        f"""
from pathlib import Path
from soctk import config
from soctk.corpus import datadir
from soctk.training.inputs import Features
from soctk.training.experiment import Experiment
from soctk.features.store import FeatureStore
settings = config.load([Path({str(ROOT / "conf")!r})], "soc", overrides={QUICK!r})
data, store = datadir.read(Path({str(tmp_path / "data")!r})), FeatureStore.open(Path({str(tmp_path / "feats")!r}))
Experiment(settings, data, Features(store, data.utterances), Path({str(tmp_path / "killed")!r})).run([1, 2, 3], [1, 2])
"""
    )
    log = tmp_path / "killed" / "fold2" / "seed2.unfinished" / "train.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text()):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the process ended before it could be killed"
    # The folds of a seed are trained together, so all those of the second seed are lost.
    assert set(read_files(tmp_path / "killed")) == {f"fold{fold}/seed1/predictions.tsv" for fold in (1, 2, 3)}
    assert (
        Experiment(settings(), corpus, Features(store, corpus.utterances), tmp_path / "killed").run([1, 2, 3], [1, 2])
        == 3
    )
    Experiment(settings(), corpus, Features(store, corpus.utterances), tmp_path / "undisturbed").run([1, 2, 3], [1, 2])
    assert read_files(tmp_path / "killed") == read_files(tmp_path / "undisturbed")
    assert not list((tmp_path / "killed").rglob("*.unfinished"))


def test_nan_features_are_an_error_that_names_an_utterance(tmp_path, corpus, store):
    frames = {utt: store.load([utt]).transpose(0, 1) for utt in store.recordings}
    frames["spk3-calm-0"][0, 2, 1] = torch.nan
    damaged = FeatureStore.create(tmp_path / "damaged", store.settings)
    damaged.write_shard(frames, store.recordings)
    damaged.finish()
    for pooling in ("soc", "mean"):
        with pytest.raises(
            SoctkError,
            match=r"1 utterance has features that are NaN, infinite or larger than 1e\+12, such as spk3-calm-0",
        ):
            Experiment(
                settings(pooling),
                corpus,
                Features(FeatureStore.open(damaged.path), corpus.utterances),
                tmp_path / "exp",
            ).run([1], [1])


def test_a_wrong_option_is_reported_before_training(tmp_path, corpus, store):
    with pytest.raises(SoctkError, match="unknown option 'depth'"):
        Experiment(
            settings("soc", "pooling.depth=4"), corpus, Features(store, corpus.utterances), tmp_path / "exp"
        ).run([1], [1])
    with pytest.raises(SoctkError, match="no fold 9"):
        Experiment(settings(), corpus, Features(store, corpus.utterances), tmp_path / "exp").run([1, 9], [1])
    assert not (tmp_path / "exp").exists()


def test_a_trained_pooling_cannot_be_recentred(tmp_path, corpus, store):
    config = settings("soc", "recentre.by=speaker")
    with pytest.raises(SoctkError, match="--recentre: only descriptors without trained parameters can be re-centred"):
        Experiment(config, corpus, Features(store, corpus.utterances), tmp_path / "exp").run([1], [1])


def test_a_missing_tensorboard_is_reported_before_training(tmp_path, corpus, store, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    experiment = Experiment(
        settings("mean"), corpus, Features(store, corpus.utterances), tmp_path / "exp", tensorboard=True
    )
    with pytest.raises(SoctkError, match="--tensorboard: this log needs the package tensorboard, which is not inst"):
        experiment.run([1], [1])
    assert not (tmp_path / "exp").exists()


def test_a_run_prints_the_chosen_C_and_the_validation_scores(tmp_path, corpus, store, capsys):
    Experiment(linear("mean"), corpus, Features(store, corpus.utterances), tmp_path / "exp").run([2], [7])
    log = (tmp_path / "exp" / "fold2" / "seed7" / "train.jsonl").read_text().splitlines()
    best = min(map(json.loads, log), key=lambda record: record["valid_loss"])
    scores = f"validation WA {100 * best['valid_WA']:.1f}, UA {100 * best['valid_UA']:.1f}"
    grid = f"(grid {json.loads(log[0])['C']:g} to {json.loads(log[-1])['C']:g})"
    assert f"fold 2, seed 7: C = {best['C']:g} {grid}; {scores}\n" in capsys.readouterr().out


def test_each_seed_has_its_own_inner_fits_only_if_it_draws_utterances(tmp_path, corpus, store):
    for enrol, count in (("all", 3), ("1", 6)):
        with mock.patch.object(linear_head, "predictions", wraps=linear_head.predictions) as predictions:
            config = linear("mean", "recentre.by=speaker", f"recentre.enrol={enrol}")
            Experiment(config, corpus, Features(store, corpus.utterances), tmp_path / enrol).run([1, 2, 3], [1, 2])
        first = [call for call in predictions.call_args_list if call.args[3].C == [0.01, 0.1]]
        assert len(first) == count


def test_values_of_C_are_added_until_the_lowest_loss_is_inside_the_grid(tmp_path, corpus, store, capsys):
    def choose(name: str, *values: float) -> tuple[list[float], float, str]:
        config = linear("mean", f"head.C={list(values)}")
        Experiment(config, corpus, Features(store, corpus.utterances), tmp_path / name).run([1], [1])
        log = (tmp_path / name / "fold1" / "seed1" / "train.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in log]
        best = min(records, key=lambda record: record["valid_loss"])
        return [record["C"] for record in records], best["C"], capsys.readouterr().out

    wide, best, line = choose("wide", *(10.0**i for i in range(-2, 4)))
    assert wide[0] < best < wide[-1]  # the corpus has a best C inside this grid
    assert f"C = {best:g} (grid {wide[0]:g} to {wide[-1]:g})" in line
    for start in (best / 100, best * 100):
        values, chosen, line = choose(f"{start:g}", start, 1.1 * start)
        assert best / 10 <= chosen <= best * 10
        assert values[0] < chosen < values[-1]
        assert f"C = {chosen:g} (grid {values[0]:g} to {values[-1]:g})" in line
    values, chosen, line = choose("far", best / 1e6, best / 1e5)
    assert chosen == values[-1] == pytest.approx(best / 100, rel=0.01)
    assert f"C = {chosen:g}, the largest of its grid ({values[0]:g} to {chosen:g})" in line
    values, chosen, line = choose("one", best / 100)
    assert values == [chosen]
    assert f"C = {chosen:g} (the only value)" in line


def predictions(path) -> dict[str, pd.DataFrame]:
    files = sorted(path.rglob("predictions.tsv"))
    return {str(file.relative_to(path).parent): pd.read_csv(file, sep="\t") for file in files}


@pytest.mark.parametrize("protocol", ["soctk", "emobox"])
@pytest.mark.parametrize("pooling", ["soc", "mean", "asp", "soc+mean"])
def test_a_fold_alone_has_the_posteriors_of_all_folds_together(tmp_path, corpus, store, pooling, protocol):
    config = settings(pooling, "train.epochs=3").model_copy(update={"protocol": protocol})
    experiment = Experiment(config, corpus, Features(store, corpus.utterances), tmp_path / "together")
    experiment.run([1, 2, 3], [1, 2])
    for fold in (1, 2, 3):
        for seed in (1, 2):
            dataclasses.replace(experiment, path=tmp_path / "alone").run([fold], [seed])
    together, alone = predictions(tmp_path / "together"), predictions(tmp_path / "alone")
    assert together.keys() == alone.keys()
    for run, table in together.items():
        pd.testing.assert_frame_equal(table, alone[run], atol=1e-4, rtol=0)


def test_threads_that_train_the_folds_of_one_seed_do_not_change_the_bits(tmp_path, corpus, store):
    for nj in (1, 3):
        features = Features(store, corpus.utterances)
        Experiment(settings(), corpus, features, tmp_path / f"exp{nj}").run([1, 2, 3], [1], nj=nj)
    for name in ("predictions.tsv", "model.safetensors"):
        assert read_files(tmp_path / "exp1", name) == read_files(tmp_path / "exp3", name)


def test_the_rest_of_a_stack_is_trained_when_some_of_its_runs_are_finished(tmp_path, corpus, store):
    experiment = Experiment(settings(), corpus, Features(store, corpus.utterances), tmp_path / "exp")
    experiment.run([2], [1])
    before = read_files(tmp_path / "exp", "*.*")
    assert experiment.run([1, 2, 3], [1]) == 2
    dataclasses.replace(experiment, path=tmp_path / "whole").run([1, 2, 3], [1])
    assert before.items() <= read_files(tmp_path / "exp", "*.*").items()
    whole = predictions(tmp_path / "whole")
    for run, table in predictions(tmp_path / "exp").items():
        pd.testing.assert_frame_equal(table, whole[run], atol=1e-4, rtol=0)


@pytest.mark.parametrize("pooling", ["soc", "asp"])
def test_frames_from_the_store_are_read_once_for_all_models_and_give_the_same_results(tmp_path, corpus, store, pooling):
    config = settings(pooling, "train.epochs=2", "train.batch_size=16")
    reads, load = [], FeatureStore.load

    def counted(self, utterances, *arguments):
        reads.append(len(utterances))
        return load(self, utterances, *arguments)

    for name, options in (("memory", {}), ("stream", {"max_bytes": 0})):
        with mock.patch.object(FeatureStore, "load", counted):
            experiment = Experiment(config, corpus, Features(store, corpus.utterances, **options), tmp_path / name)
            experiment.run([1, 2, 3], [1])
    memory, stream = predictions(tmp_path / "memory"), predictions(tmp_path / "stream")
    for run, table in memory.items():
        pd.testing.assert_frame_equal(table, stream[run], atol=1e-4, rtol=0)
    # Before training, two utterances of each of the three runs are compared. In each of the two epochs, a model reads
    # one batch of 12 utterances to train, and 12 utterances to validate. After training, it reads 12 to test.
    assert reads[0] == len(corpus.utterances)
    assert sorted(reads[1:]) == sorted([2] * 3 + [36] * 2 + [12] * 3 * 2 + [12] * 3)
