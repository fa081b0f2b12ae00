"""Upstreams of Hugging Face transformers, by hub id or directory: wav2vec 2.0, HuBERT, WavLM, Whisper, ..."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import AutoFeatureExtractor, AutoModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from transformers.utils.logging import disable_progress_bar

from soctk.errors import SoctkError


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
        one_second = np.random.default_rng(0).standard_normal(self.sample_rate, dtype=np.float32)
        states = self.hidden_states(one_second)
        self.num_layers = len(states)
        self.hidden_size = states[-1].shape[-1]
        self.frame_shift = self._samples_per_frame() * 1000 / self.sample_rate

    @torch.inference_mode()
    def hidden_states(self, waveform: np.ndarray) -> list[torch.Tensor]:
        """See soctk.upstream.Upstream.

        Raises:
            SoctkError: the utterance is longer than the encoder can take (Whisper: 30 s).
        """
        inputs = self._extractor(
            waveform, sampling_rate=self.sample_rate, return_tensors="pt", padding="longest", truncation=False
        ).to(self._device)
        if isinstance(self._encoder, WhisperEncoder):
            states = _whisper_hidden_states(self._encoder, inputs["input_features"])
        else:
            states = self._encoder(**inputs, output_hidden_states=True).hidden_states
        return [state[0].float().cpu() for state in states]

    def _samples_per_frame(self) -> int:
        if isinstance(self._encoder, WhisperEncoder):
            return self._extractor.hop_length * _stride(self._encoder.conv1) * _stride(self._encoder.conv2)
        return int(np.prod(self._encoder.config.conv_stride))


def _whisper_hidden_states(encoder: WhisperEncoder, log_mel: torch.Tensor) -> list[torch.Tensor]:
    """Run Whisper's encoder on a log-mel spectrogram `(1, mels, frames)` of any length up to 30 s.

    It is the library's own forward pass but for the positions, which are cut to the utterance.
    """
    frames = nn.functional.gelu(encoder.conv1(log_mel))
    frames = nn.functional.gelu(encoder.conv2(frames)).transpose(1, 2)
    positions = encoder.embed_positions.weight
    if frames.shape[1] > len(positions):
        raise SoctkError(
            f"an utterance of {frames.shape[1]} frames is longer than the {len(positions)} (30 s) that Whisper takes",
            remedy="Split the utterance, or choose another upstream.",
        )
    states = [frames + positions[: frames.shape[1]]]
    for layer in encoder.layers:
        states.append(layer(states[-1], None))
    states[-1] = encoder.layer_norm(states[-1])
    return states


def _load(name_or_path: str):
    disable_progress_bar()  # of the weights: seconds at most
    try:
        return AutoFeatureExtractor.from_pretrained(name_or_path), AutoModel.from_pretrained(name_or_path)
    except (OSError, ValueError) as error:  # what transformers raises for what is missing, and for what is unknown
        raise SoctkError(
            f"transformers cannot load it: {str(error).splitlines()[0]}",
            remedy="A hub id needs the network on first use; a folder needs config.json, preprocessor_config.json and "
            "model.safetensors. Give such a folder: --upstream DIR.",
            where=f"--upstream {name_or_path}",
        ) from error


def _checksum(directory: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(directory.glob("*")):
        if file.suffix in (".safetensors", ".bin", ".json"):
            digest.update(file.name.encode())
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]


def _stride(conv: nn.Conv1d) -> int:
    return conv.stride[0]
