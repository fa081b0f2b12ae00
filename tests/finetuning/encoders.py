"""Settings of short fine-tunings, and the encoders that they train."""

from pathlib import Path

import torch
from random_encoders import write

from soctk import config
from soctk.features.extract import Extraction
from soctk.finetuning.encoder import TunedEncoder, load
from soctk.schema import Config, FineTuneConfig

FAMILIES = ("wav2vec2", "hubert", "wavlm", "whisper")
QUICK = ("finetune.epochs=3", "finetune.batch_size=8", "finetune.lr_encoder=2e-3", "finetune.lr_head=2e-3")


def write_encoder(folder: Path, family: str) -> Path:
    """Write a checkpoint in which each frame depends clearly on all other frames."""
    return write(folder, family, std=0.2)


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
