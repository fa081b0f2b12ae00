"""The page of soctk-demo gives the numbers of soctk-predict, and a message for sound that it cannot use."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pandas as pd
import pytest
import soundfile
from click.testing import CliRunner
from conftest import ROOT, accept_interrupts
from random_models import RATE, noise, random_bundle

import soctk
from soctk.cli import demo as command
from soctk.cli import predict
from soctk.inference import bundle, demo

gradio = pytest.importorskip("gradio", reason="needs gradio; bin/setup demo installs it")
gradio_client = pytest.importorskip("gradio_client")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    soundfile.write(folder / "short.wav", noise(2.0)[0], RATE, "FLOAT")
    soundfile.write(folder / "long.flac", noise(11.0, seed=1)[0], RATE)
    soundfile.write(folder / "tiny.wav", noise(0.02)[0], RATE)
    soundfile.write(folder / "silent.wav", 0 * noise(1.0)[0], RATE)
    (folder / "text.wav").write_text("no sound")
    return folder


def write_model(folder: Path, *settings: str) -> Path:
    folder.mkdir()
    bundle.write(folder, random_bundle(*settings))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model, one with re-centring, and one of dimensions."""
    folder = tmp_path_factory.mktemp("models")
    recentred = write_model(folder / "recentred", "mean", "linear", "recentre.by=speaker")
    (folder / "dimensions").mkdir()
    classes = random_bundle()
    experiment = classes.settings.experiment.model_copy(update={"target": "arousal+valence"})
    settings = classes.settings.model_copy(update={"emotions": [], "experiment": experiment})
    weights = {name: weight[:2] if name.startswith("head.") else weight for name, weight in classes.weights.items()}
    bundle.write(folder / "dimensions", replace(classes, settings=settings, weights=weights))
    return {"plain": write_model(folder / "plain"), "recentred": recentred, "dimensions": folder / "dimensions"}


@contextmanager
def running(folder):
    """Yield a client of the page of a model."""
    with demo.running(demo.Demo(soctk.load(folder), 3.0, 1.0), "127.0.0.1", None) as address:
        yield gradio_client.Client(address, verbose=False)


@pytest.fixture(scope="module")
def page(folders):
    with running(folders["plain"]) as client:
        yield client


def ask(client, *files, text=False):
    """Return what the page shows: problem, posteriors (or the text), rows of the time line, and the table as text."""
    handles = [
        [gradio_client.handle_file(one) for one in file] if isinstance(file, list) else gradio_client.handle_file(file)
        for file in files
    ]
    problem, label, plot, table = client.predict(*handles, api_name="/classify")
    posteriors = {one["label"]: one["confidence"] for one in label.get("confidences") or []}
    timeline = pd.DataFrame(plot["data"], columns=plot["columns"])
    return (
        problem,
        label["label"] if text else posteriors,
        timeline,
        pd.DataFrame(table["data"], columns=table["headers"]),
    )


def predicted(model, *arguments):
    """Return the table of soctk-predict as text, without the names of the recordings."""
    result = CliRunner().invoke(predict.main, [str(argument) for argument in (model, *arguments)])
    assert result.exit_code == 0, result.output
    return pd.read_csv(io.StringIO(result.stdout), sep="\t", dtype=str).drop(columns="file")


@pytest.mark.slow
def test_the_page_shows_the_numbers_of_soctk_predict(page, folders, recordings):
    problem, posteriors, timeline, table = ask(page, recordings / "short.wav")
    expected = predicted(folders["plain"], recordings / "short.wav")
    assert problem == ""
    assert len(timeline) == 0
    pd.testing.assert_frame_equal(table, expected)
    assert posteriors == pytest.approx({emotion: float(expected[emotion][0]) for emotion in posteriors}, abs=1e-6)
    assert posteriors.keys() == {"calm", "angry", "sad"}


@pytest.mark.slow
def test_a_long_recording_has_a_time_line(page, folders, recordings):
    _, posteriors, timeline, table = ask(page, recordings / "long.flac")
    expected = predicted(folders["plain"], recordings / "long.flac", "--window", 3, "--hop", 1)
    pd.testing.assert_frame_equal(table, expected)
    assert len(table) == 10  # 9 windows, the last one from 8 s to 11 s, and the whole
    assert posteriors == pytest.approx({emotion: float(expected[emotion].iloc[-1]) for emotion in posteriors}, abs=1e-6)
    for emotion in posteriors:
        line = timeline[timeline["emotion"] == emotion]
        assert line["time (s)"].tolist() == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5]
        assert line["posterior"].tolist() == pytest.approx(expected[emotion][:-1].astype(float).tolist(), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text.wav", r"^a text file that begins with 'no sound'\n"),
        ("silent.wav", r"^it is silent: all samples are 0\nUse another recording\."),
        ("tiny.wav", r"^20 ms of audio; at least 50 ms are needed\n|20\.0 ms"),
    ],
)
def test_sound_that_cannot_be_used_is_a_message_without_the_path_of_a_temporary_file(page, recordings, name, message):
    problem, posteriors, timeline, table = ask(page, recordings / name)
    assert re.search(message, problem)
    assert "/" not in problem
    assert (posteriors, len(timeline), len(table)) == ({}, 0, 0)


