"""Upstreams of Hugging Face transformers, by hub id or directory: wav2vec 2.0, HuBERT, WavLM, Whisper, ..."""

import hashlib
import math
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoFeatureExtractor, AutoModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from transformers.utils.logging import disable_progress_bar

from soctk.errors import SoctkError

# Weights that many published checkpoints lack: they replace masked frames in pre-training.
_ONLY_FOR_TRAINING = {"masked_spec_embed"}


class HuggingFaceUpstream:
    """A transformers encoder (soctk.upstream.Upstream); of an encoder-decoder, the encoder.

    Whisper is run on the utterance's own length, its positions cut to it, instead of on 30 s of padding: about eight
    times cheaper on utterances of 4 s, and no frame of padding ever reaches the pooling.
    """

    def __init__(self, name_or_path: str, device: str):
        directory = Path(name_or_path)
        self.name = directory.resolve().name
        self._device = device
        self._extractor, model = _load(name_or_path)
        self._encoder = model.get_encoder() if model.config.is_encoder_decoder else model
        self._encoder = self._encoder.float().to(device).eval()
        self.source = (
            f"sha256:{_checksum(directory)}" if directory.is_dir() else f"revision:{model.config._commit_hash}"
        )
        self.sample_rate = self._extractor.sampling_rate
        self.frame_shift, self.hidden_sizes = self._probe()
        self.max_seconds = math.inf
        if isinstance(self._encoder, WhisperEncoder):
            self.max_seconds = self._encoder.max_source_positions * self.frame_shift / 1000

    @torch.inference_mode()
    def hidden_states(self, waveform: np.ndarray) -> list[torch.Tensor]:
        """See soctk.upstream.Upstream."""
        inputs = self._extractor(
            waveform, sampling_rate=self.sample_rate, return_tensors="pt", padding="longest", truncation=False
        ).to(self._device)
        if isinstance(self._encoder, WhisperEncoder):
            states = _whisper_hidden_states(self._encoder, inputs["input_features"])
        else:
            states = self._encoder(**inputs, output_hidden_states=True).hidden_states
        return [state[0].float().cpu() for state in states]

    def _probe(self) -> tuple[float, list[int]]:
        """Return the frame shift in ms, from the frames of 1 s and of 3 s of noise, and the widths of the states."""
        noise = np.random.default_rng(0).standard_normal(3 * self.sample_rate, dtype=np.float32)
        try:
            short, long = self.hidden_states(noise[: self.sample_rate]), self.hidden_states(noise)
            return 2000 / (len(long[-1]) - len(short[-1])), [state.shape[-1] for state in long]
        except (TypeError, ValueError, AttributeError, RuntimeError, ZeroDivisionError) as error:
            raise SoctkError(
                f"no encoder of waveforms into frames, as far as soctk can tell ({type(error).__name__}: {error})",
                remedy="Supported are wav2vec 2.0, HuBERT, WavLM and their like, and Whisper.",
                where=f"--upstream {self.name}",
            ) from error


def _whisper_hidden_states(encoder: WhisperEncoder, log_mel: torch.Tensor) -> list[torch.Tensor]:
    """Run Whisper's encoder on a log-mel spectrogram `(1, mels, frames)` of any length up to 30 s.

    It is the library's own forward pass but for the positions, which are cut to the utterance.
    """
    frames = nn.functional.gelu(encoder.conv1(log_mel))
    frames = nn.functional.gelu(encoder.conv2(frames)).transpose(1, 2)
    positions = encoder.embed_positions.weight
    states = [frames + positions[: frames.shape[1]]]
    for layer in encoder.layers:
        states.append(layer(states[-1], None))
    states[-1] = encoder.layer_norm(states[-1])
    return states


def _load(name_or_path: str):
    disable_progress_bar()  # of the weights: seconds at most
    where = f"--upstream {name_or_path}"
    try:
        extractor = AutoFeatureExtractor.from_pretrained(name_or_path)
        model, loaded = AutoModel.from_pretrained(name_or_path, output_loading_info=True)
    except (OSError, ValueError, SafetensorError) as error:  # for what is missing, unknown and damaged
        raise SoctkError(
            f"transformers cannot load it: {str(error).splitlines()[0]}",
            remedy="A hub id needs the network on first use; a folder needs config.json, preprocessor_config.json and "
            "model.safetensors. Give such a folder: --upstream DIR.",
            where=where,
        ) from error
    missing = sorted(key for key in loaded["missing_keys"] if key not in _ONLY_FOR_TRAINING)
    if missing:
        raise SoctkError(
            f"the checkpoint lacks {len(missing)} of the model's weights, such as {missing[0]}",
            remedy="They would be random: get the whole checkpoint, or one of the architecture in its config.json.",
            where=where,
        )
    return extractor, model


def _checksum(directory: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(directory.glob("*")):
        if file.suffix in (".safetensors", ".bin", ".json"):
            digest.update(file.name.encode())
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]
