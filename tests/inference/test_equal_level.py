"""Models of recordings at one level, and of augmented copies, give recordings the posteriors of the experiment."""

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import ROOT, write_corpus
from random_models import RATE, assert_same, noise, random_bundle, random_model

import soctk
from soctk import config
from soctk.corpus.level import rms
from soctk.features import extract, upstream
from soctk.features.store import FeatureStore
from soctk.inference import bundle
from soctk.inference.onnx import export
from soctk.inference.pack import Packing, pack
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features


def test_the_packed_model_scales_recordings_as_the_extraction_did(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    for number, path in enumerate(corpus.wav.values()):
        samples, rate = soundfile.read(path)
        soundfile.write(path, samples * (1, 0.1, 0.01)[number % 3], rate, subtype="FLOAT")
    settings = extract.Extraction("fbank", speeds=(0.9,), augmentations=("noise",), normalise="level")
    extract.extract(corpus, tmp_path / "feats", settings)
    store = FeatureStore.open(tmp_path / "feats")
    assert store.settings["normalise"] == "level"
    model_settings = config.load([ROOT / "conf"], "mean", "linear", overrides=["head.C=[1.0]"])
    Experiment(model_settings, corpus, Features(store, corpus.utterances), tmp_path / "exp").run([1, 2, 3], [1])
    packed = pack(Packing(tmp_path / "exp", fold=2), tmp_path / "model")
    assert (packed.settings.normalise, packed.settings.speeds) == ("level", [0.9])
    assert "to -26 dBFS (RMS)" in (tmp_path / "model" / "README.md").read_text()
    model = soctk.load(tmp_path / "model")
    expected = pd.read_csv(tmp_path / "exp" / "fold2" / "seed1" / "predictions.tsv", sep="\t", index_col="utt")
    for utt, row in expected.iterrows():
        answer = model(corpus.wav[utt]).posteriors
        assert [answer[name] for name in corpus.emotions] == pytest.approx(list(row[list(corpus.emotions)]), abs=1e-5)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model that scales recordings: with torch, and with onnxruntime."""
    folder = tmp_path_factory.mktemp("models") / "model"
    made = random_bundle("mean", normalise="level")
    folder.mkdir()
    bundle.write(folder, made)
    export.write(bundle.read(folder), upstream.load("fbank"))
    return [soctk.load(folder, runtime=runtime) for runtime in ("torch", "onnx")]


def test_the_level_of_a_waveform_has_no_influence_in_either_runtime(models):
    samples, reference = noise(1.0)[0], None
    for model in models:
        for factor in (1, 0.001):
            posteriors = model(factor * samples, RATE).posteriors
            reference = reference or posteriors
            assert posteriors == pytest.approx(reference, abs=1e-4)
    plain = random_model("mean")
    quiet = plain(0.001 * samples, RATE).posteriors
    assert quiet != pytest.approx(plain(samples, RATE).posteriors, abs=1e-2)
    # A waveform that has the level already gets the answer of the model without scaling.
    at_level = samples * np.float32(10 ** (-26 / 20) / rms(samples))
    assert plain(at_level, RATE).posteriors == pytest.approx(reference, abs=2e-2)


def test_each_window_is_scaled_alone(models):
    samples = noise(3.0)[0]
    samples[RATE:] *= 0.01
    for model in models:
        windows = list(model.windows(samples, RATE, window=1.0, hop=1.0))
        alone = [model(samples[start : start + RATE], RATE).posteriors for start in range(0, 3 * RATE, RATE)]
        for window, expected in zip(windows, alone, strict=True):
            assert window.result.posteriors == pytest.approx(expected, abs=1e-5)
        stream = model.stream(RATE, window=1.0, hop=1.0)
        assert_same([*stream.push(samples), *stream.finish()], windows)


def test_models_that_do_not_scale_are_written_as_before(tmp_path):
    for name, normalise in (("plain", "none"), ("level", "level")):
        (tmp_path / name).mkdir()
        bundle.write(tmp_path / name, random_bundle("mean", normalise=normalise))
        assert ("normalise: level" in (tmp_path / name / "config.yaml").read_text()) == (name == "level")
        assert bundle.read(tmp_path / name).settings.normalise == normalise
