"""Degradations, measured on their results: ratio, energy, spectrum, band, delay."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import welch

from soctk.corpus import degradations
from soctk.errors import SoctkError

RATE = 16000

# Name -> degradation of (waveform, rate, rng).
ALL: dict[str, Callable] = {
    "white": lambda x, rate, rng: degradations.add_noise(x, degradations.white(len(x), rng), 10),
    "pink": lambda x, rate, rng: degradations.add_noise(x, degradations.pink(len(x), rng), 10),
    "reverberate": lambda x, rate, rng: degradations.reverberate(x, rate, 0.4, rng),
    "telephone": lambda x, rate, rng: degradations.telephone(x, rate),
    "mp3": lambda x, rate, rng: degradations.mp3(x, rate, 32),
    "gain": lambda x, rate, rng: degradations.gain(x, 12),
    "pitch": lambda x, rate, rng: degradations.pitch(x, rate, 2),
}


def tone(hertz: float, rate: int = RATE, seconds: float = 1.0, amplitude: float = 0.3) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def speech_like(rate: int = RATE, seconds: float = 1.0) -> np.ndarray:
    """Return pulses of 120 Hz with a syllable's envelope: broad-band and not periodic as a whole."""
    time = np.arange(round(rate * seconds)) / rate
    harmonics = sum(np.cos(2 * np.pi * 120 * k * time + k * k) / k for k in range(1, 30))
    return (0.05 * harmonics * (1.1 + np.sin(2 * np.pi * 3.3 * time * time))).astype(np.float32)


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples.astype(float) ** 2)))


def db(ratio: float) -> float:
    return float(20 * np.log10(ratio))


def loudest(samples: np.ndarray, rate: int) -> float:
    """Return the frequency with the most power, in Hz."""
    return float(np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples))))) * rate / len(samples))


def delay(degraded: np.ndarray, original: np.ndarray) -> int:
    """Return the lag with the largest correlation, in samples."""
    size = 2 * len(original)
    correlation = np.fft.irfft(np.fft.rfft(degraded, size) * np.fft.rfft(original, size).conj(), size)
    lag = int(np.argmax(correlation))
    return lag if lag < len(original) else lag - size


@pytest.mark.parametrize("snr", [20.0, 5.0, 0.0, -5.0])
@pytest.mark.parametrize("noise", [degradations.white, degradations.pink])
def test_the_added_noise_has_the_ratio(noise, snr):
    waveform = speech_like()
    noisy = degradations.add_noise(waveform, 7 * noise(len(waveform), np.random.default_rng(0)), snr)
    assert db(rms(waveform) / rms(noisy - waveform)) == pytest.approx(snr, abs=0.01)


def test_short_noise_is_repeated_and_long_noise_is_cut():
    waveform, short = speech_like(seconds=0.5), np.array([1, -1, 0.5], np.float32)
    added = degradations.add_noise(waveform, short, 0) - waveform
    np.testing.assert_allclose(added[:3000].reshape(-1, 3), np.tile(added[:3], (1000, 1)), atol=1e-6)
    long = degradations.white(2 * len(waveform), np.random.default_rng(0))
    expected = degradations.add_noise(waveform, long[: len(waveform)], 3)
    np.testing.assert_array_equal(degradations.add_noise(waveform, long, 3), expected)


def test_silence_gets_no_noise_and_silent_noise_changes_nothing():
    silence, waveform = np.zeros(800, np.float32), speech_like()[:800]
    np.testing.assert_array_equal(degradations.add_noise(silence, waveform, 10), silence)
    np.testing.assert_array_equal(degradations.add_noise(waveform, silence, 10), waveform)


def test_faint_recordings_keep_the_ratio():
    waveform = 1e-22 * speech_like()
    noisy = degradations.add_noise(waveform, 1e20 * tone(900), 10)
    assert db(rms(waveform) / rms(noisy - waveform)) == pytest.approx(10, abs=0.1)


def slope(noise: np.ndarray) -> float:
    """Return the change of the power per octave between 100 Hz and 6 kHz, in dB."""
    frequency, power = welch(noise, RATE, nperseg=4096)
    band = (frequency > 100) & (frequency < 6000)
    return float(np.polyfit(np.log2(frequency[band]), 10 * np.log10(power[band]), 1)[0])


def test_pink_noise_falls_by_3_dB_per_octave_and_white_noise_is_flat():
    random = np.random.default_rng(0)
    for noise, expected in [(degradations.pink, -10 * np.log10(2)), (degradations.white, 0)]:
        samples = noise(40 * RATE, random)
        assert slope(samples) == pytest.approx(expected, abs=0.1)
        assert samples.std() == pytest.approx(1, abs=0.01)


def test_a_room_keeps_the_energy_and_decays_in_its_time():
    click = np.zeros(RATE, np.float32)
    click[0] = 0.5
    for t60 in (0.2, 0.6):
        response = degradations.reverberate(click, RATE, t60, np.random.default_rng(1))
        assert np.sum(response.astype(float) ** 2) == pytest.approx(0.25, rel=1e-5)
        assert response[0] ** 2 == pytest.approx(0.125, rel=1e-4)  # as much energy as all reflections
        # Schroeder's backward integration: the level falls from -5 to -25 dB in a third of the reverberation time.
        left = 10 * np.log10(np.cumsum(response[:0:-1].astype(float) ** 2)[::-1] / np.sum(response[1:] ** 2))
        falling = np.argmax(left < -25) - np.argmax(left < -5)
        assert 3 * falling / RATE == pytest.approx(t60, rel=0.1)
    waveform = speech_like()
    assert rms(degradations.reverberate(waveform, RATE, 0.5, np.random.default_rng(0))) == pytest.approx(rms(waveform))


