"""Small encoders of each family with random weights, for tests of fine-tuning."""

from pathlib import Path

import torch
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

from soctk import config
from soctk.features.extract import Extraction
from soctk.finetuning.encoder import TunedEncoder, load
from soctk.schema import Config, FineTuneConfig

SIZES = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
WAV2VEC2 = SIZES | {"conv_dim": [8] * 7, "num_conv_pos_embedding_groups": 4, "num_conv_pos_embeddings": 16}
FAMILIES = {
    "wav2vec2": lambda: Wav2Vec2Model(Wav2Vec2Config(**WAV2VEC2)),
    "hubert": lambda: HubertModel(HubertConfig(**WAV2VEC2)),
    "wavlm": lambda: WavLMModel(WavLMConfig(**WAV2VEC2)),
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
QUICK = ("finetune.epochs=3", "finetune.batch_size=8", "finetune.lr_encoder=2e-3", "finetune.lr_head=2e-3")


def write_encoder(folder: Path, family: str) -> Path:
    """Write a checkpoint; its weights are large, so that each frame depends clearly on all other frames."""
    torch.manual_seed(0)
    model = FAMILIES[family]()
    for weight in model.parameters():
        if weight.dim() > 1 and weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    extractor = WhisperFeatureExtractor() if family == "whisper" else Wav2Vec2FeatureExtractor()
    extractor.save_pretrained(folder)
    return folder


def settings(tune: str = "lora", pooling: str = "mean", head: str = "linear", *overrides: str) -> Config:
    """Return settings of a short fine-tuning, of hidden states 1 and 2."""
    layers = ("frames.layers=[1, 2]",)
    return config.load([config.BUILTIN_CONF], pooling, head, overrides=[*layers, *QUICK, *overrides], tune=tune)


def options(tune: str, *overrides: str) -> FineTuneConfig:
    """Return the section `finetune` of settings."""
    found = settings(tune, "mean", "linear", *overrides).finetune
    assert found is not None
    return found


def tuned(folder: Path, tune: str = "lora", *overrides: str, layers: tuple[int, ...] = (1, 2)) -> TunedEncoder:
    """Return an encoder, some parameters of which are trained."""
    torch.manual_seed(0)
    return TunedEncoder(load(Extraction(str(folder))), options(tune, *overrides), layers)
