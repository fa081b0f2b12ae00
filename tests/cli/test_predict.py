"""soctk-predict gives an answer or a message for each input, in each way to give sound."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from click.testing import CliRunner
from conftest import ROOT, accept_interrupts, write_corpus
from random_models import RATE, noise, random_bundle

from soctk.cli import predict
from soctk.corpus import audio, datadir
from soctk.inference import bundle as bundles
from soctk.inference.recogniser import Recogniser
from soctk.scoring import score

RUN = [sys.executable, "-c", "from soctk.cli.predict import main; main()"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def write_model(folder: Path, *arguments, **options) -> Path:
    folder.mkdir()
    bundles.write(folder, random_bundle(*arguments, **options))
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A folder with models, and with recordings in the folder `in`."""
    work = tmp_path_factory.mktemp("work")
    write_model(work / "model")
    write_model(work / "recentred", "mean", "linear", "recentre.by=speaker")
    (work / "in").mkdir()
    for number, seconds in enumerate((1.0, 0.6, 2.3)):
        soundfile.write(work / "in" / f"{number}.wav", noise(seconds, seed=number).T, RATE)
    return work


@pytest.fixture(autouse=True)
def here(work, monkeypatch):
    monkeypatch.chdir(work)


def invoke(*arguments, **options):
    return CliRunner().invoke(predict.main, [str(argument) for argument in arguments], **options)


