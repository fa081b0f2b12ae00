"""Speech is found between silence and noise, and each stretch of it has the answer of its samples."""

import builtins
import itertools
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_models import RATE, noise, random_model

from soctk.corpus import audio, decoding
from soctk.errors import SoctkError
from soctk.inference import speech
from soctk.inference.windows import Cutter

FRAME = 512  # samples at 16 kHz


@pytest.fixture(scope="module")
def model():
    return random_model("mean+soc_full")


@pytest.fixture
def detector():
    """Skip a test where the extras of the detector are not installed."""
    pytest.importorskip("onnxruntime")
    return pytest.importorskip("silero_vad")


@pytest.fixture
def speech_is(monkeypatch):
    """Return a function that sets the stretches that are found, in s."""

    def set_stretches(*stretches: tuple[float, float]) -> None:
        monkeypatch.setattr(
            speech, "find", lambda _, rate, longest: [(round(a * rate), round(b * rate)) for a, b in stretches]
        )

    return set_stretches


def pieces(samples: np.ndarray, size: int) -> list[np.ndarray]:
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def recording(shared) -> tuple[np.ndarray, int, list[tuple[float, float]]]:
    """Return clips of RAVDESS with 2 s of silence and 3 s of noise before each, the rate, and where the clips are."""
    generator, parts, places = np.random.default_rng(0), [], []
    for path in sorted((shared / "corpora" / "ravdess").glob("Actor_0[1-4]/*"))[::60][:4]:
        clip, rate = audio.load_native(path)
        parts += [np.zeros(2 * rate), generator.normal(0, 0.02, 3 * rate), clip]
        length = sum(map(len, parts)) / rate
        places.append((length - len(clip) / rate, length))
    return np.concatenate(parts).astype(np.float32), rate, places


def test_the_speech_of_a_real_recording_is_found(shared, detector):
    samples, rate, places = recording(shared)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [(start / rate, end / rate) for start, end in speech.find(pieces(samples, 100_000), rate)]
    assert len(found) == len(places) == 4
    for (start, end), (clip_start, clip_end) in zip(found, places, strict=True):
        assert clip_start < start < end <= clip_end
        assert end - start > 1


def test_the_import_of_the_detector_leaves_torchs_threads_as_they_are(detector, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "silero_vad"]:
        monkeypatch.delitem(sys.modules, name)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        speech._silero.__wrapped__()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("size", [511, 16000, 100_000])
def test_the_stretches_are_those_of_the_detectors_own_function(shared, detector, size):
    native, rate, _ = recording(shared)
    samples = native[: 15 * rate].reshape(-1, rate // 16000)[:, 0].copy()
    expected = detector.get_speech_timestamps(
        torch.from_numpy(samples), speech._detector(), min_silence_duration_ms=500,
        max_speech_duration_s=15,
    )  # fmt: skip
    assert expected
    assert speech.find(pieces(samples, size), 16000) == [(one["start"], one["end"]) for one in expected]


@pytest.mark.parametrize("kind", ["silence", "noise", "tone", "nothing"])
def test_there_is_no_speech_in_other_sound(detector, kind):
    samples = {
        "silence": np.zeros(40000),
        "noise": np.random.default_rng(0).normal(0, 0.1, 40000),
        "tone": np.sin(0.3 * np.arange(40000)),
        "nothing": np.zeros(0),
    }[kind].astype(np.float32)
    assert speech.find(pieces(samples, 9999), RATE) == []


def test_frames_are_those_of_the_resampled_recording(detector):
    samples = np.sin(0.05 * np.arange(44100)).astype(np.float32)
    frames = np.concatenate(list(speech._frames(pieces(samples, 1000), 44100)))
    times = np.arange(16000) / 16000
    np.testing.assert_allclose(frames[500:15500], np.sin(0.05 * 44100 * times)[500:15500], atol=2e-3)
    assert len(frames) == 32 * FRAME
    assert not frames[16000:].any()


def frames_of(*runs: tuple[float, int]) -> list[float]:
    """Return probabilities from runs of a probability and a number of frames."""
    return [probability for probability, count in runs for _ in range(count)]


def test_short_pauses_join_stretches_and_short_sounds_are_left_out(detector):
    # 32 ms a frame: speech 1.6 s, pause 0.32 s, speech 1.6 s, pause 0.96 s, sound 0.16 s, pause 1.6 s, speech 0.96 s
    frames = frames_of((0.9, 50), (0.1, 10), (0.9, 50), (0.1, 30), (0.9, 5), (0.1, 50), (0.9, 30))
    padding = 480  # 30 ms
    assert speech.stretches(frames, len(frames) * FRAME, 15) == [
        (0, 110 * FRAME + padding), (195 * FRAME - padding, 225 * FRAME),
    ]  # fmt: skip


def test_a_long_stretch_is_cut_at_its_longest_pause(detector):
    frames = frames_of((0.9, 100), (0.1, 6), (0.9, 100), (0.1, 12), (0.9, 100), (0.1, 6), (0.9, 200))  # 16.8 s
    first, second = speech.stretches(frames, len(frames) * FRAME, 12)
    assert 206 * FRAME <= first[1] <= second[0] <= 218 * FRAME
    assert second[1] == len(frames) * FRAME


@given(
    runs=st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0]), st.integers(1, 150)), max_size=12),
    longest=st.sampled_from([1.0, 3.0, 15.0]),
)
def test_stretches_are_in_order_within_the_recording_and_not_too_long(runs, longest):
    pytest.importorskip("silero_vad")
    frames = frames_of(*runs)
    found = speech.stretches(frames, len(frames) * FRAME, longest)
    bounds = [0, *itertools.chain(*found), len(frames) * FRAME]
    assert bounds == sorted(bounds)
    assert all(0.05 <= (end - start) / 16000 <= longest for start, end in found)


