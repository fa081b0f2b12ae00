"""The ONNX form of an encoder gives torch's hidden states and posteriors, for any number of frames."""

import logging
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from random_models import random_bundle
from transformers import (
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

import soctk
from soctk.errors import SoctkError
from soctk.features import upstream
from soctk.inference import bundle
from soctk.inference.onnx import export
from soctk.inference.onnx.runtime import OnnxRuntime

RATE = 16000
SECONDS = [0.05, 0.1, 1.0, 4.0, 12.0, 29.9, 35.0]
SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "conv_dim": (8, 8),
    "conv_stride": (10, 32), "conv_kernel": (20, 32), "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
WHISPER = {
    "d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "vocab_size": 9, "pad_token_id": 0,
    "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 0,
}  # fmt: skip
MODELS = {
    "wav2vec2": lambda: Wav2Vec2Model(Wav2Vec2Config(**SMALL)),
    "hubert": lambda: HubertModel(HubertConfig(**SMALL, **STABLE)),
    "wavlm": lambda: WavLMModel(WavLMConfig(**SMALL, num_buckets=32, max_bucket_distance=80)),
    "whisper": lambda: WhisperModel(WhisperConfig(**WHISPER)),
}


def make_encoder(name, folder):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        MODELS[name]().save_pretrained(folder)
    normalises = name == "hubert"
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=False, do_normalize=normalises)
    (WhisperFeatureExtractor() if name == "whisper" else extractor).save_pretrained(folder)
    return folder


def make_model(name, folder, layers, weights="float32"):
    """Write a model with random weights and the ONNX form of its encoder; return the model's bundle."""
    encoder = upstream.load(str(make_encoder(name, folder / "encoder")))
    made = random_bundle("mean+soc_full", name=str(folder / "encoder"), layers=layers)
    source = made.settings.encoder.model_copy(update={"source": encoder.source})
    made = replace(made, settings=made.settings.model_copy(update={"encoder": source}), path=folder)
    bundle.write(folder, made)
    export.write(made, encoder, weights)
    return made


@pytest.fixture(scope="module", params=[("wav2vec2", [0, 1]), ("hubert", [2]), ("wavlm", [1, 2]), ("whisper", [1, 2])],
                ids=lambda param: param[0])  # fmt: skip
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param[0]
    folder.mkdir()
    make_model(*request.param[:1], folder, request.param[1])
    return folder


def waveform(seconds):
    samples = np.random.default_rng(0).standard_normal(round(RATE * seconds), dtype=np.float32)
    return 0.1 * samples * np.sin(np.arange(len(samples), dtype=np.float32) / RATE)


@pytest.mark.slow
def test_posteriors_are_those_of_torch_for_any_length(folder):
    torch_model, onnx_model = soctk.load(folder), soctk.load(folder, runtime="onnx")
    assert onnx_model.max_seconds == torch_model.max_seconds
    for seconds in SECONDS:
        samples = waveform(seconds)
        if seconds > torch_model.max_seconds:
            with pytest.raises(SoctkError, match="the encoder takes 30 s"):
                onnx_model(samples, RATE)
            continue
        (expected,) = torch_model.runtime.hidden_states([samples])
        (found,) = onnx_model.runtime.hidden_states([samples])
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert onnx_model(samples, RATE).posteriors == pytest.approx(torch_model(samples, RATE).posteriors, abs=1e-4)


@pytest.mark.slow
def test_8_bits_make_the_graph_smaller_and_change_states_a_little(tmp_path, monkeypatch):
    monkeypatch.setitem(WHISPER, "encoder_ffn_dim", 2000)
    made = make_model("whisper", tmp_path, [1], "int8")
    (found,) = OnnxRuntime.load(made).hidden_states([waveform(1.0)])
    (expected,) = upstream.load(str(tmp_path / "encoder")).hidden_states([waveform(1.0)], [1])
    error = np.linalg.norm(found - expected.numpy()) / np.linalg.norm(expected.numpy())
    assert 1e-5 < error < 0.1
    assert made.settings.encoder.source.startswith("sha256:")
    size = (tmp_path / "onnx" / "encoder.onnx").stat().st_size
    rest = 16 * (80 * 3 + 16 * 3 + 1500)  # values of the convolutions and positions, in 32 bits
    assert size < 2.2 * 16 * 2000 + 4 * rest + 60_000
    assert "weights: int8" in (tmp_path / "onnx" / "config.yaml").read_text()


def test_a_graph_with_other_states_is_refused(tmp_path):
    made = replace(random_bundle(), path=tmp_path)
    encoder = upstream.load("fbank")
    encode = encoder.hidden_states
    encoder.hidden_states = lambda waveforms, layers: [1.01 * states for states in encode(waveforms, layers)]
    with pytest.raises(SoctkError, match=r"gives other hidden states than torch, with a relative error of 0\.0099"):
        export.write(made, encoder)


def test_an_encoder_without_an_onnx_form_is_refused(tmp_path):
    made = random_bundle(name="fbank_no_cmvn")
    with pytest.raises(SoctkError) as error:
        export.write(replace(made, path=tmp_path), upstream.load("fbank_no_cmvn"))
    assert str(error.value) == (
        "--onnx: the encoder fbank_no_cmvn has no ONNX form in soctk, so the model cannot run without torch\n"
        "Leave out --onnx, or use another encoder. It works with wav2vec 2.0, HuBERT, WavLM and Whisper of "
        "transformers, and fbank and mfcc of s3prl."
    )
    assert not list(tmp_path.iterdir())


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(
        SoctkError, match=r"--onnx: the export needs the package onnxscript, .*\n.*pip install -U 'soctk\[onnx\]'"
    ):
        export.write(replace(random_bundle(), path=tmp_path), upstream.load("fbank"))


def test_an_encoder_beyond_the_size_of_a_file_is_refused(monkeypatch):
    monkeypatch.setattr(export, "_LARGEST", 1000)
    with pytest.raises(
        SoctkError, match=r"has 5\.0 GB of weights up to the hidden state 7, and a file of ONNX has 2 GB"
    ):
        export._require_size(5 * 10**9, [3, 7])


def test_messages_of_other_packages_come_back_after_the_export():
    logger = logging.getLogger("a logger of another package")
    logger.setLevel(logging.WARNING)  # other tests may raise the level of the root
    with export._quiet():
        assert not logger.isEnabledFor(logging.WARNING)
    assert logger.isEnabledFor(logging.WARNING)
