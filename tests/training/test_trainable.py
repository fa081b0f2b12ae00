import dataclasses
import re

import numpy as np
import pytest
import torch
from conftest import ROOT

from soctk import config
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.features.store import FeatureStore
from soctk.schema import LinearConfig
from soctk.scoring import predictions
from soctk.scoring.runs import RunDirectory
from soctk.training import linear
from soctk.training.blocks import Block, gram
from soctk.training.classes import Classes
from soctk.training.coordinates import make_coordinates
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features
from soctk.training.outer_fits import OuterFit


def store_of(corpus: DataDir, path, frames) -> FeatureStore:
    """Write a store in which an utterance has the frames `frames(utterance)`, `(T, D)`."""
    settings = {"upstream": "test", "layers": [0], "hidden_size": 6, "dtype": "float32", "versions": {}}
    store = FeatureStore.create(path, settings)
    store.write_shard({utt: frames(utt)[None] for utt in corpus.utterances}, {utt: utt for utt in corpus.utterances})
    store.finish()
    return FeatureStore.open(path)


def run(
    corpus: DataDir, store: FeatureStore, path, pooling: str, *overrides: str, head=None, max_bytes=1e9
) -> Experiment:
    head = head or ("mlp" if pooling in ("soc", "asp") else "linear")
    quick = ["train.epochs=2", "train.batch_size=8"] if head == "mlp" else ["head.C=[0.01, 0.1]"]
    settings = config.load([ROOT / "conf"], pooling, head, overrides=[*quick, *overrides])
    experiment = Experiment(settings, corpus, Features(store, corpus.utterances, max_bytes=max_bytes), path)
    experiment.run(corpus.folds, [1])
    return experiment


def silence(utt: str) -> torch.Tensor:
    return torch.full((5 + len(utt) % 3, 6), -11.5)


def noise(utt: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(map(ord, utt)))
    return torch.randn(9, 6, generator=generator)


@pytest.mark.parametrize("max_bytes", [0, 1e9])
@pytest.mark.parametrize(
    ("pooling", "head"),
    [
        ("mean", "linear"),
        ("soc_full", "linear"),
        ("mean+soc_full", "linear"),
        ("mean", "mlp"),
        ("soc", "mlp"),
        ("asp", "mlp"),
    ],
)
@pytest.mark.parametrize("layer_norm", ["true", "false"])
def test_silent_recordings_are_an_error_that_names_the_channel(tmp_path, corpus, pooling, head, max_bytes, layer_norm):
    store = store_of(corpus, tmp_path / "feats", silence)
    what = "frames" if pooling in ("soc", "asp") else "descriptors"
    with pytest.raises(SoctkError) as error:
        run(corpus, store, tmp_path / "exp", pooling, f"frames.layer_norm={layer_norm}", head=head, max_bytes=max_bytes)
    assert error.value.what == f"all training {what} of fold 1 are equal"
    assert error.value.remedy.startswith("Are the recordings silent? Channel 1 is used (soctk-import --channel).")


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_one_utterance_a_speaker_under_recentring_is_an_error(tmp_path, corpus, head):
    speaker = {utt: utt for utt in corpus.utterances}
    fold = {utt: corpus.fold[corpus.speaker[utt]] for utt in corpus.utterances}
    alone = dataclasses.replace(corpus, speaker=speaker, fold=fold, gender={})
    store = store_of(corpus, tmp_path / "feats", noise)
    with pytest.raises(SoctkError, match="--recentre: all training descriptors of fold 1 are equal after re-centring"):
        run(alone, store, tmp_path / "exp", "mean", "recentre.by=speaker", head=head)
    run(alone, store, tmp_path / "exp", "mean", head=head)
    # One speaker with two utterances in the training data of each fold is enough.
    twice = {**speaker, **{f"spk{i}-sad-1": f"spk{i}-sad-0" for i in range(3)}}
    pairs = dataclasses.replace(alone, speaker=twice, fold={name: fold[name] for name in twice.values()})
    run(pairs, store, tmp_path / "pairs", "mean", "recentre.by=speaker", head=head)