@pytest.mark.slow
def test_a_model_with_recentring_takes_recordings_of_the_speaker(folders, recordings):
    short, other = recordings / "short.wav", recordings / "long.flac"
    with running(folders["recentred"]) as page:
        problem, *_ = ask(page, short, [])
        assert problem == (
            "this model subtracts the mean descriptor of the speaker, so it needs other recordings of the speaker\n"
            "Add some; they need no labels."
        )
        problem, _, _, table = ask(page, short, [other])
        assert problem == ""
        pd.testing.assert_frame_equal(table, predicted(folders["recentred"], short, "--enrol", other))
        problem, *_ = ask(page, short, [recordings / "text.wav"])
    assert problem.startswith("a recording of the speaker cannot be used: a text file that begins with 'no sound'\n")


@pytest.mark.slow
def test_a_model_of_dimensions_shows_their_values(folders, recordings):
    with running(folders["dimensions"]) as page:
        problem, answer, timeline, table = ask(page, recordings / "long.flac", text=True)
        assert "Dimensions over time" in httpx.get(page.src).text
    assert problem == ""
    expected = predicted(folders["dimensions"], recordings / "long.flac", "--window", 3, "--hop", 1)
    pd.testing.assert_frame_equal(table, expected)
    arousal, valence = (float(expected[name].iloc[-1]) for name in ("arousal", "valence"))
    assert answer == f"arousal {arousal:.3g}, valence {valence:.3g}"
    assert timeline.columns.tolist() == ["time (s)", "dimension", "value"]
    line = timeline[timeline["dimension"] == "valence"]
    assert line["value"].tolist() == pytest.approx(expected["valence"][:-1].astype(float).tolist(), abs=1e-6)


@pytest.mark.slow
def test_the_page_names_no_other_server_and_sends_no_statistics(page):
    text = httpx.get(page.src).raise_for_status().text
    loaded = r'<(?:script|img|iframe)[^>]* src="(https?:)?//|<link[^>]* rel="(?:stylesheet|preconnect)"[^>]*"https?://'
    assert not re.search(loaded, text)
    stylesheet = httpx.get(f"{page.src}theme.css").raise_for_status().text
    assert "system-ui" in stylesheet
    assert not re.search(r"(url\(|@import)\W*(https?:)?//", stylesheet)
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert not gradio.analytics.analytics_enabled()


@pytest.mark.slow
def test_uploaded_recordings_are_gone_when_the_page_is_closed(folders, recordings):
    with running(folders["plain"]) as page:
        ask(page, recordings / "short.wav")
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        assert list(folder.rglob("short.wav"))
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


def invoke(*arguments):
    return CliRunner().invoke(command.main, [str(argument) for argument in arguments])


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "code", "message"), [(signal.SIGINT, 0, "Ended.\n"), (signal.SIGTERM, 143, "")])
def test_the_command_ends_by_a_signal_and_leaves_no_recordings(folders, tmp_path, ending, code, message):
    process = subprocess.Popen(
        [sys.executable, "-uc", "from soctk.cli.demo import main; main()", folders["plain"]],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE, text=True, preexec_fn=accept_interrupts,
    )  # fmt: skip
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/ shows the page\. Ctrl-C ends it\.\n", process.stdout.readline())
    assert list(tmp_path.glob("soctk-demo-*"))
    process.send_signal(ending)
    assert process.communicate()[0] == message
    assert process.returncode == code
    assert not list(tmp_path.glob("soctk-demo-*"))


@pytest.mark.slow
def test_a_port_in_use_is_one_message(folders):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = invoke(folders["plain"], "--port", taken.getsockname()[1])
    assert result.exit_code == 1
    assert "Error: --host 127.0.0.1: the page cannot be served there (" in result.stderr
    assert "Choose another --port" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window", "0.01"], "--window, --hop: window is 0.01 s; choose at least 0.05 s\nChange --window or --hop."),
        (["--hop", "4"], "hop is 4 s; choose 0.01 s to 3 s, the length of the window"),
    ],
)
def test_windows_that_the_model_does_not_take_are_refused(folders, arguments, message):
    result = invoke(folders["plain"], *arguments)
    assert result.exit_code == 1
    assert message in result.stderr


def test_without_gradio_the_extra_is_named(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    result = invoke(folders["plain"])
    assert result.exit_code == 1
    assert (
        "Error: the page needs the package gradio, which is not installed\nInstall the extra demo: pip install"
        in result.stderr
    )


def test_an_old_gradio_is_named(folders, monkeypatch):
    monkeypatch.setattr(gradio, "__version__", "5.49.1")
    result = invoke(folders["plain"])
    assert result.exit_code == 1
    assert "Error: the page needs Gradio 6 or newer, not 5.49.1\nInstall the extra demo" in result.stderr


def test_names_have_no_markup():
    assert demo._escaped("a_b*<script>") == r"a\_b\*&lt;script&gt;"