def rows(result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    return [line.split("\t") for line in result.stdout.splitlines()]


def test_each_recording_has_a_line_with_the_posteriors_of_the_model():
    header, *lines = rows(invoke("model", "in"))
    assert header == ["file", "start", "end", "emotion", "confidence", "calm", "angry", "sad"]
    assert [line[:3] for line in lines] == [
        ["in/0.wav", "0.000", "1.000"], ["in/1.wav", "0.000", "0.600"], ["in/2.wav", "0.000", "2.300"],
    ]  # fmt: skip
    model = Recogniser.load(Path("model"))
    for line in lines:
        expected = model(line[0])
        assert line[3] == expected.emotion
        posteriors = [expected.confidence, *expected.posteriors.values()]
        np.testing.assert_allclose([float(value) for value in line[4:]], posteriors, atol=1e-6)


def test_inputs_that_cannot_be_used_are_named_and_the_others_are_done(tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "empty").mkdir()
    result = invoke("model", "gone\nnow.wav", "in/1.wav", tmp_path / "text.wav", tmp_path / "empty", "in/0.wav")
    assert result.exit_code == 1
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == ["file", "in/1.wav", "in/0.wav"]
    errors = result.stderr.splitlines()
    assert errors[0] == f"Error: {tmp_path / 'empty'}: no recordings in this folder"
    assert "Error: gone\\nnow.wav: no such file" in errors
    assert any(line.startswith(f"Error: {tmp_path / 'text.wav'}: a text file") for line in errors)
    assert "3 of the inputs could not be classified. What to do:" in errors


def test_repeated_inputs_are_done_once():
    result = invoke("model", "in/0.wav", "in", "./in/0.wav")
    assert len(rows(result)) == 4
    assert "Note: 2 repeated inputs are classified once." in result.stderr


def test_a_silent_channel_is_noted(tmp_path):
    soundfile.write(tmp_path / "stereo.wav", np.stack([np.zeros(RATE), noise(1.0)[0]], axis=1), RATE)
    note = (
        f"Note: {tmp_path}/stereo.wav: channel 1 is silent (all samples are 0), so the answer means nothing. Check the "
        "recording, or choose another --channel.\n"
    )
    for options in ([], ["--window", "0.4", "--hop", "0.4"]):
        result = invoke("model", tmp_path / "stereo.wav", *options)
        assert rows(result)
        assert result.stderr == note
        assert invoke("model", tmp_path / "stereo.wav", "--channel", "2", *options).stderr == ""
    assert "all channels are silent" not in invoke("model", tmp_path / "stereo.wav", "--channel", "mix").stderr


def test_windows_are_followed_by_the_whole_the_mean_of_their_posteriors():
    _, *lines = rows(invoke("model", "in/2.wav", "--window", "1", "--hop", "0.5"))
    assert [line[1:3] for line in lines] == [
        ["0.000", "1.000"], ["0.500", "1.500"], ["1.000", "2.000"], ["1.500", "2.300"], ["0.000", "2.300"],
    ]  # fmt: skip
    posteriors = np.array([[float(value) for value in line[5:]] for line in lines])
    np.testing.assert_allclose(posteriors[:-1].mean(0), posteriors[-1], atol=2e-6)
    assert np.ptp(posteriors[:-1], axis=0).max() > 1e-3
    whole = lines[-1]
    assert whole[3] == ["calm", "angry", "sad"][posteriors[-1].argmax()]
    assert float(whole[4]) == posteriors[-1].max()


def test_a_window_shorter_than_the_usual_hop_moves_by_its_own_length():
    _, *lines = rows(invoke("model", "in/0.wav", "--window", "0.5"))
    assert [line[1:3] for line in lines] == [["0.000", "0.500"], ["0.500", "1.000"], ["0.000", "1.000"]]


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl", "audformat"])
def test_a_file_gets_what_the_screen_gets(tmp_path, form):
    screen = invoke("model", "in", "--format", form)
    result = invoke("model", "in", "--format", form, "-o", tmp_path / "new" / "out")
    assert (result.exit_code, result.stdout) == (0, "")
    assert (tmp_path / "new" / "out").read_text() == screen.stdout


def test_a_file_appears_only_if_something_is_classified(tmp_path):
    result = invoke("model", "gone.wav", "in/0.wav", "-o", tmp_path / "some.tsv")
    assert result.exit_code == 1
    assert len((tmp_path / "some.tsv").read_text().splitlines()) == 2
    result = invoke("model", "gone.wav", "-o", tmp_path / "none.tsv")
    assert result.exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["some.tsv"]


def test_an_input_is_not_overwritten(tmp_path):
    content = Path("in/0.wav").read_bytes()
    result = invoke("model", "in/0.wav", "-o", "in/0.wav")
    assert (result.exit_code, result.stderr) == (
        1, "Error: --output in/0.wav: it is one of the inputs\nChoose another file.\n",
    )  # fmt: skip
    assert Path("in/0.wav").read_bytes() == content


def test_a_data_directory_is_read_in_its_channel(tmp_path):
    data = write_corpus(tmp_path, utterances_each=1)
    for path in data.wav.values():
        samples, rate = soundfile.read(path)
        soundfile.write(path, np.stack([0.1 * samples[::-1], samples], 1), rate)
    (tmp_path / "data" / "channel").write_text("2\n")
    _, *lines = rows(invoke("model", tmp_path / "data"))
    second = rows(invoke("model", *data.wav.values(), "--channel", "2"))[1:]
    first = rows(invoke("model", *data.wav.values()))[1:]
    assert len(lines) == 18
    assert lines == second
    assert lines != first
    windows = rows(invoke("model", tmp_path / "data", "--window", "9"))[1:]
    assert windows[1::2] == lines


def load_short(monkeypatch) -> None:
    """Let models be loaded with an encoder that takes 2 s at most."""
    load = Recogniser.load

    def short(*arguments):
        model = load(*arguments)
        model.runtime.encoder.max_seconds = 2.0
        return model

    monkeypatch.setattr(Recogniser, "load", short)


def test_an_error_of_the_encoder_names_the_option_window(monkeypatch):
    load_short(monkeypatch)
    result = invoke("model", "in")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 3
    assert "Error: in/2.wav: the recording has 2.3 s, and the encoder takes 2 s\n" in result.stderr
    assert "soctk-predict --window 3" in result.stderr
    result = invoke("model", "in", "--window", "3")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: --window, --hop: window is 3 s")
    assert len(rows(invoke("model", "in/2.wav", "--window", "1.5"))) == 4


@pytest.mark.parametrize("options", [[], ["--window", "0.5"]])
def test_sound_from_a_pipe_gets_the_answers_of_the_file(options):
    content = Path("in/2.wav").read_bytes()
    expected = [["-", *line[1:]] for line in rows(invoke("model", "in/2.wav", *options))[1:]]
    assert rows(invoke("model", "-", *options, input=content))[1:] == expected
    samples = (soundfile.read("in/2.wav", dtype="int16")[0]).astype("<i2").tobytes()
    assert rows(invoke("model", "-", "--rate", RATE, *options, input=samples + b"!"))[1:] == expected
    assert expected == rows(invoke("model", "in/0.wav", "-", *options, input=content))[-len(expected) :]


def test_a_pipe_without_sound_is_named():
    result = invoke("model", "-", input=b"")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: -: no sound arrived on standard input\n")
    result = invoke("model", "-", "in/0.wav", input=b"no sound")
    assert "Error: -: a text file" in result.stderr
    assert len(result.stdout.splitlines()) == 2


def stream(*options, source: Path, **more):
    with source.open("rb") as file:
        return subprocess.run(
            [*RUN, "model", "-", "--stream", *options], stdin=file, capture_output=True, text=True, env=ENVIRONMENT,
            **more,
        )  # fmt: skip


@pytest.mark.slow
def test_a_stream_prints_each_window_while_the_sound_arrives():
    expected = rows(invoke("model", "in/2.wav", "--window", "1", "--hop", "0.5"))[1:-1]
    content = Path("in/2.wav").read_bytes()
    command = [*RUN, "model", "-", "--stream", "--window", "1", "--hop", "0.5"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT)
    process.stdin.write(content[: 44 + 2 * int(1.2 * RATE)])
    process.stdin.flush()
    assert process.stdout.readline().startswith(b"file\t")
    first = process.stdout.readline().decode().split()  # the rest of the sound has not arrived yet
    output, _ = process.communicate(content[44 + 2 * int(1.2 * RATE) :])
    lines = [first, *(line.split() for line in output.decode().splitlines())]
    assert lines == [["-", *line[1:]] for line in expected]
    assert process.returncode == 0


@pytest.mark.slow
def test_a_stream_of_raw_samples_and_of_no_sound(tmp_path):
    (tmp_path / "raw").write_bytes(soundfile.read("in/2.wav", dtype="int16")[0].astype("<i2").tobytes())
    result = stream("--rate", str(RATE), "--format", "jsonl", source=tmp_path / "raw")
    assert [json.loads(line)["end"] for line in result.stdout.splitlines()] == [2.3]
    for options in ([], ["--rate", "8000"]):
        result = stream(*options, source=Path(os.devnull))
        assert result.returncode == 1
        assert result.stderr.startswith("Error: -: no sound")
        assert "Traceback" not in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["interrupt", "closed output"])
