"""A stream gives the answers of the windows of the whole sound, each as soon as its window is complete."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from random_models import RATE, assert_same, noise, random_model


@pytest.fixture(scope="module")
def model():
    return random_model()


@settings(max_examples=20)
@given(
    sizes=st.lists(st.integers(0, 2 * RATE), min_size=1, max_size=8),
    channels=st.integers(1, 3),
    hop=st.sampled_from([0.5, 0.97, 1.0]),
)
@example(sizes=[7921], channels=1, hop=0.97)  # the last window has 50.1 ms
def test_a_stream_has_the_answers_of_the_windows_of_the_whole_sound(model, sizes, channels, hop):
    sound = noise(1 + sum(sizes) / RATE, channels)
    ends = np.cumsum([RATE, *sizes])
    stream = model.stream(RATE, window=1.0, hop=hop)
    segments = []
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        segments += stream.push(sound[:, start:end])
    segments += stream.finish()
    assert_same(segments, list(model.windows(sound, RATE, window=1.0, hop=hop)))


def test_a_window_is_answered_when_its_last_sample_arrives(model):
    (samples,) = noise(3.0)
    stream = model.stream(RATE, window=2.0, hop=0.5)
    assert stream.push(samples[: 2 * RATE - 1]) == []
    (first,) = stream.push(samples[2 * RATE - 1 : 2 * RATE])
    assert (first.start, first.end) == (0, 2)
    second, third = stream.push(torch.from_numpy(samples[2 * RATE :]))
    assert (second.start, third.end) == (0.5, 3)
    assert stream.finish() == []


def test_sound_that_is_shorter_than_a_window_is_answered_at_the_end(model):
    stream = model.stream(RATE)
    assert stream.push(noise(0.5)) == []
    (segment,) = stream.finish()
    assert (segment.start, segment.end) == (0, 0.5)
    assert segment.result.posteriors == pytest.approx(model(noise(0.5), RATE).posteriors, abs=1e-5)


def test_samples_that_cannot_be_used_are_refused_and_leave_the_stream_as_it_was(model):
    stream = model.stream(RATE, window=1.0, hop=0.5)
    stream.push(noise(0.5))
    for samples, message in (
        (noise(0.1)[0] * np.nan, "NaN or infinite"),
        (noise(0.1).T, r"looks like \(samples, channels\)"),
        (np.zeros(10, dtype=np.uint8), "not uint8"),
    ):
        with pytest.raises(ValueError, match=message):
            stream.push(samples)
    (segment,) = stream.push(noise(1.0)[:, round(0.5 * RATE) :])
    assert segment.result.posteriors == pytest.approx(model(noise(1.0), RATE).posteriors, abs=1e-5)


def test_a_stream_ends_once(model):
    stream = model.stream(RATE)
    stream.push(noise(0.5))
    stream.finish()
    assert stream.finish() == []
    with pytest.raises(ValueError, match="the stream is finished; use a new one"):
        stream.push(noise(0.5))


def test_a_stream_without_sound_is_an_error(model):
    stream = model.stream(RATE)
    stream.push(noise(0.01))
    with pytest.raises(ValueError, match=r"has 10\.0 ms; at least 50 ms are needed"):
        stream.finish()


def test_the_rate_of_a_stream_is_checked(model):
    with pytest.raises(ValueError, match="sample_rate is 16; give Hz, such as 16000"):
        model.stream(16)
