import dataclasses
import json
import signal
import time

import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT, run_python
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from soctk import config
from soctk.corpus import splits
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.features import extract
from soctk.features.store import FeatureStore
from soctk.files import atomic_directory
from soctk.scoring import predictions
from soctk.training import linear as head
from soctk.training.classifier import EmotionClassifier
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features, Frames
from soctk.training.loop import predict

QUICK = ["train.epochs=4", "train.batch_size=8", "train.lr=1e-3"]


@pytest.fixture
def store(tmp_path, corpus) -> FeatureStore:
    extract.extract(corpus, tmp_path / "feats", extract.Extraction("mfcc"))
    return FeatureStore.open(tmp_path / "feats")


def settings(pooling: str = "soc", *overrides: str) -> config.Config:
    return config.load([ROOT / "conf"], pooling, overrides=[*QUICK, *overrides])


def linear(pooling: str, *overrides: str) -> config.Config:
    return config.load([ROOT / "conf"], pooling, "linear", overrides=["head.C=[0.01, 0.1]", *overrides])


def of_runs(path, name: str = "predictions.tsv") -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in sorted(path.rglob(name))}


@pytest.mark.parametrize("pooling", ["mean", "soc", "mean+soc_full"])
def test_a_run_leaves_what_the_contract_says(tmp_path, corpus: DataDir, store, pooling):
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
    again = predict(model, Frames.of(store, corpus.utterances).layer_normalised(), index).exp()
    torch.testing.assert_close(again, torch.tensor(posteriors.to_numpy(), dtype=torch.float32), atol=1e-4, rtol=0)


def test_what_an_interrupted_run_left_half_written_is_not_read(tmp_path, corpus, store):
    left = tmp_path / "exp" / "fold2" / "seed7.unfinished" / "config.yaml"
    left.parent.mkdir(parents=True)
    left.write_text("train: {epochs")
    assert Experiment(linear("mean"), corpus, Features(store, corpus.utterances), tmp_path / "exp").run([2], [7]) == 1
    assert [path.name for path in (tmp_path / "exp" / "fold2").iterdir()] == ["seed7"]


@pytest.mark.parametrize("pooling", ["mean", "mean+soc_full"])
def test_a_run_of_the_linear_head_leaves_a_model_for_frames(tmp_path, corpus, store, pooling):
    assert Experiment(linear(pooling), corpus, Features(store, corpus.utterances), tmp_path / "exp").run([2], [7]) == 1
    path = tmp_path / "exp" / "fold2" / "seed7"
    table = pd.read_csv(path / "predictions.tsv", sep="\t")
    records = [json.loads(line) for line in (path / "train.jsonl").read_text().splitlines()]
    assert [record["C"] for record in records] == [0.01, 0.1]
    assert "train" not in {key for key, value in yaml.safe_load((path / "config.yaml").read_text()).items() if value}

    model = EmotionClassifier(39, 1, 3, linear(pooling))
    model.load_state_dict(load_file(path / "model.safetensors"))
    index = [corpus.utterances.index(utt) for utt in table["utt"]]
    again = predict(model, Frames.of(store, corpus.utterances).layer_normalised(), index).exp()
    posteriors = torch.tensor(table[list(corpus.emotions)].to_numpy(), dtype=torch.float32)
    torch.testing.assert_close(again, posteriors, atol=1e-3, rtol=0)


def test_an_id_with_quotes_is_written_as_it_is_read(tmp_path, corpus):
    odd = {utt: utt.replace("-", '_"') for utt in corpus.utterances}
    columns = {
        name: {odd[utt]: value for utt, value in getattr(corpus, name).items()}
        for name in ("wav", "emotion", "speaker", "seconds")
    }
    quoted = dataclasses.replace(corpus, **columns)
    extract.extract(quoted, tmp_path / "feats", extract.Extraction("mfcc"))
    features = Features(FeatureStore.open(tmp_path / "feats"), quoted.utterances)
    Experiment(linear("mean"), quoted, features, tmp_path / "exp").run([1], [1])
    table = predictions.read_run(tmp_path / "exp" / "fold1" / "seed1" / "predictions.tsv")
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
    of_copies = [
        predict(
            model, Frames.of(perturbed, (table["utt"] + suffix).tolist()).layer_normalised(), range(len(table))
        ).exp()
        for suffix in ("", "-sp0.9", "-sp1.1")
    ]
    posteriors = torch.tensor(table[list(corpus.emotions)].to_numpy(), dtype=torch.float32)
    torch.testing.assert_close(sum(of_copies) / 3, posteriors, atol=5e-4, rtol=0)
    assert (of_copies[0] - posteriors).abs().max() > 5e-3


