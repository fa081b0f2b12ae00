import numpy as np
import pytest
import soundfile

from soctk.corpus import audio
from soctk.errors import SoctkError

RATE = 16000


def tone(frequency: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
def test_resampling_keeps_a_tone(tmp_path, rate):
    soundfile.write(tmp_path / "tone.wav", tone(440, rate), rate, subtype="FLOAT")
    samples = audio.load(tmp_path / "tone.wav", RATE)
    assert samples.dtype == np.float32
    assert abs(len(samples) - RATE / 2) <= 1
    middle = slice(2000, 6000)  # the resampling filter distorts the edges
    np.testing.assert_allclose(samples[middle], tone(440, RATE)[middle], atol=2e-3)


def test_a_lower_speed_makes_a_tone_lower_and_longer(tmp_path):
    soundfile.write(tmp_path / "tone.wav", tone(440, 48000), 48000, subtype="FLOAT")
    samples = audio.load(tmp_path / "tone.wav", RATE, speed=0.8)
    assert abs(len(samples) - RATE / 2 / 0.8) <= 1
    middle = slice(2000, 8000)
    np.testing.assert_allclose(samples[middle], tone(352, RATE, 0.625)[middle], atol=2e-3)


def test_only_the_first_channel_is_read(tmp_path):
    left, right = tone(440, RATE), tone(1000, RATE)
    soundfile.write(tmp_path / "stereo.flac", np.stack([left, right], axis=1), RATE)
    soundfile.write(tmp_path / "mono.flac", left, RATE)
    np.testing.assert_array_equal(audio.load(tmp_path / "stereo.flac", RATE), audio.load(tmp_path / "mono.flac", RATE))
    infos = audio.check({name: tmp_path / f"{name}.flac" for name in ("stereo", "mono")})
    assert (infos["stereo"].channels, infos["mono"].channels) == (2, 1)
    assert infos["stereo"].digest == infos["mono"].digest
    assert infos["mono"].seconds == 0.5


def test_the_digest_depends_on_the_samples_and_not_on_the_container(tmp_path):
    for name in ("a.wav", "b.flac"):
        soundfile.write(tmp_path / name, (32767 * tone(440, RATE)).astype(np.int16), RATE)
    soundfile.write(tmp_path / "c.wav", (32767 * tone(441, RATE)).astype(np.int16), RATE)
    infos = audio.check({name: tmp_path / name for name in ("a.wav", "b.flac", "c.wav")})
    assert infos["a.wav"].digest == infos["b.flac"].digest != infos["c.wav"].digest


def test_the_digest_covers_the_sample_rate(tmp_path):
    samples = (32767 * tone(440, RATE)).astype(np.int16)
    for rate in (22050, 44100):
        soundfile.write(tmp_path / f"{rate}.wav", samples, rate)
    infos = audio.check({rate: tmp_path / f"{rate}.wav" for rate in ("22050", "44100")})
    assert infos["22050"].digest != infos["44100"].digest


def test_another_channel_or_the_mean_of_all_can_be_chosen(tmp_path):
    left, right = tone(440, RATE), tone(1000, RATE)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    for name, samples in (("2", right), ("mix", (left + right) / 2)):
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
        chosen = audio.load(tmp_path / "stereo.wav", RATE, channel=name)
        np.testing.assert_allclose(chosen, audio.load(tmp_path / f"{name}.wav", RATE), rtol=0, atol=1e-7)
    (of_stereo,) = audio.check({"utt": tmp_path / "stereo.wav"}, "2").values()
    (of_mono,) = audio.check({"utt": tmp_path / "2.wav"}).values()
    assert of_stereo.digest == of_mono.digest


def test_a_recording_without_the_chosen_channel_is_named(tmp_path):
    soundfile.write(tmp_path / "mono.wav", tone(440, RATE), RATE)
    with pytest.raises(
        SoctkError, match=r"\(1\): Choose another .*\n.*mono\.wav: it has no channel 2, only 1 channel\n"
    ):
        audio.check({"utt": tmp_path / "mono.wav"}, "2")


def test_channels_with_dither_alone_are_silent(tmp_path):
    dither = np.random.default_rng(0).integers(-1, 2, RATE // 2) / 32768
    soundfile.write(tmp_path / "stereo.wav", np.stack([dither, tone(440, RATE)], axis=1), RATE)
    infos = {channel: audio.check({"utt": tmp_path / "stereo.wav"}, channel)["utt"] for channel in ("1", "2", "mix")}
    assert {channel: info.is_silent for channel, info in infos.items()} == {"1": True, "2": False, "mix": False}
    assert {info.sounding for info in infos.values()} == {(2,)}


@pytest.fixture
def bad_files(tmp_path):
    """Name of each unusable file -> the beginning of the message about it."""
    samples = tone(440, RATE)
    (tmp_path / "text.wav").write_text("this is no sound")
    (tmp_path / "zero bytes.wav").touch()
    (tmp_path / "folder.wav").mkdir()
    soundfile.write(tmp_path / "no samples.wav", samples[:0], RATE)
    soundfile.write(tmp_path / "too short.wav", samples[:160], RATE)
    soundfile.write(tmp_path / "one sample.wav", samples[:1], RATE)
    soundfile.write(
        tmp_path / "nan.wav", np.where(np.arange(len(samples)) == 7, np.nan, samples), RATE, subtype="FLOAT"
    )
    soundfile.write(
        tmp_path / "inf.wav", np.where(np.arange(len(samples)) == 7, np.inf, samples), RATE, subtype="FLOAT"
    )
    soundfile.write(tmp_path / "whole.wav", samples, RATE)
    (tmp_path / "cut header.wav").write_bytes((tmp_path / "whole.wav").read_bytes()[:20])
    (tmp_path / "cut.wav").write_bytes((tmp_path / "whole.wav").read_bytes()[:10044])
    soundfile.write(tmp_path / "whole.flac", samples, RATE)
    (tmp_path / "cut.flac").write_bytes((tmp_path / "whole.flac").read_bytes()[:-2000])
    return {
        "text.wav": "a text file that begins with 'this is no sound'",
        "zero bytes.wav": "an empty file (0 bytes)",
        "cut header.wav": "cannot be decoded",
        "cut.wav": "cut short: it has 10000 of the 16000 bytes of samples",
        "cut.flac": "cannot be decoded",
        "folder.wav": "not a file",
        "no samples.wav": "empty: it has no samples",
        "too short.wav": "too short: 10.0 ms; at least 50 ms are needed",
        "one sample.wav": "too short: 0.1 ms; at least 50 ms are needed",
        "nan.wav": "NaN or infinite samples",
        "inf.wav": "NaN or infinite samples",
        "missing.wav": "no such file",
    }


def test_all_bad_files_are_listed_in_one_error_with_their_paths(tmp_path, bad_files):
    recordings = {name: tmp_path / name for name in ["whole.wav", *bad_files]}
    with pytest.raises(SoctkError) as error:
        audio.check(recordings)
    message = str(error.value)
    assert f"{len(bad_files)} of {len(recordings)} recordings cannot be used" in message
    for name, problem in bad_files.items():
        assert f"{tmp_path / name}: {problem}" in message
    assert str(tmp_path / "whole.wav") not in message


def test_the_bad_files_are_grouped_by_fault_and_long_lists_are_cut(tmp_path):
    for i in range(1000):
        (tmp_path / f"{i:03}.wav").write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:c6f94b\nsize 72862\n"
        )
    with pytest.raises(SoctkError) as error:
        audio.check({f"utt{i:03}": tmp_path / f"{i:03}.wav" for i in range(1001)})
    lines = str(error.value).split("\n")
    assert lines[:4] == [
        "1001 of 1001 recordings cannot be used",
        "missing (1): Correct the paths, or put the recordings there. Relative paths in a table start from the "
        "folder of the table, or from --audio.",
        f"  utt1000 {tmp_path / '1000.wav'}: no such file",
        "not audio (1000): a git-lfs pointer, not the recording (1000). Fetch the recordings with `git lfs pull` in a "
        "clone of their repository (a zip file from GitHub contains only the pointers).",
    ]
    assert lines[4:24] == [
        f"  utt{i:03} {tmp_path}/{i:03}.wav: a git-lfs pointer, not the recording" for i in range(20)
    ]
    assert lines[24] == "  ... and 980 more"
    assert error.value.remedy == (
        "Each list begins with its remedy. Remove recordings that you cannot repair from the corpus."
    )


def test_each_list_of_bad_files_begins_with_what_to_do_about_them(tmp_path):
    (tmp_path / "page.wav").write_text("<!doctype html>")
    (tmp_path / "archive.wav").write_bytes(b"PK\3\4")
    soundfile.write(tmp_path / "mono.wav", np.sin(np.arange(RATE)), RATE)
    recordings = {name: tmp_path / name for name in ("page.wav", "archive.wav", "mono.wav", "gone.wav")}
    with pytest.raises(SoctkError) as error:
        audio.check(recordings, channel="2")
    assert [line for line in str(error.value).split("\n")[1:-1] if line[0] != " "] == [
        "missing (1): Correct the paths, or put the recordings there. Relative paths in a table start from the "
        "folder of the table, or from --audio.",
        "not audio (2): an HTML page (1). Download these recordings again: the server sent something else in their "
        "place. a zip archive (1). Unpack these archives, and give the folder of the recordings.",
        "without the chosen channel (1): Choose another channel: 1 or mix, the mean of all, which every recording has "
        "(--channel of soctk-import or soctk-predict, or the file `channel` of the data directory).",
    ]


def test_loading_a_bad_file_gives_the_same_message(tmp_path, bad_files):
    for name, problem in bad_files.items():
        with pytest.raises(SoctkError) as error:
            audio.load(tmp_path / name, RATE)
        assert str(error.value).startswith(f"{tmp_path / name}: {problem}")


def test_silence_can_be_loaded(tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE), RATE)
    assert not audio.load(tmp_path / "silence.wav", RATE).any()