def test_frames_that_differ_in_one_utterance_only_are_trained(tmp_path, corpus):
    def frames(utt):
        return noise(utt) if utt in ("spk0-sad-0", "spk1-sad-1", "spk2-calm-1") else silence(utt)

    for pooling in ("mean", "soc"):
        run(corpus, store_of(corpus, tmp_path / "feats", frames), tmp_path / pooling, pooling)


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_training_fold_of_one_class_is_an_error_before_training(tmp_path, corpus, head):
    others = "calm" if head == "mlp" else "sad"
    emotion = {utt: "angry" if utt.startswith(("spk0", "spk3")) else "sad" for utt in corpus.utterances}
    if head == "mlp":  # it trains on one of the three folds
        emotion |= {utt: others for utt in corpus.utterances if utt.startswith(("spk1", "spk4"))}
    store = store_of(corpus, tmp_path / "feats", noise)
    with pytest.raises(
        SoctkError, match="the training utterances of fold 1 have only one class, sad\nDivide the speak"
    ):
        run(dataclasses.replace(corpus, emotion=emotion), store, tmp_path / "exp", "mean", head=head)
    assert not (tmp_path / "exp").exists()


def test_a_class_without_training_utterances_is_told(tmp_path, corpus, capsys):
    emotion = {
        utt: "calm" if name == "sad" and not utt.startswith(("spk0", "spk3")) else name
        for utt, name in corpus.emotion.items()
    }
    run(
        dataclasses.replace(corpus, emotion=emotion),
        store_of(corpus, tmp_path / "feats", noise),
        tmp_path / "exp",
        "mean",
    )
    told = re.findall(r"exp: (fold . has no .*)", capsys.readouterr().out)
    assert told == ["fold 1 has no training utterances of sad: its model never learns them"]


@pytest.mark.parametrize("dimensions", [4, 300], ids=["primal", "dual"])
def test_inner_fits_without_a_class_or_with_one_class_or_equal_descriptors_give_posteriors(dimensions):
    labels = np.arange(30) % 3
    descriptors = np.random.default_rng(0).normal(size=(30, dimensions)).astype(np.float32)
    settings = LinearConfig(name="linear", C=[0.1, 1.0], within_class_shrinkage=0.5)
    target = Classes("abc", labels)

    def fit(descriptors, fitted):
        values = make_coordinates([Block(descriptors, gram(descriptors))], fitted).values
        return np.exp(linear.predictions(values, target, fitted, settings))

    two = fit(descriptors, np.flatnonzero(labels != 1)[:12])
    assert not two[:, :, 1].any()
    np.testing.assert_allclose(two.sum(2), 1, rtol=1e-5)
    one = fit(descriptors, np.flatnonzero(labels == 2))
    np.testing.assert_array_equal(one, np.broadcast_to(np.eye(3)[2], one.shape))
    equal = descriptors.copy()
    fitted = [0, 1, 2, 3]  # classes 0, 1, 2, 0
    equal[fitted] = equal[0]
    np.testing.assert_allclose(fit(equal, fitted)[:, fitted], np.broadcast_to([0.5, 0.25, 0.25], (2, 4, 3)), atol=1e-3)
    single = fit(descriptors, [0, 3, 6, 1])  # a class with one utterance
    assert np.isfinite(single).all()
    np.testing.assert_allclose(single.sum(2), 1, rtol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "soc_full"])
def test_folds_with_few_classes_and_constant_dimensions_are_trained(tmp_path, corpus, pooling):
    """Inner fits on one fold have one class, two classes, or fewer utterances than classes."""
    kept = [utt for utt in corpus.utterances if utt[-1] == "0" and utt[3] in "0123"]
    emotion = {utt: {"0": "sad", "3": "sad", "1": corpus.emotion[utt]}.get(utt[3], "calm") for utt in kept}

    def only(values):
        return {utt: values[utt] for utt in kept}

    small = dataclasses.replace(
        corpus, wav=only(corpus.wav), speaker=only(corpus.speaker), seconds=only(corpus.seconds), emotion=emotion,
        gender={}, fold={f"spk{i}": i % 3 + 1 for i in range(4)},
    )  # fmt: skip
    store = store_of(small, tmp_path / "feats", lambda utt: noise(utt) * torch.tensor([1.0, 0, 1, 1, 1, 0]))
    run(small, store, tmp_path / "exp", pooling)
    read = predictions.read([RunDirectory(tmp_path / "exp", fold, 1) for fold in (1, 2, 3)])
    assert np.isfinite(read.posteriors).all()


def test_posteriors_that_are_nan_are_an_error_and_leave_no_run(tmp_path, corpus, monkeypatch):
    store = store_of(corpus, tmp_path / "feats", noise)
    monkeypatch.setattr(OuterFit, "apply", lambda *_: torch.full((12, 3), torch.nan))
    with pytest.raises(SoctkError, match="feats: the predictions of fold 1 are NaN\nCheck the store"):
        run(corpus, store, tmp_path / "exp", "mean")
    assert not list((tmp_path / "exp").glob("fold*/seed1"))
