import hashlib

import numpy as np
import pytest
import torch
import torchaudio
from encoder_layers import computed_layers
from s3prl.nn import S3PRLUpstream

from soctk.errors import SoctkError
from soctk.features import upstream


@pytest.fixture(scope="module")
def waveform() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)


def only_state(encoder, waveform) -> torch.Tensor:
    ((state,),) = encoder.hidden_states([waveform], [0])
    return state


@pytest.mark.parametrize(("name", "width"), [("fbank", 240), ("mfcc", 39)])
def test_shapes_and_rates_are_reported(name, width, waveform):
    encoder = upstream.load(name)
    assert (encoder.name, encoder.hidden_sizes) == (name, [width])
    assert (encoder.sample_rate, encoder.frame_shift) == (16000, 10.0)
    state = only_state(encoder, waveform)
    assert (state.shape, state.dtype) == ((100, width), torch.float32)


def test_fbank_equals_kaldis_fbank_normalised_over_the_utterance(waveform):
    state = only_state(upstream.load("fbank"), waveform)
    log_mel = torchaudio.compliance.kaldi.fbank(torch.from_numpy(waveform)[None], num_mel_bins=80)
    expected = (log_mel - log_mel.mean(0)) / log_mel.std(0)
    torch.testing.assert_close(state[: len(log_mel), :80], expected, rtol=1e-3, atol=1e-3)


def test_frames_do_not_depend_on_earlier_utterances(waveform):
    encoder = upstream.load("fbank")
    first = only_state(encoder, waveform)
    only_state(encoder, waveform[:5000])
    torch.testing.assert_close(only_state(encoder, waveform), first, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["fbank", "mfcc"])
def test_silence_gives_zeros(name):
    state = only_state(upstream.load(name), np.zeros(16000, np.float32))
    assert state.shape[0] == 100
    assert not state.any()


def test_frequencies_that_a_recording_lacks_give_zeros(waveform):
    spectrum = np.fft.rfft(waveform)
    spectrum[3000:] = 0  # above 3 kHz
    state = only_state(upstream.load("fbank"), np.fft.irfft(spectrum).astype(np.float32))
    assert not state[:, 70:80].any()
    assert state[:, :40].any(dim=0).all()


def test_the_prefix_s3prl_is_accepted(waveform):
    assert upstream.load("s3prl:mfcc").name == "mfcc"


MODEL = {
    "encoder_layers": 3,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 24,
    "encoder_attention_heads": 2,
    "conv_feature_layers": "[(8, 10, 5)] + [(8, 3, 2)] * 4 + [(8, 2, 2)] * 2",
    "conv_pos": 16,
    "conv_pos_groups": 4,
}


def wav2vec2_checkpoint(layer_norm_first: bool):
    from s3prl.upstream.wav2vec2.wav2vec2_model import Wav2Vec2Config, Wav2Vec2Model

    model = MODEL | {"layer_norm_first": layer_norm_first, "quantize_targets": False, "final_dim": 16}
    weights = Wav2Vec2Model(Wav2Vec2Config(**model)).state_dict()
    return {"task_cfg": {"normalize": layer_norm_first}, "model_cfg": model, "model_weight": weights}


def hubert_checkpoint():
    from s3prl.upstream.hubert.hubert_model import HubertConfig, HubertModel, HubertPretrainingConfig

    task, words = {"label_rate": 50.0, "sample_rate": 16000}, [["a", "b", "c"]]
    model = MODEL | {"label_rate": 50.0, "final_dim": 8}
    weights = HubertModel(HubertConfig(**model), HubertPretrainingConfig(**task), words).state_dict()
    return {"task_cfg": task, "model_cfg": model, "model_weight": weights, "dictionaries_symbols": words}


def wavlm_checkpoint():
    from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

    model = MODEL | {"relative_position_embedding": True, "gru_rel_pos": True, "num_buckets": 8, "max_distance": 20}
    return {"cfg": model, "model": WavLM(WavLMConfig(model)).state_dict()}


CHECKPOINTS = {
    "wav2vec2_base_960": ("wav2vec_small.pt", lambda: wav2vec2_checkpoint(layer_norm_first=False)),
    "wav2vec2_large_lv60_cv_swbd_fsh": (
        "w2v_large_lv_fsh_swbd_cv.pt",
        lambda: wav2vec2_checkpoint(layer_norm_first=True),
    ),
    "hubert_base": ("hubert_base_ls960.pt", hubert_checkpoint),
    "wavlm_base_plus": ("wavlm_base_plus.pt", wavlm_checkpoint),
}


@pytest.fixture(params=CHECKPOINTS)
def small(request, tmp_path, monkeypatch):
    """Return an upstream of s3prl with small random weights instead of the downloaded ones."""
    file, make = CHECKPOINTS[request.param]
    url = f"https://huggingface.co/s3prl/converted_ckpts/resolve/main/{file}"
    torch.manual_seed(0)
    torch.save(make(), tmp_path / f"{hashlib.sha256(url.encode()).hexdigest()}.{file}")
    monkeypatch.setattr("s3prl.util.download._download_dir", tmp_path)
    return upstream.load(request.param)


def test_hidden_states_equal_those_of_s3prl(small, waveform):
    assert (small.hidden_sizes, small.frame_shift) == ([16] * 4, 20.0)
    ours = small.hidden_states([waveform], range(4))[0]
    assert ours.shape == (4, 50, 16)
    with torch.inference_mode():
        samples, length = torch.from_numpy(waveform)[None], torch.tensor([len(waveform)])
        expected, _ = S3PRLUpstream(small.name).eval()(samples, length)
    for state, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(state, theirs[0])


@pytest.mark.parametrize("samples", [16000, 9001, 12345])
def test_lower_hidden_states_are_the_same_without_higher_layers(small, waveform, samples):
    every = small.hidden_states([waveform[:samples]], range(4))[0]
    for layers in ([0], [1], [2], [0, 2]):
        with computed_layers() as computed:
            lower = small.hidden_states([waveform[:samples]], layers)[0]
        torch.testing.assert_close(lower, every[layers])
        assert len(computed) == max(layers)


def test_recordings_of_50_to_70_ms_have_a_frame_for_each_shift(small, waveform):
    for samples in (800, 960, 961, 1000, 1039, 1040, 1100):
        assert small.hidden_states([waveform[:samples]], range(4))[0].shape == (4, -(-samples // 320), 16)


@pytest.mark.parametrize("name", ["fbank", "mfcc"])
@pytest.mark.parametrize("samples", [800, 801, 840, 879, 880, 961])
def test_the_last_spectral_frame_of_a_short_recording_is_repeated(name, waveform, samples):
    state = only_state(upstream.load(name), waveform[:samples])
    count = 1 + (samples - 400) // 160  # windows of 25 ms every 10 ms
    assert len(state) == -(-samples // 160)
    torch.testing.assert_close(state[count:], state[count - 1 : count].expand(len(state) - count, -1))


def test_an_unknown_name_gets_the_most_similar_one_suggested():
    with pytest.raises(
        SoctkError, match=r"'hubert_bse'\nDid you mean 'hubert_base'\? Give your own encoder as ./DIRECTORY"
    ):
        upstream.load("hubert_bse")


def test_a_failed_download_is_reported_with_a_remedy(monkeypatch):
    def no_network(*_args, **_options):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("soctk.features.upstream.s3prl.S3PRLUpstream.__init__", no_network)
    with pytest.raises(SoctkError, match=r"could not download the weights of hubert_base .*\n.*--upstream DIR"):
        upstream.load("hubert_base")
