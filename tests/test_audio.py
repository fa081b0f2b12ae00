import numpy as np
import pytest
import soundfile

from soctk import audio
from soctk.errors import SoctkError

RATE = 16000


def tone(frequency: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
def test_resampling_keeps_a_tone_as_it_is(tmp_path, rate):
    soundfile.write(tmp_path / "tone.wav", tone(440, rate), rate, subtype="FLOAT")
    samples = audio.load(tmp_path / "tone.wav", RATE)
    assert samples.dtype == np.float32
    assert abs(len(samples) - RATE / 2) <= 1
    middle = slice(2000, 6000)  # away from the filter's edges
    np.testing.assert_allclose(samples[middle], tone(440, RATE)[middle], atol=2e-3)


def test_only_the_first_channel_is_read(tmp_path):
    left, right = tone(440, RATE), tone(1000, RATE)
    soundfile.write(tmp_path / "stereo.flac", np.stack([left, right], axis=1), RATE)
    soundfile.write(tmp_path / "mono.flac", left, RATE)
    np.testing.assert_array_equal(audio.load(tmp_path / "stereo.flac", RATE), audio.load(tmp_path / "mono.flac", RATE))
    infos = audio.check({name: tmp_path / f"{name}.flac" for name in ("stereo", "mono")})
    assert (infos["stereo"].channels, infos["mono"].channels) == (2, 1)
    assert infos["stereo"].digest == infos["mono"].digest
    assert infos["mono"].seconds == 0.5


def test_the_same_samples_in_another_container_have_the_same_digest(tmp_path):
    for name in ("a.wav", "b.flac"):
        soundfile.write(tmp_path / name, (32767 * tone(440, RATE)).astype(np.int16), RATE)
    soundfile.write(tmp_path / "c.wav", (32767 * tone(441, RATE)).astype(np.int16), RATE)
    infos = audio.check({name: tmp_path / name for name in ("a.wav", "b.flac", "c.wav")})
    assert infos["a.wav"].digest == infos["b.flac"].digest != infos["c.wav"].digest


@pytest.fixture
def bad_files(tmp_path):
    """Files that cannot be used -> what is to be said of each."""
    samples = tone(440, RATE)
    (tmp_path / "text.wav").write_text("this is no sound")
    (tmp_path / "zero bytes.wav").touch()
    (tmp_path / "folder.wav").mkdir()
    soundfile.write(tmp_path / "no samples.wav", samples[:0], RATE)
    soundfile.write(tmp_path / "too short.wav", samples[:160], RATE)
    soundfile.write(
        tmp_path / "nan.wav", np.where(np.arange(len(samples)) == 7, np.nan, samples), RATE, subtype="FLOAT"
    )
    soundfile.write(
        tmp_path / "inf.wav", np.where(np.arange(len(samples)) == 7, np.inf, samples), RATE, subtype="FLOAT"
    )
    soundfile.write(tmp_path / "whole.wav", samples, RATE)
    (tmp_path / "cut header.wav").write_bytes((tmp_path / "whole.wav").read_bytes()[:20])
    return {
        "text.wav": "cannot be decoded",
        "zero bytes.wav": "cannot be decoded",
        "cut header.wav": "cannot be decoded",
        "folder.wav": "not a file",
        "no samples.wav": "empty: no samples",
        "too short.wav": "too short: 10.0 ms, 50 ms are needed",
        "nan.wav": "NaN or infinite samples",
        "inf.wav": "NaN or infinite samples",
        "missing.wav": "no such file",
    }


def test_all_bad_files_are_told_at_once_with_their_paths(tmp_path, bad_files):
    recordings = {name: tmp_path / name for name in ["whole.wav", *bad_files]}
    with pytest.raises(SoctkError) as error:
        audio.check(recordings)
    message = str(error.value)
    assert f"{len(bad_files)} of {len(recordings)} recordings cannot be used" in message
    for name, problem in bad_files.items():
        assert f"{tmp_path / name}: {problem}" in message
    assert str(tmp_path / "whole.wav") not in message


def test_loading_a_bad_file_says_the_same(tmp_path, bad_files):
    for name, problem in bad_files.items():
        with pytest.raises(SoctkError) as error:
            audio.load(tmp_path / name, RATE)
        assert str(error.value).startswith(f"{tmp_path / name}: {problem}")


def test_silence_is_audio(tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE), RATE)
    assert not audio.load(tmp_path / "silence.wav", RATE).any()
