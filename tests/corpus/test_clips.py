"""Parts of recordings: their samples, their faults, and the number of times that a recording is decoded."""

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from soctk.corpus import audio, cutting, decoding
from soctk.corpus.segments import Clip
from soctk.errors import SoctkError

RATE = 8000
SAMPLES = np.random.default_rng(0).uniform(-0.5, 0.5, (4 * RATE, 2)).astype(np.float32)


@pytest.fixture
def recording(tmp_path):
    """Four seconds of noise in two channels, written without loss."""
    soundfile.write(tmp_path / "long.wav", SAMPLES, RATE, subtype="FLOAT")
    return tmp_path / "long.wav"


def count_decodings(monkeypatch):
    """Return a list that gets the path of each file that libsndfile opens for its samples."""
    opened = []
    blocks = decoding._blocks
    monkeypatch.setattr(decoding, "_blocks", lambda file: [opened.append(file.name), *blocks(file)][1:])
    return opened


@pytest.mark.parametrize("channel", ["1", "2", "mix"])
def test_a_part_of_a_recording_has_the_samples_between_its_times(recording, channel):
    expected = {"1": SAMPLES[:, 0], "2": SAMPLES[:, 1], "mix": SAMPLES.mean(axis=1)}[channel][10000:18000]
    samples, rate = audio.load_native(Clip(recording, 1.25, 2.25), channel)
    assert rate == RATE
    np.testing.assert_array_equal(samples, expected)
    np.testing.assert_array_equal(audio.load(Clip(recording, 1.25, 2.25), RATE, channel=channel), expected)
    until_the_end, _ = audio.load_native(Clip(recording, 3.5), channel)
    assert len(until_the_end) == 4000


@given(
    spans=st.lists(
        st.tuples(st.integers(0, 990), st.integers(50, 400)).map(lambda span: (span[0], min(sum(span), 1000))),
        min_size=1,
    ).filter(lambda spans: all(last - first >= 50 for first, last in spans)),
    size=st.integers(1, 300),
)
def test_clips_are_the_samples_between_their_times_for_blocks_of_any_size(spans, size):
    samples = np.arange(1000, dtype=np.float32)[:, None]
    clips = [Clip("x", first / 1000, last / 1000) for first, last in spans]
    offset = min(first for first, _ in spans)
    blocks = [samples[i : i + size] for i in range(offset, 1000, size)]
    cut = dict(cutting._cut(blocks, offset, clips, 1000))
    assert cut.keys() == set(range(len(clips)))
    for index, (first, last) in enumerate(spans):
        np.testing.assert_array_equal(cut[index], samples[first:last])


def test_the_digest_of_a_part_is_that_of_a_file_with_the_same_samples(tmp_path, recording):
    soundfile.write(tmp_path / "part.wav", SAMPLES[8000:16000], RATE, subtype="FLOAT")
    infos = audio.check(
        {"part": Clip(recording, 1, 2), "file": tmp_path / "part.wav", "other": Clip(recording, 1, 2.1)}, "2"
    )
    assert list(infos) == ["part", "file", "other"]
    assert infos["part"] == infos["file"]
    assert infos["part"].seconds == 1
    assert infos["other"].digest != infos["part"].digest


def test_a_recording_is_decoded_once_for_all_of_its_parts(recording, monkeypatch):
    opened = count_decodings(monkeypatch)
    clips = {f"utt{i}": Clip(recording, i / 10, i / 10 + 0.2) for i in reversed(range(38))}
    infos = audio.check(clips)
    assert len(opened) == 1
    assert {info.seconds for info in infos.values()} == {0.2}
    waveforms = audio.load_each([(clip, 1) for clip in clips.values()] + [(clips["utt3"], 0.5)], RATE)
    assert len(opened) == 2
    for clip, waveform in zip(clips.values(), waveforms, strict=False):
        first = round(clip.start * RATE)
        np.testing.assert_array_equal(waveform, SAMPLES[first : first + 1600, 0])
    assert len(waveforms[-1]) == 3200


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
def test_a_part_is_the_same_in_files_that_are_read_by_blocks_and_in_those_that_are_not(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    soundfile.write(path, SAMPLES, RATE)
    whole, _ = audio.load_native(path)
    part, _ = audio.load_native(Clip(path, 1.5, 2.0))
    np.testing.assert_array_equal(part, whole[12000:16000])


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        ((1, 4.2), "from 1 s to 4.2 s of 4.000 s"),
        ((4.5, 5), "from 4.5 s to 5 s of 4.000 s"),
        ((4.5, None), "from 4.5 s to the end of 4.000 s"),
        ((1, 1.02), "too short: 20.0 ms; at least 50 ms are needed"),
        ((3.98, 4.04), "too short: 20.0 ms; at least 50 ms are needed"),
    ],
)
def test_parts_that_cannot_be_used_are_listed_with_the_others_of_their_recording(recording, clip, message):
    clips = {"good": Clip(recording, 0, 1), "bad": Clip(recording, *clip)}
    with pytest.raises(SoctkError) as error:
        audio.check(clips)
    assert f"bad {clips['bad']}: {message}" in str(error.value)
    assert "good" not in str(error.value)
    with pytest.raises(SoctkError) as error:
        audio.load_native(clips["bad"])
    assert error.value.what in (message, message.replace(" of 4.000 s", ", after the end of the recording"))
    if "of 4.000 s" in message:
        assert "Times are in seconds from the beginning of the file" in error.value.remedy


def test_an_end_shortly_after_the_end_of_the_recording_is_its_end(recording):
    samples, _ = audio.load_native(Clip(recording, 3, 4.04))
    np.testing.assert_array_equal(samples, SAMPLES[24000:, 0])


def test_no_part_of_a_damaged_recording_can_be_used(tmp_path):
    damaged = SAMPLES.copy()
    damaged[-1] = np.nan
    soundfile.write(tmp_path / "x.wav", damaged, RATE, subtype="FLOAT")
    results = audio.inspect({"one": Clip(tmp_path / "x.wav", 0, 1), "two": Clip(tmp_path / "x.wav", 3, 4)})
    assert [str(result) for result in results.values()] == ["NaN or infinite samples"] * 2
    (missing,) = audio.inspect({"utt": Clip(tmp_path / "none.wav", 0, 1)}).values()
    assert missing.fault == audio.Fault.MISSING
