"""soctk-predict on speech alone (--vad), and its figure of emotions over time (--plot)."""

import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from PIL import Image
from random_models import RATE, noise, random_bundle

from soctk.cli import classify, predict
from soctk.corpus import decoding
from soctk.inference import bundle as bundles
from soctk.inference import speech
from soctk.inference.answers import Division
from soctk.inference.recogniser import Recogniser
from soctk.reporting import timeline

EMOTIONS = ["calm", "angry", "sad"]


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A folder with a model, and with recordings in the folder `in`."""
    work = tmp_path_factory.mktemp("work")
    (work / "model").mkdir()
    bundles.write(work / "model", random_bundle("mean+soc_full"))
    (work / "in").mkdir()
    for name, seconds in (("a", 9.0), ("b", 2.0)):
        soundfile.write(work / "in" / f"{name}.wav", noise(seconds).T, RATE)
    return work


@pytest.fixture(autouse=True)
def here(work, monkeypatch):
    monkeypatch.chdir(work)


@pytest.fixture
def speech_is(monkeypatch):
    """Return a function that sets the stretches that are found, in s."""

    def set_stretches(*stretches: tuple[float, float]) -> None:
        monkeypatch.setattr(
            speech, "find", lambda _, rate, longest: [(round(a * rate), round(b * rate)) for a, b in stretches]
        )

    return set_stretches


def invoke(*arguments, **options):
    return CliRunner().invoke(predict.main, [str(argument) for argument in arguments], **options)


def rows(result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    return [line.split("\t") for line in result.stdout.splitlines()[1:]]


def test_each_stretch_has_a_line_and_the_whole_is_their_mean_by_duration(speech_is):
    speech_is((1.0, 2.0), (4.0, 8.0))
    first, second, whole = rows(invoke("model", "in/a.wav", "--vad"))
    assert [line[1:3] for line in (first, second, whole)] == [
        ["1.000", "2.000"], ["4.000", "8.000"], ["1.000", "8.000"],
    ]  # fmt: skip
    values = np.array([line[5:] for line in (first, second, whole)], dtype=float)
    np.testing.assert_allclose((values[0] + 4 * values[1]) / 5, values[2], atol=2e-6)
    assert abs(values[0] - values[1]).max() > 1e-3
    assert whole[3] == EMOTIONS[values[2].argmax()]
    own = Recogniser.load(Path("model"))(noise(9.0)[:, RATE : 2 * RATE], RATE)
    np.testing.assert_allclose(values[0], list(own.posteriors.values()), atol=1e-3)  # the file has 16 bits


def test_windows_within_speech_have_a_line_each(speech_is):
    speech_is((1.0, 3.0), (5.0, 5.5))
    lines = rows(invoke("model", "in/a.wav", "--vad", "--window", "1", "--hop", "0.5"))
    assert [line[1:3] for line in lines] == [
        ["1.000", "2.000"], ["1.500", "2.500"], ["2.000", "3.000"], ["5.000", "5.500"], ["1.000", "5.500"],
    ]  # fmt: skip
    values = np.array([line[5:] for line in lines], dtype=float)
    np.testing.assert_allclose(values[:-1].mean(0), values[-1], atol=2e-6)


def test_sound_from_a_pipe_is_divided_into_speech_too(speech_is):
    speech_is((1.0, 2.0))
    result = invoke("model", "-", "--vad", input=Path("in/a.wav").read_bytes())
    assert [line[:3] for line in rows(result)] == [["-", "1.000", "2.000"]] * 2


def test_a_recording_without_speech_is_named_and_the_others_are_done(monkeypatch):
    monkeypatch.setattr(
        speech, "find", lambda pieces, rate, longest: [(0, rate)] if sum(map(len, pieces)) > 3 * rate else []
    )
    result = invoke("model", "in/b.wav", "in/a.wav", "--vad")
    assert result.exit_code == 1
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == ["file", "in/a.wav", "in/a.wav"]
    assert result.stderr.splitlines() == [
        "Error: in/b.wav: no speech is found in it",
        "1 of the inputs could not be classified. What to do:",
        "  (1) Check the recording, or classify all of it (no --vad).",
    ]


def test_noise_has_no_speech(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("silero_vad")
    result = invoke("model", "in/b.wav", "--vad", "-o", tmp_path / "out.tsv")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: in/b.wav: no speech is found in it\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("style", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("SVG", b"<?xml")])
def test_a_figure_is_drawn_beside_the_output(tmp_path, style, start):
    plot = tmp_path / "new" / f"plot.{style}"
    plain = invoke("model", "in/a.wav", "--window", "1")
    result = invoke("model", "in/a.wav", "--window", "1", "--plot", plot)
    assert (result.exit_code, result.output) == (0, plain.output)
    assert plot.read_bytes().startswith(start)


def test_the_figure_shows_the_windows_and_not_the_whole(tmp_path, monkeypatch, speech_is):
    speech_is((1.0, 2.0), (4.0, 8.0))
    drawn, draw = [], timeline.draw
    monkeypatch.setattr(
        timeline, "draw", lambda windows, emotions: drawn.append((windows, emotions)) or draw(*drawn[0])
    )
    lines = rows(invoke("model", "in/a.wav", "--vad", "--plot", tmp_path / "a.png"))
    ((windows, emotions),) = drawn
    assert emotions == EMOTIONS
    assert [(window.start, window.end) for window in windows] == [(1, 2), (4, 8)]
    assert [f"{window.result.confidence:.6f}" for window in windows] == [line[4] for line in lines[:2]]
    assert Image.open(tmp_path / "a.png").size[0] == 1200


@pytest.mark.slow
def test_a_stream_is_drawn_at_its_end(tmp_path):
    plot = tmp_path / "stream.png"

    class Pipe:
        def isatty(self):
            return False

        def fileno(self):
            return file.fileno()

    with Path("in/a.wav").open("rb") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict.sys, "stdin", Pipe())
        windows = list(classify.listen(classify.Method(Recogniser.load(Path("model")), None, Division(3.0))))
        list(classify.plotted(windows, EMOTIONS, plot, classify.Problems()))
    assert len(windows) == 7
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_no_figure_appears_if_something_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "_BLOCK", RATE)
    samples = noise(6.0)[0]
    samples[4 * RATE] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, RATE, subtype="FLOAT")
    result = invoke("model", tmp_path / "nan.wav", "--window", "1", "--plot", tmp_path / "a.png")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 4  # a header and the windows before the fault
    result = invoke("model", "in/a.wav", "--window", "1", "--plot", "in/a.wav")
    assert result.exit_code == 2
    assert "--plot FILE ends with one of .png, .pdf, .svg" in result.stderr

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Recogniser, "windows", interrupt)
    result = invoke("model", "in/a.wav", "--window", "1", "--plot", tmp_path / "a.png", "-o", tmp_path / "o")
    assert result.exit_code == 128 + signal.SIGINT
    assert result.stderr == f"Interrupted. {tmp_path / 'o'} is not written. {tmp_path / 'a.png'} is not written.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["nan.wav"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in/a.wav", "--plot", "a.png"], "--plot draws emotions over time; add --window, --vad or --stream"),
        (["in/a.wav", "--window", "1", "--plot", "a.jpg"], "--plot FILE ends with one of .png, .pdf, .svg"),
        (["in/a.wav", "--window", "1", "--plot", "a.svg", "-o", "a.svg"], "--plot and -o are the same file"),
        (["in", "--vad", "--plot", "a.png"], "--plot draws one recording, not 2; run the command for each"),
        (["-", "--stream", "--vad"], "--vad needs the end of the sound, so it does not work with --stream"),
        (["in/a.wav", "--vad", "--hop", "1"], "--hop works with --window or --stream only"),
        (["in", "--score", "x", "--vad"], "--score writes predictions for soctk-score; --vad does not work with it"),
    ],
)
def test_options_that_contradict_each_other_are_wrong_usage(arguments, message):
    result = invoke("model", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
