import dataclasses
import shutil

import pytest
import soundfile
from conftest import ROOT

from soctk import config
from soctk.corpus import datadir, duplicates
from soctk.errors import SoctkError
from soctk.features import extract
from soctk.features.store import FeatureStore
from soctk.reporting import report
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features


@pytest.fixture
def trained(tmp_path, corpus, monkeypatch):
    """A function that trains on a corpus in which two speakers of different folds share one recording."""
    samples, rate = soundfile.read(corpus.wav["spk0-sad-0"])
    soundfile.write(corpus.wav["spk1-sad-1"], samples, rate)
    extract.extract(corpus, tmp_path / "feats", extract.Extraction("mfcc"))

    def train(data):
        features = Features(FeatureStore.open(tmp_path / "feats"), data.utterances)
        settings = config.load([ROOT / "conf"], "mean", "linear", overrides=["head.C=[0.1]"])
        return Experiment(settings, data, features, tmp_path / "exp").run([1, 2, 3], [1])

    return train


def test_shared_recordings_are_refused_before_training(tmp_path, corpus, trained):
    with pytest.raises(SoctkError, match=r"1 recording in several .*\n  fold 1: spk0-sad-0 .* = spk1-sad-1 "):
        trained(corpus)
    assert not (tmp_path / "exp").exists()


def test_known_duplicates_train_and_are_told_by_training_and_in_the_scores(tmp_path, corpus, trained, capsys):
    data = dataclasses.replace(corpus, duplicates=frozenset({frozenset({"spk0-sad-0", "spk1-sad-1"})}))
    datadir.write(tmp_path / "data", data)
    assert trained(datadir.read(tmp_path / "data")) == 3
    told = (
        "known duplicates (file `duplicates`) are in training and in validation or test data: spk0-sad-0 = spk1-sad-1"
    )
    assert f"{tmp_path / 'exp'}: {told}\n" in capsys.readouterr().out
    assert f"exp: {told}." in report.make([tmp_path / "exp"], "").notes()


def test_scores_of_predictions_with_shared_recordings_are_refused_if_the_store_is_there(
    tmp_path, corpus, trained, monkeypatch
):
    with monkeypatch.context() as patch:  # an experiment of a version that did not compare recordings
        patch.setattr(duplicates, "check_splits", lambda *_: [])
        trained(corpus)
    with pytest.raises(SoctkError, match=r"exp: 1 recording in several .*\n  fold 1: spk0-sad-0 ") as error:
        report.make([tmp_path / "exp"], "")
    assert error.value.remedy.endswith("Then train again.")
    (tmp_path / "feats").rename(tmp_path / "elsewhere")
    (note,) = (line for line in report.make([tmp_path / "exp"], "").notes() if "recordings" in line)
    assert (
        note
        == "exp: recordings were not compared across training and test: the feature store of the runs cannot be read."
    )
    shutil.rmtree(tmp_path / "data")
    assert not any("recordings were" in line for line in report.make([tmp_path / "exp"], "").notes())


def test_a_store_that_was_extracted_anew_is_not_compared(tmp_path, corpus, trained, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(duplicates, "check_splits", lambda *_: [])
        trained(corpus)
    shutil.rmtree(tmp_path / "feats")
    soundfile.write(corpus.wav["spk0-calm-0"], *soundfile.read(corpus.wav["spk1-calm-0"]))
    extract.extract(corpus, tmp_path / "feats", extract.Extraction("mfcc"))
    (note,) = (line for line in report.make([tmp_path / "exp"], "").notes() if "recordings" in line)
    assert note.endswith("the feature store of the runs has changed since training.")
