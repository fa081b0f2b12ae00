import numpy as np
import pytest

from soctk.corpus.level import at_level, normalise, rms


def test_the_level_is_the_root_mean_square():
    assert rms(np.array([3, -4, 0, 0], np.float32)) == 2.5
    assert rms(np.zeros(0, np.float32)) == 0


@pytest.mark.parametrize("amplitude", [1e-30, 0.01, 1.0])
def test_a_waveform_is_scaled_to_a_level(amplitude):
    waveform = (amplitude * np.random.default_rng(0).uniform(-1, 1, 1000)).astype(np.float32)
    scaled = at_level(waveform, 0.07)
    assert scaled.dtype == np.float32
    assert rms(scaled) == pytest.approx(0.07, rel=1e-5)
    np.testing.assert_allclose(scaled * rms(waveform), waveform * rms(scaled), rtol=1e-5)


def test_digital_silence_stays_silent():
    np.testing.assert_array_equal(at_level(np.zeros(9, np.float32), 0.07), np.zeros(9))


def test_all_waveforms_get_the_level_of_minus_26_dbfs():
    tone = np.sin(np.arange(16000, dtype=np.float32))
    for waveform in (tone, 0.01 * tone):
        assert 20 * np.log10(rms(normalise(waveform, "level"))) == pytest.approx(-26, abs=1e-4)
        np.testing.assert_array_equal(normalise(waveform, "none"), waveform)
