import numpy as np
import pytest
import torch
import torchaudio

from soctk import upstream
from soctk.errors import SoctkError


@pytest.fixture(scope="module")
def waveform() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)


@pytest.mark.parametrize(("name", "width"), [("fbank", 240), ("mfcc", 39)])
def test_it_tells_its_shape(name, width, waveform):
    encoder = upstream.load(name)
    assert (encoder.name, encoder.hidden_sizes) == (name, [width])
    assert (encoder.sample_rate, encoder.frame_shift) == (16000, 10.0)
    (state,) = encoder.hidden_states(waveform)
    assert (state.shape, state.dtype) == ((100, width), torch.float32)


def test_fbank_is_kaldis_with_the_mean_and_variance_of_the_utterance_taken_out(waveform):
    (state,) = upstream.load("fbank").hidden_states(waveform)
    log_mel = torchaudio.compliance.kaldi.fbank(torch.from_numpy(waveform)[None], num_mel_bins=80)
    expected = (log_mel - log_mel.mean(0)) / log_mel.std(0)
    torch.testing.assert_close(state[: len(log_mel), :80], expected, rtol=1e-3, atol=1e-3)


def test_an_utterance_is_the_same_after_others(waveform):
    encoder = upstream.load("fbank")
    first = encoder.hidden_states(waveform)[0]
    encoder.hidden_states(waveform[:5000])
    torch.testing.assert_close(encoder.hidden_states(waveform)[0], first, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["fbank", "mfcc"])
def test_silence_is_zeros_and_not_amplified_rounding(name):
    (state,) = upstream.load(name).hidden_states(np.zeros(16000, np.float32))
    assert state.shape[0] == 100
    assert not state.any()


def test_an_unknown_name_has_its_nearest():
    with pytest.raises(SoctkError, match=r"unknown upstream 'hubert_bse'\nDid you mean 'hubert_base'\?"):
        upstream.load("hubert_bse")


def test_without_a_network_the_weights_remedy_is_told(monkeypatch):
    def no_network(*_args, **_options):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("soctk.upstream.s3prl.S3PRLUpstream.__init__", no_network)
    with pytest.raises(SoctkError, match=r"could not get the weights of hubert_base .*\n.*--upstream DIR"):
        upstream.load("hubert_base")
