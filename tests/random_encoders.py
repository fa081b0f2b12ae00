"""Small encoders with random weights, one of each family."""

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import (
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

SIZES = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
CONVOLUTIONS = SIZES | {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
WHISPER = {"d_model": 64, "encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}
ENCODERS: dict[str, tuple[Callable, Callable]] = {
    "wav2vec2": (lambda: Wav2Vec2Model(Wav2Vec2Config(**CONVOLUTIONS)), Wav2Vec2FeatureExtractor),
    "hubert": (lambda: HubertModel(HubertConfig(**CONVOLUTIONS)), Wav2Vec2FeatureExtractor),
    "wavlm": (lambda: WavLMModel(WavLMConfig(**CONVOLUTIONS)), Wav2Vec2FeatureExtractor),
    "w2v-bert": (lambda: Wav2Vec2BertModel(Wav2Vec2BertConfig(**SIZES)), SeamlessM4TFeatureExtractor),
    "whisper": (
        lambda: WhisperModel(WhisperConfig(**WHISPER, decoder_layers=0, decoder_attention_heads=2)),
        WhisperFeatureExtractor,
    ),
}


def write(folder: Path, family: str, std: float = 0.1) -> Path:
    """Write a checkpoint to a folder, and return the folder; with a large `std`, each frame depends on all others."""
    make, extractor = ENCODERS[family]
    torch.manual_seed(0)
    model = make()
    for weight in model.parameters():
        if weight.dim() > 1 and weight.requires_grad:
            torch.nn.init.normal_(weight, std=std)
    model.save_pretrained(folder)
    extractor().save_pretrained(folder)
    return folder