@given(
    stretches=st.lists(st.integers(1, 3000), max_size=8, unique=True).map(sorted),
    size=st.integers(1, 4000),
    window=st.sampled_from([0.1, 0.25, 4.0]),
)
def test_parts_lie_within_speech_and_cover_it_whatever_the_pieces(stretches, size, window):
    samples, rate = np.arange(3000, dtype=np.float32), 1000
    found = [(start, end) for start, end in zip(stretches[::2], stretches[1::2], strict=False) if end - start >= 50]
    parts = list(speech.cut(pieces(samples, size), found, rate, lambda: Cutter(rate, window, window)))
    covered = [np.zeros(0)]
    for start, part in parts:
        first = round(start * rate)
        np.testing.assert_array_equal(part, samples[first : first + len(part)])
        assert sum(low <= first and first + len(part) <= high for low, high in found) == 1
        covered.append(part)
    expected = [np.zeros(0), *(samples[start:end] for start, end in found)]
    rest = len(np.concatenate(expected)) - len(np.concatenate(covered))
    assert 0 <= rest < 50 * len(found) + 1  # the rest of a stretch that is no window of its own


@pytest.mark.parametrize("block", [1000, 1 << 20])
def test_each_stretch_has_the_answer_of_its_samples(model, speech_is, monkeypatch, block):
    monkeypatch.setattr("soctk.inference.windows._BLOCK", block)
    (samples,) = noise(9.0)
    speech_is((0.5, 2.0), (2.5, 2.8), (4.0, 9.0))
    segments = list(model.speech(samples, RATE))
    assert [(segment.start, segment.end) for segment in segments] == [(0.5, 2.0), (2.5, 2.8), (4.0, 9.0)]
    for segment in segments:
        own = samples[round(segment.start * RATE) : round(segment.end * RATE)]
        assert segment.result.posteriors == pytest.approx(model(own, RATE).posteriors, abs=1e-5)


def test_windows_start_anew_in_each_stretch(model, speech_is):
    (samples,) = noise(9.0)
    speech_is((0.5, 2.0), (2.5, 2.8), (4.0, 6.0))
    segments = list(model.speech(samples, RATE, window=1.0, hop=0.5))
    assert [(segment.start, segment.end) for segment in segments] == [
        (0.5, 1.5), (1.0, 2.0), (2.5, 2.8), (4.0, 5.0), (4.5, 5.5), (5.0, 6.0),
    ]  # fmt: skip
    for segment in segments:
        own = samples[round(segment.start * RATE) : round(segment.end * RATE)]
        assert segment.result.posteriors == pytest.approx(model(own, RATE).posteriors, abs=1e-5)


def test_stretches_are_no_longer_than_the_encoder_takes(model, monkeypatch):
    asked = []
    monkeypatch.setattr(speech, "find", lambda _, rate, longest: asked.append(longest) or [])
    assert list(model.speech(noise(1.0), RATE)) == []
    monkeypatch.setattr(type(model.runtime), "max_seconds", 7.0)
    list(model.speech(noise(1.0), RATE))
    list(model.speech(noise(1.0), RATE, window=3.0))
    assert asked == [15.0, 7.0, np.inf]
    with pytest.raises(ValueError, match="window is 8 s; choose at most 7 s"):
        model.speech(noise(1.0), RATE, window=8.0)


def test_a_long_file_is_not_kept_in_memory(tmp_path, detector, monkeypatch):
    """The detector is replaced: it takes 10 s of each minute for speech."""

    class EveryMinute:
        def __init__(self):
            self.reset_states()

        def reset_states(self):
            self.frames = -1

        def __call__(self, frame, rate):
            self.frames += 1
            return torch.tensor(float(self.frames * FRAME % (60 * rate) < 10 * rate))

    monkeypatch.setattr(speech, "_detector", EveryMinute)
    monkeypatch.setattr(decoding, "_BLOCK", 1 << 16)
    path, minutes = tmp_path / "long.flac", 15
    soundfile.write(path, np.zeros(minutes * 60 * RATE, dtype=np.float32), RATE)
    tracemalloc.start()
    try:
        found = speech.find(audio.load_blocks(path)[0], RATE)
        parts = list(speech.cut(audio.load_blocks(path)[0], found, RATE, lambda: Cutter(RATE, 20, 20)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == len(parts) == minutes
    assert all(9.9 * RATE < len(part) < 10.2 * RATE for _, part in parts)
    assert peak < 4 * minutes * 60 * RATE / 2  # all samples need 4 bytes each


@pytest.mark.parametrize("missing", ["silero_vad", "onnxruntime"])
def test_a_missing_package_is_named_with_its_extra(detector, model, monkeypatch, missing):
    importing = builtins.__import__

    def without(name, *arguments, **options):
        if name == missing:
            raise ModuleNotFoundError(f"No module named '{missing}'", name=missing)
        return importing(name, *arguments, **options)

    speech._detector.cache_clear()
    speech._silero.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SoctkError, match=rf"speech needs the package {missing}, .*\n.*soctk\[vad\]"):
        model.speech(noise(1.0), RATE)