def with_copies_that_are_the_same(store: FeatureStore, corpus: DataDir, path) -> FeatureStore:
    frames = Frames.of(store, corpus.utterances)
    copies = FeatureStore.create(path, {**store.settings, "speeds": [0.9, 1.1]})
    for suffix in ("", "-sp0.9", "-sp1.1"):
        named = {utt + suffix: rows for utt, rows in zip(corpus.utterances, frames._utterances, strict=True)}
        copies.write_shard(
            {utt: rows.transpose(0, 1) for utt, rows in named.items()}, dict.fromkeys(named, f"recording{suffix}")
        )
    copies.finish()
    return FeatureStore.open(path)


@pytest.mark.parametrize("recentre", ["none", "speaker"])
def test_three_of_each_utterance_at_C_are_the_utterances_at_three_times_C(tmp_path, corpus, store, recentre):
    same = with_copies_that_are_the_same(store, corpus, tmp_path / "same")
    for name, features, C in (("alone", store, 0.3), ("copies", same, 0.1)):
        config = linear("soc_full", f"head.C=[{C}]", f"recentre.by={recentre}")
        Experiment(config, corpus, Features(features, corpus.utterances), tmp_path / name).run([1, 2], [1])
    for run in ("fold1/seed1", "fold2/seed1"):
        tables = [pd.read_csv(tmp_path / name / run / "predictions.tsv", sep="\t") for name in ("alone", "copies")]
        pd.testing.assert_frame_equal(*tables, atol=2e-3, rtol=0)


@pytest.mark.parametrize("config", [settings("soc"), linear("mean")], ids=["mlp", "linear"])
def test_copies_of_test_and_validation_speakers_do_not_train(tmp_path, corpus, perturbed, config):
    split = splits.split(corpus, 1, "soctk", 1)
    held_out = split.test + (split.valid if config.head.name == "mlp" else [])
    other = FeatureStore.create(tmp_path / "other", perturbed.settings)
    for suffix in ("", "-sp0.9", "-sp1.1"):
        frames = Frames.of(perturbed, [utt + suffix for utt in corpus.utterances])._utterances
        other.write_shard(
            {
                utt + suffix: (3 * rows.flip(2) if suffix and utt in held_out else rows).transpose(0, 1)
                for utt, rows in zip(corpus.utterances, frames, strict=True)
            },
            dict.fromkeys((utt + suffix for utt in corpus.utterances), "recording"),
        )
    other.finish()
    for name, path in (("right", perturbed.path), ("other", tmp_path / "other")):
        features = Features(FeatureStore.open(path), corpus.utterances)
        Experiment(config, corpus, features, tmp_path / "exp" / name).run([1], [1])
    models = of_runs(tmp_path / "exp", "model.safetensors")
    assert len(models) == 2
    assert len(set(models.values())) == 1
    assert len(set(of_runs(tmp_path / "exp").values())) == 2


def test_without_its_copies_a_store_is_one_that_has_none(tmp_path, corpus, store, perturbed):
    for path, features, speeds in (("one", store, "all"), ("other", perturbed, "[]")):
        config = linear("mean+soc_full", f"frames.speeds={speeds}")
        Experiment(config, corpus, Features(features, corpus.utterances), tmp_path / "exp" / path).run([1, 2], [1])
    runs = of_runs(tmp_path / "exp" / "one")
    assert len(runs) == 2
    assert runs == of_runs(tmp_path / "exp" / "other")


def test_a_speed_that_the_store_lacks_is_told(tmp_path, corpus, store, perturbed):
    for features, there in ((store, "at 1"), (perturbed, "0.9, 1.1")):
        experiment = Experiment(
            linear("mean", "frames.speeds=[0.9, 0.7]"), corpus, Features(features, corpus.utterances), tmp_path / "exp"
        )
        with pytest.raises(SoctkError, match=rf"it has no copies at speed 0.[97], only {there}\n"):
            experiment.run([1], [1])


@pytest.fixture
def layered(tmp_path, corpus) -> FeatureStore:
    """A store of three hidden states: mfcc, its opposite, and twice the first."""
    extract.extract(corpus, tmp_path / "one", extract.Extraction("mfcc"))
    one = FeatureStore.open(tmp_path / "one")
    frames = Frames.of(one, corpus.utterances)
    store = FeatureStore.create(tmp_path / "three", {**one.settings, "layers": [1, 2, 5]})
    states = {utt: state.transpose(0, 1) for utt, state in zip(corpus.utterances, frames._utterances, strict=True)}
    store.write_shard({utt: torch.cat([x, -x, 2 * x]) for utt, x in states.items()}, one.recordings)
    store.finish()
    return FeatureStore.open(tmp_path / "three")