def test_an_interrupt_or_a_closed_output_ends_a_stream_without_a_traceback(ending):
    process = subprocess.Popen(
        [*RUN, "model", "-", "--stream", "--window", "0.5", "--rate", str(RATE)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT, preexec_fn=accept_interrupts,
    )  # fmt: skip
    second = (1000 * noise(1.0)).astype("<i2").tobytes()
    process.stdin.write(second)
    process.stdin.flush()
    process.stdout.readline()
    if ending == "interrupt":
        process.send_signal(signal.SIGINT)
    else:
        process.stdout.close()
    process.stdin.write(second)
    process.stdin.close()
    errors = process.stderr.read().decode()
    code = process.wait()
    assert "Traceback" not in errors
    if ending == "interrupt":
        assert code == 130
        assert errors.strip() == "Interrupted."
    else:
        assert code == 1
        assert errors == ""


def test_a_recentred_model_needs_recordings_of_the_speaker_and_says_why():
    result = invoke("recentred", "in")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: recentred: this model subtracts the mean descriptor of the speaker")
    assert "--enrol DIR" in result.stderr
    _, *lines = rows(invoke("recentred", "in", "--enrol", "in"))
    model = Recogniser.load(Path("recentred"))
    speaker = model.enrol(["in/0.wav", "in/1.wav", "in/2.wav"])
    for line in lines:
        expected = model(line[0], speaker=speaker).posteriors.values()
        np.testing.assert_allclose([float(value) for value in line[5:]], list(expected), atol=1e-6)


def test_enrol_is_refused_where_it_has_no_use_or_cannot_be_used(tmp_path):
    result = invoke("model", "in", "--enrol", "in")
    assert result.stderr.startswith("Error: model: this model has no re-centring")
    for content in ([], ["bad.wav"]):
        for name in content:
            (tmp_path / name).write_text("no sound")
        result = invoke("recentred", "in", "--enrol", tmp_path)
        assert (result.exit_code, result.stdout) == (1, "")
        assert str(tmp_path) in result.stderr


def test_a_recording_of_the_speaker_that_is_too_long_is_named(monkeypatch):
    load_short(monkeypatch)
    result = invoke("recentred", "in/0.wav", "--enrol", "in")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: in/2.wav: this recording of the speaker cannot be used: the recording has ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model"], "Missing argument 'INPUT...'"),
        (["model", "in", "--hop", "1"], "--hop works with --window or --stream only"),
        (["model", "in", "--window", "inf"], "'inf' is not a time greater than 0"),
        (["model", "in", "--window", "nan"], "'nan' is not a time greater than 0"),
        (["model", "in", "--window", "0"], "'0' is not a time greater than 0"),
        (["model", "in", "--rate", "8000"], "--rate is for raw samples from a pipe"),
        (["model", "in", "--stream"], "--stream takes - as the only INPUT"),
        (["model", "-", "in", "--stream"], "--stream takes - as the only INPUT"),
        (["model", "-", "--stream", "-o", "x"], "write > FILE instead of -o FILE"),
        (["model", "-", "--stream", "--format", "textgrid"], "textgrid cannot be written while the sound arrives"),
        (["model", "-", "-"], "- is given more than once"),
        (["model", "in", "--format", "textgrid"], "--format textgrid describes one recording, not 3"),
        (["model", "in", "--format", "audacity"], "--format audacity describes one recording, not 3"),
        (["model", "in", "--labels", "x"], "--labels works with --score only"),
        (["model", "in", "--score", "x", "--window", "3"], "--window does not work with it"),
        (["model", "in", "--score", "x", "--format", "csv"], "--format does not work with it"),
        (["model", "in", "in", "--score", "x"], "--score takes one data directory"),
    ],
)
def test_options_that_contradict_each_other_are_wrong_usage(arguments, message):
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in", "in"], "in: not a packed model: it has no config.yaml\nGive the folder that soctk-pack wrote."),
        (["model", "in", "--window", "0.01"], "--window, --hop: window is 0.01 s"),
        (["model", "in", "--window", "1", "--hop", "2"], "--window, --hop: hop is 2 s"),
        (["model", "in", "--channel", "left"], "--channel: unknown channel 'left'"),
        (["model", "in", "--score", "x"], "in: not a data directory"),
    ],
)
def test_errors_before_any_recording_are_one_message(arguments, message):
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {message}")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    """A folder with a data directory with the labels calm, angry and sad."""
    folder = tmp_path_factory.mktemp("labelled")
    write_corpus(folder)
    return folder


@pytest.mark.parametrize("model", ["model", "recentred"])
def test_scored_predictions_are_read_by_soctk_score(labelled, tmp_path, model):
    result = invoke(model, labelled / "data", "--score", tmp_path / "exp")
    assert result.exit_code == 0, result.output
    assert "data: 36 utterances, dropped: none\n" in result.stdout
    (scores,) = score.score([tmp_path / "exp"])
    assert scores.is_recentred == (model == "recentred")
    assert scores.protocol == "cross-corpus"
    table = pd.read_csv(tmp_path / "exp" / "fold1" / "seed1" / "predictions.tsv", sep="\t", index_col="utt")
    data, loaded = datadir.read(labelled / "data"), Recogniser.load(Path(model))
    assert list(table.index) == list(data.wav)
    for utt in list(data.wav)[::9]:
        own = [path for other, path in data.wav.items() if data.speaker[other] == data.speaker[utt]]
        speaker = loaded.enrol(own) if loaded.is_recentred else None
        expected = loaded(data.wav[utt], speaker=speaker)
        np.testing.assert_allclose(
            table.loc[utt, loaded.emotions].astype(float), list(expected.posteriors.values()), atol=1e-6
        )
        assert tuple(table.loc[utt, ["spk", "ref", "hyp"]]) == (data.speaker[utt], data.emotion[utt], expected.emotion)
    assert 100 * (table["ref"] == table["hyp"]).mean() == pytest.approx(scores.runs["WA"][0])
    again = invoke(model, labelled / "data", "--score", tmp_path / "exp")
    assert "exp/fold1/seed1: it exists already" in again.stderr


def test_a_label_map_renames_and_drops_labels_and_counts_them(labelled, tmp_path):
    (tmp_path / "labels.yaml").write_text("angry: sad\nsad: angry\ncalm: null\n")
    result = invoke("model", labelled / "data", "--score", tmp_path / "exp", "--labels", tmp_path / "labels.yaml")
    assert "data: 24 utterances, dropped: calm 12\n" in result.stdout
    table = pd.read_csv(tmp_path / "exp" / "fold1" / "seed1" / "predictions.tsv", sep="\t")
    assert set(zip(table["utt"].str.split("-").str[1], table["ref"], strict=True)) == {
        ("angry", "sad"),
        ("sad", "angry"),
    }
    assert score.score([tmp_path / "exp"])[0].runs["utterances"][0] == 24
    (tmp_path / "labels.yaml").write_text("angry: Wut\nsad: Trauer\ncalm: Ruhe\n")
    result = invoke("model", labelled / "data", "--score", tmp_path / "no", "--labels", tmp_path / "labels.yaml")
    assert result.exit_code == 1
    assert "the corpus has the classes Ruhe, Wut, Trauer, and the model has calm, angry, sad" in result.stderr


def test_recordings_that_trained_the_model_are_not_scored(labelled, tmp_path):
    data = datadir.read(labelled / "data")
    trained = list(data.wav)[5]
    digest = audio.check({trained: data.wav[trained]})[trained].digest
    (tmp_path / "model").mkdir()
    bundles.write(tmp_path / "model", replace(random_bundle(), recordings=[digest]))
    result = invoke(tmp_path / "model", labelled / "data", "--score", tmp_path / "exp")
    assert result.exit_code == 1
    assert (
        f"1 of 36 recordings trained this model, so its scores on them would be too high\n  {trained} " in result.stderr
    )
    assert not (tmp_path / "exp").exists()


def test_a_corpus_with_an_unusable_recording_is_not_scored(tmp_path):
    data = write_corpus(tmp_path, utterances_each=1)
    utt, path = next(iter(data.wav.items()))
    path.write_text("no sound")
    result = invoke("model", tmp_path / "data", "--score", tmp_path / "exp")
    assert result.exit_code == 1
    assert "1 of 18 recordings cannot be used" in result.stderr
    assert utt in result.stderr
    assert not (tmp_path / "exp").exists()


def test_help_does_not_import_torch():
    code = "import sys; from soctk.cli.predict import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print('TORCH' if 'torch' in sys.modules else 'LIGHT')"
    assert subprocess.check_output([sys.executable, "-c", code], env=ENVIRONMENT, text=True).endswith("LIGHT\n")
