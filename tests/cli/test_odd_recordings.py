"""soctk-predict answers or names each of 40 kinds of odd recordings, with every kind of encoder, and never fails."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from random_models import random_bundle

from soctk.cli import predict
from soctk.inference import bundle as bundles

RATE = 16000
TONE = (0.5 * np.sin(0.1 * np.arange(RATE)) * np.linspace(0, 1, RATE)).astype(np.float32)


def written(samples: np.ndarray, rate: int = RATE, format: str = "WAV", subtype: str | None = None) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=format, subtype=subtype)
    return stream.getvalue()


def with_size(wav: bytes, size: int) -> bytes:
    """Return a WAV file whose header declares another number of bytes, as of a program that writes to a pipe."""
    return wav[:4] + struct.pack("<I", size) + wav[8:40] + struct.pack("<I", size) + wav[44:]


def changed(samples: np.ndarray, value: float) -> np.ndarray:
    return np.where(np.arange(len(samples)) == 7, value, samples)


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.wav", content)
    return stream.getvalue()


WAV, FLAC = written(TONE), written(TONE, format="FLAC")
USABLE = {
    "8 bit.wav": written(TONE, subtype="PCM_U8"),
    "24 bit.wav": written(TONE, subtype="PCM_24"),
    "float.wav": written(TONE, subtype="FLOAT"),
    "double.wav": written(TONE, subtype="DOUBLE"),
    "mu-law.wav": written(TONE, subtype="ULAW"),
    "gsm.wav": written(TONE[::2], 8000, subtype="GSM610"),
    "flac.flac": FLAC,
    "mp3.mp3": written(TONE, format="MP3"),
    "vorbis.ogg": written(TONE, format="OGG", subtype="VORBIS"),
    "opus.opus": written(TONE, format="OGG", subtype="OPUS"),
    "rf64.wav": written(TONE, format="RF64"),
    "w64.w64": written(TONE, format="W64"),
    "caf.caf": written(TONE, format="CAF"),
    "au.au": written(TONE, format="AU"),
    "aiff.aif": written(TONE, format="AIFF"),
    "4 kHz.wav": written(TONE[::4], 4000),
    "96 kHz.wav": written(np.repeat(TONE, 6), 96000),
    "six channels.wav": written(np.stack([TONE, *np.zeros((5, len(TONE)))], axis=1)),
    "a flac called.wav": FLAC,
    "no extension": WAV,
    "schöner Ton 音 '$(x)'.wav": WAV,
    "SoX to a pipe.wav": with_size(WAV, 0x7FFFF000),
    "ffmpeg to a pipe.wav": with_size(WAV, 0xFFFFFFFF),
    "no size.wav": with_size(WAV, 0),
    "digital silence.wav": written(np.zeros(RATE)),
    "constant.wav": written(np.full(RATE, 0.5)),
    "clipped.wav": written(np.sign(TONE)),
    "one click.wav": written(changed(np.zeros(RATE), 1.0)),
    "quiet.wav": written(TONE / 20000),
    "loud.wav": written(30 * TONE, subtype="FLOAT"),
    "60 ms.wav": written(TONE[: 6 * RATE // 100]),
}
UNUSABLE = {
    "text.wav": (b"this is no sound", "a text file that begins with 'this is no sound'"),
    "zero bytes.wav": (b"", "an empty file (0 bytes)"),
    "only zeros.wav": (bytes(5000), "only zero bytes"),
    "page.wav": (b"<!DOCTYPE html>\n<html>", "an HTML page"),
    "pointer.wav": (b"version https://git-lfs.github.com/spec/v1\noid sha256:c6\n", "a git-lfs pointer"),
    "archive.wav": (zipped(WAV), "a zip archive"),
    "m4a.m4a": (b"\0\0\0\x1cftypM4A \0\0\2\0" + bytes(2000), "an MPEG-4 or QuickTime file"),
    "raw.raw": (WAV[44:], "cannot be decoded (it has no header)"),
    "cut header.wav": (WAV[:20], "cannot be decoded"),
    "cut.wav": (WAV[:10044], "cut short: it has 10000 of the 32000 bytes of samples"),
    "cut.flac": (FLAC[:-4000], "cannot be decoded"),
    "no samples.wav": (written(TONE[:0]), "empty: it has no samples"),
    "one sample.wav": (written(TONE[:1]), "too short: 0.1 ms"),
    "49 ms.wav": (written(TONE[: 49 * RATE // 1000]), "too short: 49.0 ms"),
    "nan.wav": (written(changed(TONE, np.nan), subtype="FLOAT"), "NaN or infinite samples"),
    "inf.wav": (written(changed(TONE, np.inf), subtype="FLOAT"), "NaN or infinite samples"),
}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """A folder with all of these, a folder with the name of a recording, and no file `missing.wav`."""
    folder = tmp_path_factory.mktemp("recordings")
    contents = {**USABLE, **{name: content for name, (content, _) in UNUSABLE.items()}}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def write_model(folder: Path, *arguments, **options) -> Path:
    folder.mkdir()
    bundles.write(folder, random_bundle(*arguments, **options))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "model", "mean+soc_full")


def invoke(*arguments):
    result = CliRunner().invoke(predict.main, [str(argument) for argument in arguments])
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert "Traceback" not in result.stderr
    return result


def check(model: Path, recordings: Path, monkeypatch, tmp_path, *options) -> None:
    """Check that each usable recording has an answer, and each of the others one message."""
    monkeypatch.chdir(recordings)
    monkeypatch.setenv("PATH", str(tmp_path))  # without ffmpeg
    result = invoke(model, *USABLE, *UNUSABLE, "missing.wav", *options)
    assert result.exit_code == 1
    answers = [line.split("\t") for line in result.stdout.splitlines()[1:]]
    assert list(dict.fromkeys(answer[0] for answer in answers)) == list(USABLE)
    posteriors = np.array([answer[5:] for answer in answers], dtype=float)
    assert np.isfinite(posteriors).all()
    np.testing.assert_allclose(posteriors.sum(1), 1, atol=1e-5)
    expected = {**{name: what for name, (_, what) in UNUSABLE.items()}, "missing.wav": "no such file"}
    note, *told = sorted(result.stderr.splitlines(), key=lambda line: not line.startswith("Note: "))
    assert note.startswith(
        "Note: digital silence.wav: channel 1 is silent (all samples are 0), so the answer means noth"
    )
    errors = [line.removeprefix("Error: ") for line in told if line.startswith("Error: ")]
    assert [error.partition(":")[0] for error in errors] == list(expected)
    for error, (name, what) in zip(errors, expected.items(), strict=True):
        assert error.startswith(f"{name}: {what}")
    summary, *remedies = told[len(errors) :]
    assert summary == f"{len(expected)} of the inputs could not be classified. What to do:"
    assert sum(int(remedy.strip()[1]) for remedy in remedies) == len(expected)


@pytest.mark.parametrize("options", [[], ["--window", "0.4", "--hop", "0.3"]])
def test_each_recording_gets_an_answer_or_one_message(model, recordings, monkeypatch, tmp_path, options):
    check(model, recordings, monkeypatch, tmp_path, *options)


@pytest.mark.slow
def test_each_recording_gets_an_answer_or_one_message_of_whisper(shared, recordings, monkeypatch, tmp_path):
    encoder = shared / "upstreams" / "whisper-tiny-en-encoder"
    model = write_model(tmp_path / "model", "mean+soc_full", name=str(encoder), layers=[2, 3])
    check(model, recordings, monkeypatch, tmp_path, "--encoder", encoder)


@pytest.mark.slow
def test_the_limits_of_an_encoder_are_messages(shared, monkeypatch, tmp_path):
    encoder = shared / "upstreams" / "whisper-tiny-en-encoder"
    model = write_model(tmp_path / "model", "mean", speeds=(0.9, 1.1), name=str(encoder), layers=[2])
    monkeypatch.chdir(tmp_path)
    for seconds in (0.05, 0.06, 26.9, 27.1):
        soundfile.write(f"{seconds}.wav", np.resize(TONE, round(seconds * RATE)), RATE)
    result = invoke(model, "0.05.wav", "0.06.wav", "26.9.wav", "27.1.wav", "--encoder", encoder)
    assert [line.split("\t")[0] for line in result.stdout.splitlines()[1:]] == ["0.06.wav", "26.9.wav"]
    assert result.stderr.splitlines()[:2] == [
        "Error: 0.05.wav: the recording has 45.4 ms at the speed 1.1, which the model uses too; at least 50 ms are "
        "needed",
        "Error: 27.1.wav: the recording has 30.1 s at the speed 0.9, which the model uses too, and the encoder takes "
        "30 s",
    ]
    assert result.exit_code == 1
    windows = invoke(model, "27.1.wav", "--window", "27", "--encoder", encoder)
    assert [line.split("\t")[2] for line in windows.stdout.splitlines()[1:]] == ["27.000", "27.100", "27.100"]
    assert invoke(model, "27.1.wav", "--window", "28", "--encoder", encoder).stderr == (
        "Error: --window, --hop: window is 28 s; choose at most 27 s, which is what the encoder takes\n"
        "Change --window or --hop.\n"
    )


def test_a_folder_in_place_of_a_recording_is_named(model, monkeypatch, tmp_path):
    (tmp_path / "folder.wav").mkdir()
    monkeypatch.chdir(tmp_path)
    result = invoke(model, "folder.wav")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: folder.wav: no recordings in this folder\n")
