"""A packed model gives the posteriors of the experiment, for every kind of model."""

import threading

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from conftest import ROOT, write_corpus
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from soctk import config
from soctk.errors import SoctkError
from soctk.features import extract
from soctk.features.store import FeatureStore
from soctk.inference.pack import Packing, pack
from soctk.inference.recogniser import Recogniser
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features

QUICK = ["train.epochs=3", "train.batch_size=8", "train.lr=1e-3"]
ENCODER = {
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24, "conv_dim": (8, 8),
    "conv_stride": (10, 32), "conv_kernel": (20, 32), "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "layer",
}  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A small encoder with random weights."""
    folder = tmp_path_factory.mktemp("encoders") / "small"
    torch.manual_seed(1)
    Wav2Vec2Model(Wav2Vec2Config(**ENCODER)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("corpus of recordings")


@pytest.fixture(scope="module")
def corpus(folder):
    return write_corpus(folder)


@pytest.fixture(scope="module")
def stores(folder, corpus, encoder):
    """The features of the corpus: without and with copies at other speeds."""
    for name, speeds in (("plain", ()), ("copies", (0.9, 1.1))):
        extract.extract(corpus, folder / name, extract.Extraction(str(encoder), "all", speeds=speeds))
    return {name: FeatureStore.open(folder / name) for name in ("plain", "copies")}


def train(corpus, store, path, pooling, head, *overrides):
    """Train fold 2 with seed 3."""
    quick = QUICK if head == "mlp" else []
    settings = config.load([ROOT / "conf"], pooling, head, overrides=[*quick, *overrides])
    experiment = Experiment(settings, corpus, Features(store, corpus.utterances), path)
    experiment.run([1, 2, 3], [3])
    return experiment


@pytest.mark.parametrize("copies", ["plain", "copies"])
@pytest.mark.parametrize(
    ("pooling", "head", "overrides"),
    [
        ("mean", "linear", ["frames.layers=[2]"]),
        ("mean+soc_full", "linear", ["frames.layers=[1, 3]"]),
        ("stats", "linear", ["recentre.by=speaker"]),
        ("soc_full", "linear", ["recentre.by=speaker", "recentre.relevance=0", "frames.layers=[0, 2]"]),
        ("mean+soc_full", "mlp", ["frames.layers=[1, 3]", "frames.combine=concat"]),
        ("mean", "mlp", ["recentre.by=speaker", "frames.layers=[2]"]),
        ("soc", "mlp", ["frames.layers=[1, 3]", "frames.combine=sum"]),
        ("soc", "mlp", ["frames.combine=concat", "frames.layer_norm=false"]),
        ("asp", "mlp", ["frames.layers=[3]"]),
        ("mean+soc_nolem", "mlp", ["frames.layers=[0]"]),
    ],
)
def test_the_model_of_a_fold_gives_its_test_utterances_the_posteriors_of_the_experiment(
    tmp_path, corpus, stores, encoder, copies, pooling, head, overrides
):
    train(corpus, stores[copies], tmp_path / "exp", pooling, head, *overrides)
    pack(Packing(tmp_path / "exp", fold=2), tmp_path / "model")
    model = Recogniser.load(tmp_path / "model", encoder)
    expected = pd.read_csv(tmp_path / "exp" / "fold2" / "seed3" / "predictions.tsv", sep="\t", index_col="utt")
    speakers = {}
    if model.is_recentred:
        for speaker in set(expected["spk"]):
            own = [corpus.wav[utt] for utt in corpus.utterances if corpus.speaker[utt] == speaker]
            speakers[speaker] = model.enrol(own)
    for utt, row in expected.iterrows():
        result = model(corpus.wav[utt], speaker=speakers.get(row["spk"]))
        posteriors = [result.posteriors[emotion] for emotion in corpus.emotions]
        np.testing.assert_allclose(posteriors, row[list(corpus.emotions)].astype(float), atol=1e-5)
        assert result.emotion == row["hyp"]
        assert result.confidence == max(posteriors)


@pytest.fixture(scope="module")
def model(tmp_path_factory, corpus, stores, encoder):
    """A model that is trained on all speakers and includes its encoder."""
    folder = tmp_path_factory.mktemp("models")
    train(corpus, stores["plain"], folder / "exp", "mean", "linear", "frames.layers=[1, 2]")
    pack(Packing(folder / "exp", encoder=encoder), folder / "model")
    return Recogniser.load(folder / "model")


def test_a_model_that_includes_its_encoder_is_moved_and_used_without_anything_else(tmp_path, model, corpus):
    moved = tmp_path / "elsewhere"
    model.bundle.path.rename(moved)
    try:
        again = Recogniser.load(moved)
        path = next(iter(corpus.wav.values()))
        assert again(path) == model(path)
    finally:
        moved.rename(model.bundle.path)


def test_files_and_waveforms_of_any_form_get_the_same_answer(model, corpus):
    path = next(iter(corpus.wav.values()))
    samples, rate = soundfile.read(path, dtype="float32")
    integers, _ = soundfile.read(path, dtype="int16")
    expected = model(path).posteriors
    for waveform in (samples, torch.from_numpy(samples), samples[None], samples.astype(np.float64), integers):
        assert model(waveform, rate).posteriors == pytest.approx(expected, abs=1e-6)
    assert [result.posteriors for result in model.predict([path, str(path)])] == [expected, expected]


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (np.zeros((16000, 2)), 16000, r"looks like \(samples, channels\); give \(channels, samples\): waveform.T"),
        (np.zeros((1, 2, 16000)), 16000, "has the shape"),
        (np.zeros(16000), None, "needs its rate"),
        (np.zeros(16000), 0, "sample_rate is 0"),
        (np.zeros(100), 16000, "6.2 ms; at least 50 ms"),
        (np.zeros(0), 16000, "0.0 ms"),
        (np.full(16000, np.nan), 16000, "NaN or infinite"),
        (np.full(16000, 3000.0), 16000, "divide integers by their full scale"),
        (np.zeros(16000, dtype=np.uint8), 16000, "not uint8"),
        (["a"] * 16000, 16000, "not <U1"),
    ],
)
def test_a_waveform_that_cannot_be_used_is_refused_with_the_reason(model, waveform, rate, message):
    with pytest.raises(ValueError, match=message):
        model(waveform, rate)


def test_a_file_that_cannot_be_used_is_named(model, tmp_path):
    with pytest.raises(SoctkError, match=r"no\.wav: no such file"):
        model(tmp_path / "no.wav")


def test_a_model_with_recentring_refuses_to_work_without_the_speaker(tmp_path, corpus, stores, encoder):
    train(corpus, stores["plain"], tmp_path / "exp", "mean", "linear", "recentre.by=speaker")
    pack(Packing(tmp_path / "exp"), tmp_path / "model")
    model = Recogniser.load(tmp_path / "model", encoder)
    with pytest.raises(ValueError, match="subtracts the mean descriptor of the speaker"):
        model(next(iter(corpus.wav.values())))
    with pytest.raises(ValueError, match="at least one recording"):
        model.enrol([])


def test_threads_share_a_model(model, corpus):
    paths = list(corpus.wav.values())[:12]
    expected = model.predict(paths)
    results = {}

    def work(start):
        for i in range(start, len(paths), 4):
            results[i] = model(paths[i])

    threads = [threading.Thread(target=work, args=[start]) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[i] for i in range(len(paths))] == expected