@pytest.mark.parametrize(
    "config",
    [settings("mean", "frames.combine=concat"), settings("soc"), linear("mean+soc_full", "frames.combine=concat")],
    ids=["mlp-concat", "mlp-sum", "linear-concat"],
)
def test_a_run_on_several_layers_leaves_a_model_for_their_frames(tmp_path, corpus, layered, config):
    config = config.model_copy(update={"frames": config.frames.model_copy(update={"layers": [5, 1]})})
    assert Experiment(config, corpus, Features(layered, corpus.utterances), tmp_path / "exp").run([2], [7]) == 1
    path = tmp_path / "exp" / "fold2" / "seed7"
    assert yaml.safe_load((path / "config.yaml").read_text())["frames"]["layers"] == [5, 1]
    table = pd.read_csv(path / "predictions.tsv", sep="\t")
    model = EmotionClassifier(39, 2, 3, config)
    model.load_state_dict(load_file(path / "model.safetensors"))
    index = [corpus.utterances.index(utt) for utt in table["utt"]]
    again = predict(model, Frames.of(layered, corpus.utterances, [5, 1]).layer_normalised(), index).exp()
    posteriors = torch.tensor(table[list(corpus.emotions)].to_numpy(), dtype=torch.float32)
    torch.testing.assert_close(again, posteriors, atol=1e-3, rtol=0)


def test_one_layer_of_several_is_trained_on_as_if_it_were_alone(tmp_path, corpus, store, layered):
    Experiment(settings(), corpus, Features(store, corpus.utterances), tmp_path / "alone").run([1], [1])
    Experiment(
        settings("soc", "frames.layers=[1]"), corpus, Features(layered, corpus.utterances), tmp_path / "of several"
    ).run([1], [1])
    assert of_runs(tmp_path / "alone") == of_runs(tmp_path / "of several")


def test_a_layer_that_the_store_lacks_is_told(tmp_path, corpus, layered):
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


@pytest.mark.parametrize(
    "config", [settings(), settings("mean"), linear("mean+soc_full")], ids=["soc", "mean", "linear"]
)
def test_predictions_are_the_same_bit_for_bit_whatever_the_number_of_processes(tmp_path, corpus, store, config):
    for nj in (1, 2):
        Experiment(config, corpus, Features(store, corpus.utterances), tmp_path / f"exp{nj}").run(
            [1, 2, 3], [1, 2], nj=nj
        )
    one, two = of_runs(tmp_path / "exp1"), of_runs(tmp_path / "exp2")
    assert len(one) == 6
    assert one == two
    # Nothing about the linear head is random.
    assert (one["fold1/seed1/predictions.tsv"] == one["fold1/seed2/predictions.tsv"]) == (config.head.name == "linear")


def test_folds_of_the_linear_head_share_the_fits_that_choose_C(tmp_path, corpus, store, monkeypatch):
    experiment = Experiment(linear("mean+soc_full"), corpus, Features(store, corpus.utterances), tmp_path / "together")
    fitted, posteriors = [], head.posteriors

    def counted(*arguments):
        fitted.append(tuple(arguments[2]))
        return posteriors(*arguments)

    monkeypatch.setattr(head, "posteriors", counted)
    experiment.run([1, 2, 3], [1, 2])
    assert len(fitted) == len(set(fitted)) == 3  # of three folds, each inner fit is on one
    for fold in (1, 2, 3):
        dataclasses.replace(experiment, path=tmp_path / "alone").run([fold], [1, 2])
    assert len(fitted) == 3 + 6
    for name in ("predictions.tsv", "train.jsonl"):
        assert of_runs(tmp_path / "alone", name) == of_runs(tmp_path / "together", name)


def test_other_settings_are_refused_and_the_difference_is_shown(tmp_path, corpus, store):
    Experiment(settings(), corpus, Features(store, corpus.utterances), tmp_path / "exp").run([1], [1])
    with pytest.raises(SoctkError) as error:
        Experiment(settings("soc", "train.lr=0.01"), corpus, Features(store, corpus.utterances), tmp_path / "exp").run(
            [1], [1]
        )
    assert f"{tmp_path / 'exp' / 'fold1' / 'seed1'}: this run was made with other settings" in str(error.value)
    assert "train.lr: 0.001 stored, 0.01 requested" in str(error.value)
    assert "--tag" in str(error.value)


