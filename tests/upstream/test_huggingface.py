"""The real loading code, on small randomly initialised checkpoints of each architecture, written by the tests."""

import math
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    BertConfig,
    BertModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from soctk import upstream
from soctk.errors import SoctkError

CONVOLUTIONAL = {"wav2vec2": (Wav2Vec2Config, Wav2Vec2Model), "hubert": (HubertConfig, HubertModel)}
CONVOLUTIONAL["wavlm"] = (WavLMConfig, WavLMModel)
SIZES = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Folders of tiny checkpoints, by architecture."""
    root = tmp_path_factory.mktemp("check points")
    torch.manual_seed(0)
    for name, (config_class, model_class) in CONVOLUTIONAL.items():
        config = config_class(**SIZES, conv_dim=[8] * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4)
        model_class(config).save_pretrained(root / name)
        Wav2Vec2FeatureExtractor().save_pretrained(root / name)
    config = WhisperConfig(
        d_model=24,
        encoder_layers=3,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_layers=0,
        decoder_attention_heads=2,
    )
    WhisperModel(config).save_pretrained(root / "whisper")
    WhisperFeatureExtractor().save_pretrained(root / "whisper")
    return root


@pytest.mark.parametrize("name", [*CONVOLUTIONAL, "whisper"])
def test_it_tells_its_shape(checkpoints, name):
    encoder = upstream.load(str(checkpoints / name))
    assert (encoder.name, encoder.hidden_sizes) == (name, [24] * 4)
    assert (encoder.sample_rate, encoder.frame_shift) == (16000, 20.0)
    assert encoder.max_seconds == (30 if name == "whisper" else math.inf)
    states = encoder.hidden_states(noise(16000))
    assert {state.shape for state in states} == {(50 if name == "whisper" else 49, 24)}
    assert all(state.dtype == torch.float32 and not state.requires_grad for state in states)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_hidden_states_are_those_of_transformers(checkpoints, name):
    path = checkpoints / name
    inputs = AutoFeatureExtractor.from_pretrained(path)(noise(9000), sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        expected = AutoModel.from_pretrained(path).eval()(**inputs, output_hidden_states=True).hidden_states
    for ours, theirs in zip(upstream.load(str(path)).hidden_states(noise(9000)), expected, strict=True):
        torch.testing.assert_close(ours, theirs[0])


def whisper_of_transformers(path, waveform):
    inputs = AutoFeatureExtractor.from_pretrained(path)(waveform, sampling_rate=16000, return_tensors="pt")
    encoder = AutoModel.from_pretrained(path, dtype=torch.float32).eval().get_encoder()
    with torch.inference_mode():
        return [state[0] for state in encoder(inputs.input_features, output_hidden_states=True).hidden_states]


def test_whisper_on_30_s_is_that_of_transformers(checkpoints):
    waveform = noise(30 * 16000)
    expected = whisper_of_transformers(checkpoints / "whisper", waveform)
    for ours, theirs in zip(upstream.load(str(checkpoints / "whisper")).hidden_states(waveform), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["whisper-base-encoder", "whisper-tiny-en-encoder"])
def test_a_real_whisper_on_30_s_is_that_of_transformers(shared, name):
    waveform = noise(30 * 16000)
    expected = whisper_of_transformers(shared / "upstreams" / name, waveform)
    ours = upstream.load(str(shared / "upstreams" / name)).hidden_states(waveform)
    assert len(ours) == len(expected)
    torch.testing.assert_close(ours[-1], expected[-1])


def test_whisper_takes_an_odd_number_of_mel_frames(checkpoints):
    assert upstream.load(str(checkpoints / "whisper")).hidden_states(noise(101 * 160))[-1].shape == (51, 24)


def test_a_checkpoint_that_lacks_weights_is_refused(checkpoints, tmp_path):
    shutil.copytree(checkpoints / "hubert", tmp_path / "hubert")
    weights = load_file(tmp_path / "hubert" / "model.safetensors")
    del weights["encoder.layers.1.attention.k_proj.weight"]
    save_file(weights, tmp_path / "hubert" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        SoctkError, match=r"lacks 1 of the model's weights, such as encoder\.layers\.1\.attention\.k_proj"
    ):
        upstream.load(str(tmp_path / "hubert"))


def test_a_cut_checkpoint_is_told(checkpoints, tmp_path):
    shutil.copytree(checkpoints / "hubert", tmp_path / "hubert")
    weights = tmp_path / "hubert" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(SoctkError, match="transformers cannot load it"):
        upstream.load(str(tmp_path / "hubert"))


def test_a_model_that_is_no_speech_encoder_is_told(checkpoints, tmp_path):
    BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)).save_pretrained(
        tmp_path
    )
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(SoctkError, match=r"no encoder of waveforms into frames(?s:.*)Supported are wav2vec 2\.0"):
        upstream.load(str(tmp_path))


def test_the_source_is_a_checksum_of_the_weights(checkpoints, tmp_path):
    first = upstream.load(str(checkpoints / "hubert")).source
    assert first == upstream.load(str(checkpoints / "hubert")).source
    model = HubertModel.from_pretrained(checkpoints / "hubert")
    model.encoder.layers[0].final_layer_norm.bias.data[0] += 1
    model.save_pretrained(tmp_path / "hubert")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "hubert")
    assert upstream.load(str(tmp_path / "hubert")).source != first


def test_a_folder_that_is_no_checkpoint_is_told(tmp_path):
    with pytest.raises(SoctkError, match=r"(?s)transformers cannot load it.*config.json, preprocessor_config.json"):
        upstream.load(str(tmp_path))


def test_a_hub_id_without_a_network_is_told(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SoctkError, match=r"--upstream nobody/nothing: (?s:.*)A hub id needs the network on first use"):
        upstream.load("nobody/nothing")
