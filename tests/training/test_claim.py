import signal
import time

import pytest
from conftest import ROOT, run_python

from soctk import config
from soctk.errors import SoctkError
from soctk.features import extract
from soctk.features.store import FeatureStore
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features

WAIT_IN_LOAD = """
import sys, time
from pathlib import Path
from soctk.cli import train
from soctk.training.training_data import TrainingData

def load(*_):
    Path("loading").touch()
    time.sleep(600)

TrainingData.load = load
train.main(["data", "feats", "exp", "--pooling", "mean", "--folds", "1 2"])
"""


def test_a_second_training_of_the_same_runs_stops_while_the_first_one_loads(tmp_path, corpus):
    extract.extract(corpus, tmp_path / "feats", extract.Extraction("mfcc"))
    features = Features(FeatureStore.open(tmp_path / "feats"), corpus.utterances)
    experiment = Experiment(config.load([ROOT / "conf"], "mean", "linear"), corpus, features, tmp_path / "exp")
    first = run_python(WAIT_IN_LOAD, cwd=tmp_path)
    try:
        while not (tmp_path / "loading").exists():
            assert first.poll() is None
            time.sleep(0.01)
        with pytest.raises(SoctkError) as error:
            experiment.run([1, 2, 3], [1])
        assert str(error.value) == (
            f"{tmp_path / 'exp'}: another process is training fold1/seed1 and 1 more runs of this experiment\n"
            "Wait until it has finished, or train other folds or seeds in the meantime."
        )
        assert experiment.run([3], [1]) == 1  # other folds and seeds can be trained in the meantime
        assert experiment.run([2], [5]) == 1
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert experiment.run([1, 2, 3], [1]) == 2
