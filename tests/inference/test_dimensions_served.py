"""Models of dimensions: training, scores, packing, and predictions for recordings, on generated tones."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import ROOT, write_corpus

import soctk
from soctk import config
from soctk.cli import predict
from soctk.corpus import audio, datadir
from soctk.errors import SoctkError
from soctk.features import extract
from soctk.features.store import FeatureStore
from soctk.inference import labelled
from soctk.inference.pack import Packing, pack
from soctk.inference.recogniser import Recogniser
from soctk.scoring import predictions, score
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features

# Arousal and valence of the three emotions of the corpus, far from 0 and in different units.
LEVELS = {"calm": (20.0, 3.0), "angry": (80.0, 1.0), "sad": (10.0, 1.2)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Experiments of both heads on a corpus without emotions, in folder/exp/HEAD."""
    folder = tmp_path_factory.mktemp("dimensions")
    corpus = write_corpus(folder)
    generator = np.random.default_rng(0)
    values = {
        utt: np.array(LEVELS[emotion]) * (1 + 0.05 * generator.normal(size=2))
        for utt, emotion in corpus.emotion.items()
    }
    alone = dataclasses.replace(
        corpus,
        emotion={},
        emotions=(),
        dimensions={
            name: {utt: float(both[i]) for utt, both in values.items()} for i, name in enumerate(("arousal", "valence"))
        },
    )
    for name in ("utt2emo", "emotions"):
        (folder / "data" / name).unlink()
    datadir.write(folder / "data", alone)
    data = datadir.read(folder / "data")
    extract.extract(data, folder / "feats", extract.Extraction("mfcc"))
    features = Features(FeatureStore.open(folder / "feats"), data.utterances)
    for head in ("linear", "mlp"):
        quick = ["train.epochs=80", "train.batch_size=12", "train.lr=1e-2"] if head == "mlp" else []
        settings = config.load([ROOT / "conf"], "mean", head, overrides=quick, target="arousal+valence")
        Experiment(settings, data, features, folder / "exp" / head).run([1, 2, 3], [1])
    return folder


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_both_heads_learn_dimensions_in_their_units(trained, head):
    (scores,) = score.score([trained / "exp" / head])
    assert scores.pooled["CCC_arousal"].value > {"linear": 0.5, "mlp": 0.2}[head]
    for name in ("arousal", "valence"):
        labels, values = (scores.predictions.table[f"{kind}_{name}"] for kind in ("ref", "hyp"))
        assert abs(values.mean() - labels.mean()) < 0.5 * labels.std()
        assert scores.pooled[f"RMSE_{name}"].value < 1.5 * labels.std()
    assert scores.as_dict()["confusion"] == {}
    assert set(scores.subgroups[0].scores) == set(scores.scale.columns)


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_packed_fold_gives_the_values_of_predictions_tsv(trained, tmp_path, head):
    model_path = tmp_path / "model"
    bundle = pack(Packing(trained / "exp" / head, fold=1), model_path)
    assert bundle.settings.emotions == []
    assert bundle.settings.outputs == ["arousal", "valence"]
    data, model = datadir.read(trained / "data"), soctk.load(model_path)
    assert (model.emotions, model.dimensions) == ([], ["arousal", "valence"])
    (found,) = predictions.find(trained / "exp" / head).values()
    table = predictions.read(found).table
    for row in table[table["fold"] == 1].head(4).to_dict("records"):
        result = model(data.wav[row["utt"]])
        expected = {name: row[f"hyp_{name}"] for name in ("arousal", "valence")}
        assert result.dimensions == pytest.approx(expected, rel=2e-3)
        assert (result.emotion, result.posteriors) == ("", {})
        assert result.text.startswith("arousal ")
    samples, rate = audio.load_native(data.clip("spk0-sad-0"))
    with pytest.raises(ValueError, match=r"predicts values on dimensions, and no posteriors; use model\.values"):
        model.log_posteriors(samples, rate)
    card = (model_path / "README.md").read_text()
    assert "Predicts arousal, valence in speech." in card
    assert "print(result.dimensions)" in card
    assert "| CCC of arousal |" in card and "recall" not in card


def test_soctk_predict_has_a_column_for_each_dimension(trained, tmp_path):
    pack(Packing(trained / "exp" / "linear"), tmp_path / "model")
    recording = str(next(iter(datadir.read(trained / "data").wav.values())))

    def run(*options: str) -> str:
        result = CliRunner().invoke(predict.main, [str(tmp_path / "model"), recording, *options])
        assert result.exit_code == 0, result.output
        return result.stdout

    (row,) = csv.DictReader(io.StringIO(run()), delimiter="\t")
    assert list(row) == ["file", "start", "end", "arousal", "valence"]
    content = json.loads(run("--format", "jsonl"))
    assert content["dimensions"] == pytest.approx({name: float(row[name]) for name in ("arousal", "valence")}, abs=1e-5)
    assert "emotion" not in content
    assert f"arousal {float(row['arousal']):.3g}, valence" in run("--format", "audacity")
    *windows, whole = csv.DictReader(io.StringIO(run("--window", "0.1", "--hop", "0.1")), delimiter="\t")
    assert len(windows) > 1
    assert float(whole["arousal"]) == pytest.approx(np.mean([float(window["arousal"]) for window in windows]), abs=1e-3)
    result = CliRunner().invoke(
        predict.main, [str(tmp_path / "model"), recording, "--window", "0.1", "--plot", "x.png"]
    )
    assert result.exit_code == 1
    assert result.output == "Error: --plot: it draws posteriors, and this model predicts dimensions\nLeave it out.\n"


def test_a_corpus_with_dimensions_is_predicted_for_soctk_score(trained, tmp_path):
    pack(Packing(trained / "exp" / "linear", fold=1), tmp_path / "model")
    data, model = datadir.read(trained / "data"), Recogniser.load(tmp_path / "model")
    tested = data.only(data.utterances_of([1]))
    tested = dataclasses.replace(tested, fold=dict.fromkeys(tested.fold, 1), path=None)
    labelled.write(model, labelled.select(tested, model, {}), tmp_path / "exp", "cpu")
    (scores,) = score.score([tmp_path / "exp"])
    assert scores.pooled["CCC_arousal"].value > 0.4
    with pytest.raises(SoctkError, match="the corpus has no valence, which the model predicts\nAdd utt2valence to the"):
        labelled.select(dataclasses.replace(tested, dimensions={"arousal": {}}), model, {})
