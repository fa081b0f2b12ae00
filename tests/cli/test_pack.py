"""soctk-pack makes a model of an experiment, and says what it made or what is wrong."""

import hub_server
import pytest
from click.testing import CliRunner
from conftest import ROOT, write_corpus

from soctk import config
from soctk.cli import pack, predict
from soctk.features import extract
from soctk.features.store import FeatureStore
from soctk.inference import bundle
from soctk.inference import pack as packing
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """The directory of an experiment with three folds."""
    folder = tmp_path_factory.mktemp("work")
    data = write_corpus(folder)
    extract.extract(data, folder / "feats", extract.Extraction("fbank", "last"))
    features = Features(FeatureStore.open(folder / "feats"), data.utterances)
    Experiment(config.load([ROOT / "conf"], "mean", "linear"), data, features, folder / "exp").run([1, 2, 3], [1])
    return folder / "exp"


def invoke(*arguments):
    return CliRunner().invoke(pack.main, [str(argument) for argument in arguments])


def test_a_model_of_all_speakers_or_of_a_fold_is_written_and_described(experiment, tmp_path):
    result = invoke(experiment, tmp_path / "all")
    assert result.exit_code == 0, result.output
    start = f"{tmp_path / 'all'}: recognises calm, angry, sad; trained on 36 utterances of 6 speakers, folds all, C "
    assert result.stdout.startswith(start)
    result = invoke(experiment, tmp_path / "fold", "--fold", 2)
    assert "trained on 24 utterances of 4 speakers, folds all but 2, C " in result.stdout
    assert len(bundle.read(tmp_path / "all").recordings) == 36
    assert "| WA (%) |" in (tmp_path / "all" / "README.md").read_text()


def test_a_packed_model_classifies_recordings(experiment, tmp_path):
    assert invoke(experiment, tmp_path / "model").exit_code == 0
    recordings = experiment.parent / "recordings of the corpus"
    result = CliRunner().invoke(predict.main, [str(tmp_path / "model"), str(recordings)])
    assert result.exit_code == 0, result.output
    rows = [line.split("\t") for line in result.stdout.splitlines()[1:]]
    assert len(rows) == 36
    assert sum(row[0].split("/")[-1].split("-")[1] == row[3] for row in rows) > 30  # it was trained on them


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["exp", "exp"], "exp: it exists already\nRemove it, or choose another name."),
        (["gone", "model"], "gone: no finished runs\nGive the folder of an experiment, such as exp/NAME."),
        (["exp", "model", "--fold", "9"], "exp: no finished run fold9/seed1\nFinished runs: fold1/seed1, fold2/seed1"),
        (["exp", "model", "--seed", "9"], "exp: no finished run fold1/seed9"),
        (["exp", "model", "--data", "gone"], "exp: the experiment's directory for --data is not where it was: gone"),
        (["exp", "model", "--feats", "gone"], "directory for --feats is not where it was: gone\nGive it: --feats DIR."),
        (["exp", "model", "--with-encoder", "gone"], "gone: "),
    ],
)
def test_what_is_wrong_is_one_message_and_no_model_is_left(experiment, monkeypatch, arguments, message):
    monkeypatch.chdir(experiment.parent)
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert f"Error: {message}" in result.stderr or message in result.stderr
    assert isinstance(result.exception, SystemExit)
    assert not (experiment.parent / "model").exists()


@pytest.fixture
def server(monkeypatch, tmp_path):
    with hub_server.running() as hub:
        hub_server.connect(monkeypatch, hub.url, tmp_path / "cache")
        yield hub


def test_a_packed_model_is_uploaded_and_its_name_classifies_recordings(experiment, tmp_path, server):
    result = invoke(experiment, tmp_path / "model", "--push", "ada/emotions", "--private")
    assert result.exit_code == 0, result.output
    commit = next(iter(server.models["ada/emotions"].commits))
    assert result.stdout.endswith(
        f"{server.url}/ada/emotions: written, commit {commit}. Its model card has no licence yet: write it there into "
        "README.md.\nsoctk-predict ada/emotions RECORDING.wav\n"
    )
    recording = str(next(experiment.parent.glob("recordings of the corpus/*.wav")))
    by_name, by_folder = (
        CliRunner().invoke(predict.main, [str(model), recording]) for model in ("ada/emotions", tmp_path / "model")
    )
    assert by_name.exit_code == 0, by_name.output
    assert by_name.stdout == by_folder.stdout


def test_a_push_that_cannot_succeed_stops_before_training_and_a_failed_one_says_how_to_repeat_it(
    experiment, tmp_path, server, monkeypatch
):
    result = invoke(experiment, tmp_path / "model", "--push", "bob/emotions")
    assert result.exit_code == 1
    assert "--push bob/emotions: you have no right to write to this model on the Hugging Face hub" in result.stderr
    assert not (tmp_path / "model").exists()
    monkeypatch.setenv("HF_TOKEN", "reader")
    result = invoke(experiment, tmp_path / "model", "--push", "ada/emotions")
    assert result.exit_code == 1
    later = f"To upload it later: hf upload ada/emotions {tmp_path / 'model'}\n"
    assert result.stderr.endswith(f"The model is complete in {tmp_path / 'model'}. {later}")
    assert len(bundle.read(tmp_path / "model").recordings) == 36
    assert not server.models


def test_private_alone_has_no_meaning(experiment, tmp_path):
    result = invoke(experiment, tmp_path / "model", "--private")
    assert result.exit_code == 2
    assert "--private works with --push only" in result.stderr


def test_a_model_with_the_onnx_form_classifies_recordings_without_torch(experiment, tmp_path):
    result = invoke(experiment, tmp_path / "model", "--onnx")
    assert result.exit_code == 0, result.output
    recording = next((experiment.parent / "recordings of the corpus").glob("*.wav"))
    answers = [
        CliRunner().invoke(predict.main, [str(tmp_path / "model"), str(recording), "--runtime", runtime])
        for runtime in ("torch", "onnx")
    ]
    first, second = ([float(value) for value in one.stdout.split("\t")[-3:]] for one in answers)
    assert first == pytest.approx(second, abs=1e-4)
    assert "posteriors are the same up to rounding" in (tmp_path / "model" / "README.md").read_text()


def test_int8_is_part_of_the_onnx_form(experiment, tmp_path):
    result = invoke(experiment, tmp_path / "model", "--int8")
    assert result.exit_code == 2
    assert "--int8 works with --onnx only" in result.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"precision": "bfloat16"},
            "--onnx: the features were computed in bfloat16, and the ONNX form computes in float",
        ),
        (
            {"source": "sha256:0"},
            "--onnx: the ONNX form is made from the encoder fbank, whose folder is not given\nGive",
        ),
    ],
)
def test_a_model_that_cannot_run_without_torch_is_refused_before_training(
    experiment, tmp_path, monkeypatch, changes, message
):
    settings = packing._encoder_settings
    monkeypatch.setattr(
        packing, "_encoder_settings", lambda made: [own.model_copy(update=changes) for own in settings(made)]
    )
    monkeypatch.setattr(packing.final, "on_all_speakers", None)
    result = invoke(experiment, tmp_path / "model", "--onnx")
    assert result.exit_code == 1
    assert message in result.stderr
    assert not (tmp_path / "model").exists()
