from dataclasses import astuple

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

from soctk.corpus import audio
from soctk.corpus.conditions import measure

RATE = 16000


def tone(seconds: float, amplitude: float = 0.5, frequency: float = 1000, rate: int = RATE) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(seconds: float, deviation: float, rate: int = RATE) -> np.ndarray:
    return np.random.default_rng(0).normal(0, deviation, round(seconds * rate)).astype(np.float32)


def test_levels_of_a_tone_equal_hand_worked_ones():
    found = measure(tone(1), RATE)  # amplitude 1/2: -6.02 dB at its peak, and 3.01 dB less on average
    assert found.peak == pytest.approx(-6.02, abs=0.01)
    assert (found.level, found.floor) == pytest.approx((-9.03, -9.03), abs=0.01)


def test_the_noise_floor_is_that_of_the_pauses():
    samples = noise(2, 1e-3)  # -60 dB
    samples[RATE : RATE + 16000 // 2] += tone(0.5)
    assert measure(samples, RATE).floor == pytest.approx(-60, abs=1)


def test_silence_at_the_ends_is_measured_to_a_frame():
    samples = np.concatenate([noise(0.3, 1e-3), tone(0.5), 0 * tone(0.2), tone(0.1), noise(0.7, 1e-3)])
    found = measure(samples, RATE)
    assert found.leading == pytest.approx(0.3, abs=0.02)
    assert found.trailing == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize("cutoff", [3400, 6000])
def test_the_bandwidth_is_where_a_low_pass_filter_ends(cutoff):
    spectrum = np.fft.rfft(noise(2, 0.1))
    spectrum[2 * cutoff :] = 0  # a bin of 2 s is half a Hz
    filtered = np.fft.irfft(spectrum).astype(np.float32)
    assert measure(filtered, RATE).bandwidth == pytest.approx(cutoff, abs=150)


def test_the_bandwidth_of_white_noise_is_half_the_sample_rate():
    assert measure(noise(1, 0.1), RATE).bandwidth == RATE / 2


def test_a_recording_that_was_resampled_keeps_the_bandwidth_of_its_old_rate():
    old = noise(2, 0.1, 8000)
    assert measure(signal.resample(old, 4 * len(old)).astype(np.float32), 32000).bandwidth == pytest.approx(
        4000, abs=150
    )


def test_digital_silence_and_single_samples_have_finite_conditions():
    assert astuple(measure(np.zeros(RATE, np.float32), RATE)) == pytest.approx((-120, -120, -120, 0, 0, 8000))
    assert measure(np.ones(1, np.float32), RATE).level == 0


@given(st.integers(-40, 20), st.integers(0, 2**32))
def test_a_gain_moves_the_levels_and_nothing_else(gain, seed):
    samples = np.random.default_rng(seed).normal(0, 0.01, 4000).astype(np.float32)
    samples[1000:3000] *= 10
    before, after = measure(samples, RATE), measure(samples * np.float32(10 ** (gain / 20)), RATE)
    for name in ("level", "peak", "floor"):
        assert getattr(after, name) - getattr(before, name) == pytest.approx(gain, abs=0.01)
    assert (after.leading, after.trailing, after.bandwidth) == (before.leading, before.trailing, before.bandwidth)


def test_the_inspection_measures_the_chosen_channel_where_it_is_asked_to(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.stack([tone(1), tone(1, 0.05)], 1), RATE)
    (loud,) = audio.inspect({"x": tmp_path / "x.wav"}, has_conditions=True).values()
    (quiet,) = audio.inspect({"x": tmp_path / "x.wav"}, "2", has_conditions=True).values()
    assert loud.conditions.level - quiet.conditions.level == pytest.approx(20, abs=0.1)
    assert audio.inspect({"x": tmp_path / "x.wav"})["x"].conditions is None