def test_an_error_in_a_worker_is_the_same_message(tmp_path, corpus, store):
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
    with pytest.raises(SoctkError, match="1 utterances have no features, such as spk0-new-0"):
        Experiment(settings(), partial, Features(store, partial.utterances), tmp_path / "exp").run([1, 2], [1], nj=2)


def test_other_folds_or_seeds_do_not_mix_in_other_settings(tmp_path, corpus, store):
    Experiment(settings("mean"), corpus, Features(store, corpus.utterances), tmp_path / "exp").run([1], [1])
    with pytest.raises(SoctkError, match=r"pooling\.mean: {} stored, None requested"):
        Experiment(settings("soc"), corpus, Features(store, corpus.utterances), tmp_path / "exp").run([2], [2])
    relabelled = dataclasses.replace(corpus, emotion={**corpus.emotion, "spk0-sad-0": "calm"})
    with pytest.raises(SoctkError, match="data: "):
        Experiment(settings("mean"), relabelled, Features(store, corpus.utterances), tmp_path / "exp").run([2], [2])


def test_a_run_that_another_process_is_at_is_left_to_it(tmp_path, corpus, store):
    with atomic_directory(tmp_path / "exp" / "fold1" / "seed1") as directory:
        with pytest.raises(SoctkError, match=r"seed1\.unfinished: another process is writing to this directory"):
            Experiment(settings("mean"), corpus, Features(store, corpus.utterances), tmp_path / "exp").run([1], [1])
        (directory / "mine").touch()
    assert [file.name for file in (tmp_path / "exp" / "fold1" / "seed1").iterdir()] == ["mine"]


def test_a_killed_run_is_done_anew_to_the_same_predictions(tmp_path, corpus, store):
    process = run_python(
        f"""
from pathlib import Path
from soctk import config
from soctk.corpus import datadir
from soctk.training.inputs import Features, Frames
from soctk.training.experiment import Experiment
from soctk.files import atomic_directory
from soctk.features.store import FeatureStore
settings = config.load([Path({str(ROOT / "conf")!r})], "soc", overrides={QUICK!r})
data, store = datadir.read(Path({str(tmp_path / "data")!r})), FeatureStore.open(Path({str(tmp_path / "feats")!r}))
Experiment(settings, data, Features(store, data.utterances), Path({str(tmp_path / "killed")!r})).run([1, 2, 3], [1, 2])
"""
    )
    log = tmp_path / "killed" / "fold2" / "seed1.unfinished" / "train.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text()):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the process ended before it could be killed"
    assert set(of_runs(tmp_path / "killed")) == {"fold1/seed1/predictions.tsv", "fold1/seed2/predictions.tsv"}
    assert (
        Experiment(settings(), corpus, Features(store, corpus.utterances), tmp_path / "killed").run([1, 2, 3], [1, 2])
        == 4
    )
    Experiment(settings(), corpus, Features(store, corpus.utterances), tmp_path / "undisturbed").run([1, 2, 3], [1, 2])
    assert of_runs(tmp_path / "killed") == of_runs(tmp_path / "undisturbed")
    assert not list((tmp_path / "killed").rglob("*.unfinished"))


def test_features_that_are_not_finite_are_told_with_the_utterance(tmp_path, corpus, store):
    (shard,) = store.path.glob("shard-*.safetensors")
    with safe_open(shard, framework="pt") as content:
        tensors, metadata = load_file(shard), content.metadata()
    tensors["spk3-calm-0"][2, 1] = torch.nan
    save_file(tensors, shard, metadata)
    for pooling in ("soc", "mean"):
        with pytest.raises(
            SoctkError, match="1 utterances have features that are NaN or infinite, such as spk3-calm-0"
        ):
            Experiment(
                settings(pooling), corpus, Features(FeatureStore.open(store.path), corpus.utterances), tmp_path / "exp"
            ).run([1], [1])


def test_nothing_is_trained_where_an_option_is_wrong(tmp_path, corpus, store):
    with pytest.raises(SoctkError, match="unknown option 'depth'"):
        Experiment(
            settings("soc", "pooling.depth=4"), corpus, Features(store, corpus.utterances), tmp_path / "exp"
        ).run([1], [1])
    with pytest.raises(SoctkError, match="no fold 9"):
        Experiment(settings(), corpus, Features(store, corpus.utterances), tmp_path / "exp").run([1, 9], [1])
    assert not (tmp_path / "exp").exists()
