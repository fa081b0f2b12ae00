"""Front ends in numpy give what transformers' feature extractors and s3prl give; a silent or short waveform too."""

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from soctk.features import upstream
from soctk.inference.onnx import export
from soctk.inference.onnx.front_ends import LogMel, Samples

SECONDS = [0.05, 0.1, 0.333, 1.0, 12.0]


def waveform(seconds, seed=0):
    """Return a tone in noise of a loudness that rises."""
    samples = np.arange(round(16000 * seconds)) / 16000
    noise = np.random.default_rng(seed).standard_normal(len(samples))
    return ((np.sin(1000 * samples) + 0.3 * noise) * 0.2 * (0.1 + samples / seconds)).astype(np.float32)


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.parametrize("bins", [80, 128])
def test_log_mel_is_that_of_whisper(seconds, bins):
    extractor = WhisperFeatureExtractor(feature_size=bins)
    front_end = LogMel(kind="log_mel", fft=400, shift=160, bins=bins)
    for samples in (waveform(seconds), np.zeros(round(16000 * seconds), dtype=np.float32)):
        expected = extractor(samples, sampling_rate=16000, return_tensors="np", padding="longest", truncation=False)
        found = front_end(samples, {"mel": extractor.mel_filters})
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected["input_features"], atol=2e-4)


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.parametrize("normalise", [True, False])
def test_samples_are_those_of_wav2vec2(seconds, normalise):
    extractor = Wav2Vec2FeatureExtractor(do_normalize=normalise)
    samples = 0.3 + waveform(seconds)
    expected = extractor(samples, sampling_rate=16000, return_tensors="np")["input_values"]
    found = Samples(kind="samples", normalise=normalise)(samples, {})
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("seconds", [*SECONDS, 0.0625])
@pytest.mark.parametrize("name", ["fbank", "mfcc"])
def test_frames_are_those_of_s3prl(name, seconds):
    encoder = upstream.load(name)
    front_end, arrays = export._front_end(encoder)
    for samples in (waveform(seconds), np.zeros(round(16000 * seconds), dtype=np.float32)):
        (expected,) = encoder.hidden_states([samples], [0])
        np.testing.assert_allclose(front_end(samples, arrays), expected, atol=2e-3)


def test_frequencies_that_a_recording_lacks_are_0_in_both_forms():
    encoder = upstream.load("fbank")
    front_end, arrays = export._front_end(encoder)
    spectrum = np.fft.rfft(waveform(1.0))
    spectrum[3000:] = 0  # above 3 kHz
    samples = np.fft.irfft(spectrum).astype(np.float32)
    (expected,) = encoder.hidden_states([samples], [0])
    found = front_end(samples, arrays)
    assert not found[0, :, 70:80].any()
    assert found[0, :, :40].any(axis=0).all()
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=2e-3)