@pytest.fixture
def odd_files(tmp_path):
    """Name of each unusual but readable file -> the tolerance within which it equals the tone."""
    samples = tone(440, RATE)
    odd = {
        "24 bit.wav": (samples, RATE, "PCM_24", 1e-6),
        "8 bit.wav": (samples, RATE, "PCM_U8", 1e-2),
        "float.wav": (samples, RATE, "FLOAT", 1e-6),
        "double.wav": (samples, RATE, "DOUBLE", 1e-6),
        "mu-law.wav": (samples, RATE, "ULAW", 2e-2),
        "flac.flac": (samples, RATE, "PCM_16", 1e-4),
        "mp3.mp3": (samples, RATE, "MPEG_LAYER_III", 5e-2),
        "vorbis.ogg": (samples, RATE, "VORBIS", 5e-2),
        "8 kHz.wav": (tone(440, 8000), 8000, "PCM_16", 2e-3),
        "96 kHz.wav": (tone(440, 96000), 96000, "PCM_16", 2e-3),
        "six channels.wav": (np.stack([samples, *np.zeros((5, len(samples)))], axis=1), RATE, "PCM_16", 1e-4),
        "a flac called.wav": (samples, RATE, "PCM_16", 1e-4),
        "ein schöner Ton 音.wav": (samples, RATE, "PCM_16", 1e-4),
    }
    for name, (content, rate, subtype, _) in odd.items():
        format = "FLAC" if "flac" in name else None
        soundfile.write(tmp_path / name, content, rate, subtype=subtype, format=format)
    return {name: tolerance for name, (*_, tolerance) in odd.items()}


def test_unusual_formats_are_read(tmp_path, odd_files):
    assert len(audio.check({name: tmp_path / name for name in odd_files})) == len(odd_files)
    middle = slice(2000, 6000)
    for name, tolerance in odd_files.items():
        read = audio.load(tmp_path / name, RATE)[middle]
        np.testing.assert_allclose(read, tone(440, RATE)[middle], atol=tolerance, err_msg=name)


def test_clipping_is_the_share_of_samples_in_runs_at_full_scale(tmp_path):
    samples = 0.5 * np.ones(1000)
    samples[10:14], samples[20:22], samples[30:36] = 1, 1, -1  # runs of 4, 2 (too short to count) and 6
    soundfile.write(tmp_path / "clipped.wav", samples, RATE, subtype="PCM_16")
    assert audio.check({"utt": tmp_path / "clipped.wav"})["utt"].clipped == 10 / 1000