def test_a_telephone_passes_300_to_3400_hz():
    changes = {hertz: db(rms(degradations.telephone(tone(hertz), RATE)) / rms(tone(hertz))) for hertz in
               (60, 150, 500, 1000, 3000, 3900, 5000)}  # fmt: skip
    assert all(abs(changes[hertz]) < 1 for hertz in (500, 1000, 3000))
    assert all(changes[hertz] < -20 for hertz in (60, 150, 3900, 5000))


def test_a_telephone_quantises_with_8_bits_on_a_logarithmic_scale():
    # Mu-law of 8 bits keeps a ratio of about 37 dB over a wide range of levels; linear 8 bits lose 20 dB at 0.09.
    for amplitude in (0.9, 0.3, 0.09):
        original = tone(1013.7, degradations.TELEPHONE_RATE, amplitude=amplitude)
        heard = degradations.telephone(original, degradations.TELEPHONE_RATE)
        fitted = original * (heard @ original) / (original @ original)
        middle = slice(1000, -1000)
        assert db(rms(fitted[middle]) / rms((heard - fitted)[middle])) == pytest.approx(37, abs=2)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 20000, 44100, 48000, 96000])
@pytest.mark.parametrize("kbps", [8, 32, 64])
def test_mp3_has_no_delay(rate, kbps):
    waveform = speech_like(rate)
    coded = degradations.mp3(waveform, rate, kbps)
    assert len(coded) == len(waveform)
    assert abs(delay(coded, waveform)) <= rate / 8000
    if kbps > 8:
        assert np.corrcoef(coded, waveform)[0, 1] > 0.95


def test_mp3_loses_more_at_a_lower_rate():
    waveform = speech_like()
    losses = [rms(degradations.mp3(waveform, RATE, kbps) - waveform) for kbps in (16, 32, 64, 128)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 2 * losses[-1]


def test_mp3_is_coded_at_the_bit_rate(monkeypatch):
    written = []

    def spy(file, *arguments, **options):
        write(file, *arguments, **options)
        written.append(len(file.getvalue()))

    write = soundfile.write
    monkeypatch.setattr(soundfile, "write", spy)
    for rate, kbps in [(16000, 32), (44100, 32), (44100, 64), (8000, 8)]:
        degradations.mp3(speech_like(rate, 10), rate, kbps)
        assert 8 * written[-1] / 10 == pytest.approx(1000 * kbps, rel=0.03)


def test_a_soundfile_without_mp3_is_named(monkeypatch):
    def refuse(*_, **__):
        raise TypeError("write() got an unexpected keyword argument 'compression_level'")

    monkeypatch.setattr(soundfile, "write", refuse)
    with pytest.raises(SoctkError, match=r"soundfile cannot write MP3 .*\n?.*pip install --upgrade soundfile"):
        degradations.mp3(speech_like(), RATE, 32)


def test_gain_amplifies_and_clips():
    np.testing.assert_allclose(degradations.gain(np.array([0.1, -0.2, 0.6], np.float32), 6.0206), [0.2, -0.4, 1])
    np.testing.assert_allclose(degradations.gain(np.array([0.1, -0.2], np.float32), -20), [0.01, -0.02], rtol=1e-6)


@pytest.mark.parametrize("semitones", [-4, -1.5, 2, 7, 12])
def test_pitch_shifts_frequencies_and_keeps_the_time(semitones):
    shifted = degradations.pitch(tone(440), RATE, semitones)
    assert loudest(shifted, RATE) == pytest.approx(440 * 2 ** (semitones / 12), abs=2)
    burst = np.concatenate([np.zeros(8000, np.float32), tone(440, seconds=0.5), np.zeros(8000, np.float32)])
    shifted = degradations.pitch(burst, RATE, semitones)
    sounding = np.flatnonzero(np.abs(shifted) > 0.1)
    assert sounding[0] == pytest.approx(8000, abs=500)
    assert sounding[-1] == pytest.approx(16000, abs=500)


def test_cut_keeps_the_middle():
    waveform = np.arange(10 * RATE, dtype=np.float32)
    np.testing.assert_array_equal(degradations.cut(waveform, RATE, 2), waveform[4 * RATE : 6 * RATE])
    np.testing.assert_array_equal(degradations.cut(waveform, RATE, 11), waveform)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=12, deadline=None)
@given(
    length=st.sampled_from([400, 801, 1600, 5000]),
    rate=st.sampled_from([8000, 16000, 22050, 48000]),
    amplitude=st.sampled_from([0, 1e-30, 1e-3, 1, 100]),
    seed=st.integers(0, 9),
)
def test_any_waveform_keeps_its_length_and_stays_finite(name, length, rate, amplitude, seed):
    waveform = (amplitude * np.random.default_rng(seed).uniform(-1, 1, length)).astype(np.float32)
    kept = waveform.copy()
    degrade = partial(ALL[name], waveform, rate)
    degraded = degrade(np.random.default_rng(seed))
    assert degraded.shape == waveform.shape and degraded.dtype == np.float32
    assert np.isfinite(degraded).all()
    np.testing.assert_array_equal(degrade(np.random.default_rng(seed)), degraded)  # the seed determines it
    np.testing.assert_array_equal(waveform, kept)


@pytest.mark.parametrize("name", ["white", "pink", "reverberate"])
def test_another_seed_gives_another_result(name):
    waveform = speech_like(seconds=0.2)
    first, second = (ALL[name](waveform, RATE, np.random.default_rng(seed)) for seed in (0, 1))
    assert rms(first - second) > 0.1 * rms(waveform)
