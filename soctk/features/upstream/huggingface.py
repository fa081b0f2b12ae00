"""Upstreams of Hugging Face transformers, by hub id or directory: wav2vec 2.0, HuBERT, WavLM, w2v-BERT, Whisper, ..."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import HfApi
from safetensors import SafetensorError
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoFeatureExtractor, AutoModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from transformers.utils.logging import disable_progress_bar

from soctk import onednn
from soctk.errors import SoctkError
from soctk.features.upstream import early_exit

# Weights that many published checkpoints lack: they replace masked frames in pre-training.
_ONLY_FOR_TRAINING = {"masked_spec_embed"}
# config.model_type of encoders whose layers, given a mask, keep padding out of the frames of an utterance. Others, such
# as data2vec-audio, whose convolutions over positions reach into the padding, encode one utterance at a time.
_MASKED_EXACTLY = {"wav2vec2", "hubert", "wavlm", "wav2vec2-bert", "whisper"}
_HUB_TIMEOUT = 10  # s


class HuggingFaceUpstream:
    """A transformers encoder (soctk.features.upstream.Upstream); of an encoder-decoder, the encoder.

    An utterance has the same frames in a batch as alone. What comes before the transformer layers would let padding in
    (wav2vec 2.0 base and HuBERT base normalise each channel over all samples, convolutions reach over the end), and so
    is run on each utterance by itself; the layers are run on the batch, padded and masked.

    Whisper is run on the utterance's own length, its positions cut to it, instead of on 30 s of padding: about eight
    times cheaper on utterances of 4 s, and no frame of padding ever reaches the pooling.
    """

    def __init__(self, name_or_path: str, device: str, precision: str):
        directory = Path(name_or_path)
        self.name = directory.resolve().name
        self._device = device
        self._autocast = torch.autocast(device, getattr(torch, precision), enabled=precision != "float32")
        self._extractor, model = _load(name_or_path)
        self._model = model.get_encoder() if model.config.is_encoder_decoder else model
        self._model = self._model.float().to(device).eval()
        if precision == "float32":
            onednn.pack(self._model)
        self._is_whisper = isinstance(self._model, WhisperEncoder)
        self._encoder = self._model if self._is_whisper else getattr(self._model, "encoder", None)
        self.batches = model.config.model_type in _MASKED_EXACTLY
        self.source = (
            f"sha256:{_checksum(directory)}" if directory.is_dir() else f"revision:{model.config._commit_hash}"
        )
        self.sample_rate = self._extractor.sampling_rate
        self.frame_shift, self.hidden_sizes = self._probe()
        self.max_seconds = math.inf
        if self._is_whisper:
            self.max_seconds = self._model.max_source_positions * self.frame_shift / 1000

    @torch.inference_mode()
    def hidden_states(self, waveforms: Sequence[np.ndarray], layers: Sequence[int]) -> list[torch.Tensor]:
        """See soctk.features.upstream.Upstream."""
        inputs = [self._inputs(waveform) for waveform in waveforms]
        with self._autocast:
            if self.batches:
                frames = [self._front_end(**one) for one in inputs]
                lengths = [len(one) for one in frames]
                run = self._layers_on(pad_sequence(frames, batch_first=True), lengths)
            else:
                (one,) = inputs
                run, lengths = lambda: self._model(**one).last_hidden_state, [None]
            states = torch.stack(early_exit.hidden_states(run, self._encoder.layers, layers), dim=1).float()
        return [utterance[:, :length] for utterance, length in zip(states, lengths, strict=True)]

    def _inputs(self, waveform: np.ndarray) -> dict[str, torch.Tensor]:
        return self._extractor(
            waveform, sampling_rate=self.sample_rate, return_tensors="pt", padding="longest", truncation=False
        ).to(self._device)

    def _front_end(
        self,
        input_values: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return what goes into the encoder of one utterance `(T, D)`."""
        if self._is_whisper:
            frames = nn.functional.gelu(self._model.conv1(input_features))
            frames = nn.functional.gelu(self._model.conv2(frames))[0].T
            return frames + self._model.embed_positions.weight[: len(frames)]
        if input_features is None:
            input_features = self._model.feature_extractor(input_values).transpose(1, 2)
        elif attention_mask is not None:  # w2v-BERT's last frame, where it is half padding, does not count
            input_features = input_features[:, attention_mask[0].bool()]
        projected = self._model.feature_projection(input_features)
        return (projected[0] if isinstance(projected, tuple) else projected)[0]

    def _layers_on(self, frames: torch.Tensor, lengths: Sequence[int]):
        """Return a function that runs the encoder's layers on frames `(B, T, D)`, what is beyond the lengths masked."""
        mask = None
        if min(lengths) < frames.shape[1]:
            counts = torch.tensor(lengths, device=frames.device)
            mask = torch.arange(frames.shape[1], device=frames.device) < counts[:, None]
        if self._is_whisper:
            return lambda: self._whisper_layers(frames, mask)
        return lambda: self._encoder(frames, attention_mask=mask).last_hidden_state

    def _whisper_layers(self, frames: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Run Whisper's layers as the library does, but with a mask, which it does not take."""
        if mask is not None:
            mask = torch.zeros_like(mask, dtype=frames.dtype).masked_fill(~mask, -torch.inf)[:, None, None]
        for layer in self._model.layers:
            frames = layer(frames, mask)
        return self._model.layer_norm(frames)

    def _probe(self) -> tuple[float, list[int]]:
        """Return the frame shift in ms, from the frames of 1 s and of 3 s of noise, and the widths of the states."""
        noise = np.random.default_rng(0).standard_normal(3 * self.sample_rate, dtype=np.float32)
        try:
            layers = range(len(self._encoder.layers) + 1)
            short, long = (self.hidden_states([x], layers)[0] for x in (noise[: self.sample_rate], noise))
            return 2000 / (long.shape[1] - short.shape[1]), [long.shape[2]] * len(layers)
        except (TypeError, ValueError, AttributeError, RuntimeError, ZeroDivisionError) as error:
            raise SoctkError(
                f"no encoder of waveforms into frames, as far as soctk can tell ({type(error).__name__}: {error})",
                remedy="Supported are wav2vec 2.0, HuBERT, WavLM and their like, w2v-BERT, and Whisper.",
                where=f"--upstream {self.name}",
            ) from error


def _load(name_or_path: str):
    disable_progress_bar()  # of the weights: seconds at most
    where = f"--upstream {name_or_path}"
    try:
        extractor, model, loaded = _from_pretrained(name_or_path)
    except (OSError, ValueError, SafetensorError) as error:  # for what is missing, unknown and damaged
        raise SoctkError(
            f"transformers cannot load it: {str(error).splitlines()[0]}",
            remedy="A folder needs config.json, preprocessor_config.json and model.safetensors; of a hub id, see that "
            "it is one of an encoder of speech.",
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


def _from_pretrained(name_or_path: str):
    """Return feature extractor, model, and what is said of its loading: from the disk, or else from the hub."""

    def load(**where_from):
        extractor = AutoFeatureExtractor.from_pretrained(name_or_path, **where_from)
        return extractor, *AutoModel.from_pretrained(name_or_path, output_loading_info=True, **where_from)

    try:
        return load(local_files_only=True)
    except OSError:
        if Path(name_or_path).is_dir():
            raise
    _require_on_hub(name_or_path)
    return load()


def _require_on_hub(name: str) -> None:
    """Ask the hub for a model once: transformers would ask again and again, for 46 s where there is no network."""
    try:
        HfApi().model_info(name, timeout=_HUB_TIMEOUT)
    except Exception as error:  # of the network, of the hub, of the name: each of a class of its own
        raise SoctkError(
            f"not on this machine, and the Hugging Face hub does not give it ({type(error).__name__})",
            remedy="A hub id needs the network on its first use. Check the id, or give the model's folder: "
            "--upstream DIR.",
            where=f"--upstream {name}",
        ) from error


def _checksum(directory: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(directory.glob("*")):
        if file.suffix in (".safetensors", ".bin", ".json"):
            digest.update(file.name.encode())
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]
