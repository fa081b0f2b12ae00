"""Encoders of transformers, loaded from small checkpoints with random weights, one of each architecture."""

import math
import shutil

import numpy as np
import pytest
import torch
from encoder_layers import computed_layers
from safetensors.torch import load_file, save_file
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    BertConfig,
    BertModel,
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from soctk.errors import SoctkError
from soctk.features import upstream

SIZES = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
CONVOLUTIONS = SIZES | {"conv_dim": [8] * 7, "num_conv_pos_embedding_groups": 4}
WAV2VEC2 = CONVOLUTIONS | {"num_conv_pos_embeddings": 16}
LARGE = WAV2VEC2 | {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}  # like wav2vec 2.0 large
ARCHITECTURES = {
    "wav2vec2": lambda: Wav2Vec2Model(Wav2Vec2Config(**WAV2VEC2)),
    "wav2vec2-large": lambda: Wav2Vec2Model(Wav2Vec2Config(**LARGE)),
    "hubert": lambda: HubertModel(HubertConfig(**WAV2VEC2)),
    "wavlm": lambda: WavLMModel(WavLMConfig(**WAV2VEC2)),
    "data2vec": lambda: Data2VecAudioModel(Data2VecAudioConfig(**CONVOLUTIONS, conv_pos_kernel_size=5)),
    "w2v-bert": lambda: Wav2Vec2BertModel(Wav2Vec2BertConfig(**SIZES)),
    "whisper": lambda: WhisperModel(
        WhisperConfig(
            d_model=24,
            encoder_layers=3,
            encoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_layers=0,
            decoder_attention_heads=2,
        )
    ),
}
EXTRACTORS = {"w2v-bert": SeamlessM4TFeatureExtractor, "whisper": WhisperFeatureExtractor}
OTHERS = [name for name in ARCHITECTURES if name != "whisper"]
EVERY_LAYER = range(4)


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Return a directory with a tiny checkpoint of each architecture.

    The weights are large, so that each frame depends clearly on all other frames.
    """
    root = tmp_path_factory.mktemp("check points")
    torch.manual_seed(0)
    for name, make in ARCHITECTURES.items():
        model = make()
        for weight in model.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.2)
        model.save_pretrained(root / name)
        EXTRACTORS.get(name, Wav2Vec2FeatureExtractor)().save_pretrained(root / name)
    return root


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_shapes_and_rates_are_reported(checkpoints, name):
    encoder = upstream.load(str(checkpoints / name))
    assert (encoder.name, encoder.hidden_sizes) == (name, [24] * 4)
    assert (encoder.sample_rate, encoder.frame_shift) == (16000, 20.0)
    assert encoder.max_seconds == (30 if name == "whisper" else math.inf)
    (states,) = encoder.hidden_states([noise(16000)], EVERY_LAYER)
    assert states.shape == (4, 50 if name == "whisper" else 49, 24)
    assert states.dtype == torch.float32
    assert not states.requires_grad


@pytest.mark.parametrize("name", OTHERS)
def test_hidden_states_equal_those_of_transformers(checkpoints, name):
    path = checkpoints / name
    inputs = AutoFeatureExtractor.from_pretrained(path)(noise(9000), sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        expected = AutoModel.from_pretrained(path).eval()(**inputs, output_hidden_states=True)
    (states,) = upstream.load(str(path)).hidden_states([noise(9000)], EVERY_LAYER)
    for ours, theirs in zip(states[:-1], expected.hidden_states[:-1], strict=True):
        torch.testing.assert_close(ours, theirs[0])
    torch.testing.assert_close(states[-1], expected.last_hidden_state[0])


@pytest.mark.parametrize("batches_front_end", [False, True])  # as on a CPU, and as on a GPU
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "data2vec"])
def test_frames_are_the_same_in_a_batch_as_alone(checkpoints, name, batches_front_end):
    encoder = upstream.load(str(checkpoints / name))
    assert not encoder.batches_front_end
    encoder.batches_front_end = batches_front_end
    waveforms = [noise(samples) for samples in (16000, 9001, 12345, 8160)]
    assert encoder.batches
    alone = [encoder.hidden_states([waveform], EVERY_LAYER)[0] for waveform in waveforms]
    for one, batched in zip(alone, encoder.hidden_states(waveforms, EVERY_LAYER), strict=True):
        torch.testing.assert_close(batched, one, rtol=1e-4, atol=1e-5)


def test_an_encoder_whose_frames_change_with_padding_uses_no_batches(checkpoints):
    encoder = upstream.load(str(checkpoints / "data2vec"))
    assert not encoder.batches
    alone = encoder.hidden_states([noise(9001)], EVERY_LAYER)[0]
    encoder.batches = True
    batched = encoder.hidden_states([noise(16000), noise(9001)], EVERY_LAYER)[1]
    assert (batched - alone).norm() > 0.01 * alone.norm()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_lower_hidden_states_are_the_same_without_higher_layers(checkpoints, name):
    encoder = upstream.load(str(checkpoints / name))
    (every,) = encoder.hidden_states([noise(9001)], EVERY_LAYER)
    for layers in ([0], [1], [2], [0, 2]):
        with computed_layers() as computed:
            (lower,) = encoder.hidden_states([noise(9001)], layers)
        torch.testing.assert_close(lower, every[layers], rtol=0, atol=0)
        assert len(computed) == max(layers)


def test_autocast_gives_similar_but_not_equal_frames(checkpoints):
    exact, near = (
        upstream.load(str(checkpoints / "hubert"), precision=precision).hidden_states([noise(9001)], [3])[0]
        for precision in ("float32", "bfloat16")
    )
    assert near.dtype == torch.float32
    assert 1e-4 < (near - exact).norm() / exact.norm() < 0.1


def whisper_of_transformers(path, waveform):
    inputs = AutoFeatureExtractor.from_pretrained(path)(waveform, sampling_rate=16000, return_tensors="pt")
    encoder = AutoModel.from_pretrained(path, dtype=torch.float32).eval().get_encoder()
    with torch.inference_mode():
        return [state[0] for state in encoder(inputs.input_features, output_hidden_states=True).hidden_states]


def test_whispers_hidden_states_for_30_s_equal_those_of_transformers(checkpoints):
    waveform = noise(30 * 16000)
    expected = whisper_of_transformers(checkpoints / "whisper", waveform)
    (states,) = upstream.load(str(checkpoints / "whisper")).hidden_states([waveform], EVERY_LAYER)
    for ours, theirs in zip(states, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whisper-base-encoder", "whisper-tiny-en-encoder"])
def test_the_last_hidden_state_of_published_whispers_for_30_s_equals_that_of_transformers(shared, name):
    waveform = noise(30 * 16000)
    expected = whisper_of_transformers(shared / "upstreams" / name, waveform)
    encoder = upstream.load(str(shared / "upstreams" / name))
    assert len(encoder.hidden_sizes) == len(expected)
    last = encoder.hidden_states([waveform], [len(expected) - 1])[0][0]
    assert (last - expected[-1]).norm() < 1e-5 * expected[-1].norm()


@pytest.mark.parametrize("name", ["whisper-base-encoder", "whisper-tiny-en-encoder"])
def test_frames_of_a_published_whisper_are_the_same_in_a_batch_as_alone(shared, name):
    encoder = upstream.load(str(shared / "upstreams" / name))
    waveforms = [noise(48000), noise(16000) * np.linspace(0, 1, 16000, dtype=np.float32)]
    every = range(len(encoder.hidden_sizes))
    alone = encoder.hidden_states(waveforms[1:], every)[0]
    batched = encoder.hidden_states(waveforms, every)[1]
    assert (batched - alone).norm() < 1e-4 * alone.norm()


def test_whisper_accepts_an_odd_number_of_mel_frames(checkpoints):
    assert upstream.load(str(checkpoints / "whisper")).hidden_states([noise(101 * 160)], [3])[0].shape == (1, 51, 24)


def test_a_checkpoint_without_some_weights_is_refused(checkpoints, tmp_path):
    shutil.copytree(checkpoints / "hubert", tmp_path / "hubert")
    weights = load_file(tmp_path / "hubert" / "model.safetensors")
    del weights["encoder.layers.1.attention.k_proj.weight"]
    save_file(weights, tmp_path / "hubert" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        SoctkError, match=r"lacks 1 of the model's weights, such as encoder\.layers\.1\.attention\.k_proj"
    ):
        upstream.load(str(tmp_path / "hubert"))


def test_a_truncated_checkpoint_is_refused(checkpoints, tmp_path):
    shutil.copytree(checkpoints / "hubert", tmp_path / "hubert")
    weights = tmp_path / "hubert" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(SoctkError, match="transformers cannot load it"):
        upstream.load(str(tmp_path / "hubert"))


def test_a_text_encoder_is_refused(checkpoints, tmp_path):
    BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)).save_pretrained(
        tmp_path
    )
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(SoctkError, match=r"does not encode waveforms into frames(?s:.*)Use wav2vec 2\.0"):
        upstream.load(str(tmp_path))


def test_the_source_changes_with_the_weights(checkpoints, tmp_path):
    first = upstream.load(str(checkpoints / "hubert")).source
    assert first == upstream.load(str(checkpoints / "hubert")).source
    model = HubertModel.from_pretrained(checkpoints / "hubert")
    model.encoder.layers[0].final_layer_norm.bias.data[0] += 1
    model.save_pretrained(tmp_path / "hubert")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "hubert")
    assert upstream.load(str(tmp_path / "hubert")).source != first


def test_a_directory_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(SoctkError, match=r"(?s)transformers cannot load it.*config.json, preprocessor_config.json"):
        upstream.load(str(tmp_path))


def test_a_hub_id_without_network_is_reported(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SoctkError, match=r"--upstream nobody/nothing: not on this machine(?s:.*)--upstream DIR"):
        upstream.load("nobody/nothing")


def test_a_model_of_the_hub_that_is_on_this_machine_needs_no_network(checkpoints, tmp_path, monkeypatch):
    revision = "0123456789" * 4
    model = tmp_path / "models--some--hubert"
    shutil.copytree(checkpoints / "hubert", model / "snapshots" / revision)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path))
    encoder = upstream.load("some/hubert")
    assert (encoder.name, encoder.source, encoder.hub) == ("hubert", f"revision:{revision}", "some/hubert")
    assert upstream.load(str(model / "snapshots" / revision)).hub == ""
    # Older models on the hub have only pickles, which torch reads as tensors alone.
    weights = model / "snapshots" / revision / "model.safetensors"
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()
    (again,) = upstream.load("some/hubert").hidden_states([noise(9000)], [3])
    torch.testing.assert_close(again, encoder.hidden_states([noise(9000)], [3])[0])
