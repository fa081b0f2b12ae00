"""Encoders of Hugging Face transformers, by hub id or directory: wav2vec 2.0, HuBERT, WavLM, w2v-BERT, Whisper, ..."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from soctk import onednn
from soctk.errors import SoctkError
from soctk.features.upstream import early_exit
from soctk.features.upstream.checkpoints import describe, identify_source, load_checkpoint

# config.model_type of the encoders whose attention mask hides the padding completely, so that it does not change the
# frames. Other encoders process one utterance at a time. For example, the positional convolutions of data2vec-audio
# would see the padding.
_MASKED_EXACTLY = {"wav2vec2", "hubert", "wavlm", "wav2vec2-bert", "whisper"}
_WAVEFORMS = {"wav2vec2", "hubert", "wavlm"}  # the encoders among these that take samples


class HuggingFaceUpstream:
    """An encoder of transformers with the interface soctk.features.upstream.Upstream; decoders are not used.

    An utterance has the same frames in a batch as alone. The front end before the transformer layers would mix padding
    into the frames: wav2vec 2.0 base and HuBERT base normalise each channel over all samples, and convolutions reach
    beyond the end. Therefore the front end hides the padding of a batch too. On a CPU it processes each utterance
    separately.

    Whisper processes the real length of an utterance instead of 30 s, with one position embedding for each of its
    frames. For utterances of 4 s this is about eight times faster, and the pooling gets no frames of padding.

    Args:
        name_or_path: the directory of a checkpoint, or a hub id.
        device: `cpu` or `cuda`.
        precision: the data type of autocast in `hidden_states`; float32 means no autocast.
        revision: the commit, tag or branch of a hub id.
        is_frozen: whether the weights never change. If they do (soctk.finetuning), they are not packed for oneDNN.
    """

    has_units = False
    note = ""

    def __init__(
        self, name_or_path: str, device: str, precision: str, revision: str | None = None, is_frozen: bool = True
    ):
        directory = Path(name_or_path)
        self.name = directory.resolve().name
        self._device = device
        self._autocast = torch.autocast(device, getattr(torch, precision), enabled=precision != "float32")
        self.extractor, model = load_checkpoint(name_or_path, revision)
        self._model = model.get_encoder() if model.config.is_encoder_decoder else model
        self._model = self._model.float().to(device).eval()
        if precision == "float32" and is_frozen:
            onednn.pack(self._model)
        self._is_whisper = isinstance(self._model, WhisperEncoder)
        # Any: the encoders have no common class. _probe reports a model without encoder layers.
        self._encoder: Any = self._model if self._is_whisper else getattr(self._model, "encoder", None)
        self.model_type = model.config.model_type
        self.batches = self.model_type in _MASKED_EXACTLY
        self.batches_front_end = device != "cpu"  # a processor's cache holds one utterance, but not a batch
        self.source = identify_source(name_or_path, revision)
        self.hub = "" if directory.is_dir() else name_or_path
        self.sample_rate = self.extractor.sampling_rate
        self.frame_shift, self.hidden_sizes = self._probe()
        self.max_seconds = math.inf
        if self._is_whisper:
            self.max_seconds = self._model.max_source_positions * self.frame_shift / 1000

    @torch.inference_mode()
    def hidden_states(self, waveforms: Sequence[np.ndarray], layers: Sequence[int]) -> list[torch.Tensor]:
        """See soctk.features.upstream.Upstream."""
        with self._autocast:
            if self.batches:
                return self.run_layers(self.run_front_end(waveforms), layers)
            (waveform,) = waveforms
            one = self._call_extractor(waveform)
            states = early_exit.hidden_states(lambda: self._model(**one).last_hidden_state, self.blocks, layers)
            return [torch.cat(states).float()]

    @property
    def model(self) -> nn.Module:
        """The encoder."""
        return self._model

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer layers: hidden state i is the output of layer i, and state 0 is the input of layer 1."""
        return self._encoder.layers

    def run_front_end(self, waveforms: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Return the input to the transformer layers for each utterance, `(T, D)`, with a gradient if it is enabled."""
        inputs = [self._extract_inputs(waveform) for waveform in waveforms]
        if not self.batches_front_end:
            return [self._convolve(one[None])[0] for one in inputs]
        lengths = [one.shape[-1] for one in inputs]
        padded = torch.stack([nn.functional.pad(one, (0, max(lengths) - one.shape[-1])) for one in inputs])
        counts = [self._count_frames(length) for length in lengths]
        return [frames[:count] for frames, count in zip(self._convolve(padded, lengths), counts, strict=True)]

    def run_layers(self, utterances: Sequence[torch.Tensor], layers: Sequence[int]) -> list[torch.Tensor]:
        """Return hidden states `(L, T, D)` in float32, with a gradient if it is enabled, for outputs of the front end.

        Args:
            utterances: frames `(T, D)` each, of an encoder for which `batches` is True.
            layers: the numbers of L hidden states.
        """
        run = self._prepare_layers(utterances)
        states = torch.stack(early_exit.hidden_states(run, self._encoder.layers, layers), dim=1).float()
        return [state[:, : len(frames)] for state, frames in zip(states, utterances, strict=True)]

    def _extract_inputs(self, waveform: np.ndarray) -> torch.Tensor:
        """Return the input of the front end for one utterance, the last dimension of which is time."""
        inputs = self._call_extractor(waveform)
        if "input_values" in inputs:
            return inputs["input_values"][0]
        features = inputs["input_features"][0]
        if self._is_whisper:
            return features
        return features[inputs["attention_mask"][0].bool()].T  # drops w2v-BERT's last frame if half of it is padding

    def _call_extractor(self, waveform: np.ndarray) -> Any:
        options: dict[str, Any] = {"padding": "longest", "truncation": False, "return_tensors": "pt"}
        if self._is_whisper:
            options["device"] = self._device
        # Whisper's extractor computes its mel spectrum with torch, partly on the device.
        with torch.autocast("cpu", enabled=False), torch.autocast(self._device, enabled=False):
            return self.extractor(waveform, sampling_rate=self.sample_rate, **options).to(self._device)

    def _convolve(self, inputs: torch.Tensor, lengths: Sequence[int] | None = None) -> torch.Tensor:
        """Return the input to the transformer layers `(B, T, D)`; frames beyond the end of an utterance mean nothing.

        Args:
            inputs: the padded inputs of B utterances, `(B, ..., time)`.
            lengths: their lengths in time; None if there is no padding.
        """
        if self._is_whisper:
            frames = nn.functional.gelu(self._model.conv1(inputs))
            if lengths is not None:  # the second convolution reaches one step beyond the end, where it must find 0
                frames = frames * _is_inside(lengths, frames)
            frames = nn.functional.gelu(self._model.conv2(frames)).mT
            return frames + self._model.embed_positions.weight[: frames.shape[1]]
        if inputs.dim() == 2:
            with _lengths_known(self._model.feature_extractor, lengths):
                features = self._model.feature_extractor(inputs).mT
        else:
            features = inputs.mT
        projected = self._model.feature_projection(features)
        return projected[0] if isinstance(projected, tuple) else projected

    def _count_frames(self, length: int) -> int:
        """Return the number of frames of an utterance, for the length of its input."""
        if self._is_whisper:
            return (length + 1) // 2
        return int(self._model._get_feat_extract_output_lengths(length)) if self.model_type in _WAVEFORMS else length

    def _prepare_layers(self, utterances: Sequence[torch.Tensor]) -> Callable[[], torch.Tensor]:
        """Return a function that runs the transformer layers on utterances `(T, D)`, padded and masked as one batch."""
        frames, lengths = pad_sequence(list(utterances), batch_first=True), [len(one) for one in utterances]
        mask = None
        if min(lengths) < frames.shape[1]:
            counts = torch.tensor(lengths, device=frames.device)
            mask = torch.arange(frames.shape[1], device=frames.device) < counts[:, None]
        return lambda: self._run_layers(frames, mask)

    def _run_layers(self, frames: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Run the transformer layers; Whisper's forward method has no argument for a mask, so this one calls each."""
        if not self._is_whisper:
            return self._encoder(frames, attention_mask=mask).last_hidden_state
        if mask is not None:
            mask = torch.zeros_like(mask, dtype=frames.dtype).masked_fill(~mask, -torch.inf)[:, None, None]
        for layer in self._model.layers:
            frames = layer(frames, mask)
        return self._model.layer_norm(frames)

    def _probe(self) -> tuple[float, list[int]]:
        """Return the frame shift in ms and the widths of the hidden states, measured on 1 s and 3 s of noise."""
        try:
            if not (isinstance(self.sample_rate, int) and self.sample_rate > 0):
                raise ValueError(f"sampling_rate is {self.sample_rate!r}")
            noise = np.random.default_rng(0).standard_normal(3 * self.sample_rate, dtype=np.float32)
            layers = range(len(self._encoder.layers) + 1)
            short, long = (self.hidden_states([x], layers)[0] for x in (noise[: self.sample_rate], noise))
            if not long.isfinite().all():
                raise ValueError("NaN or infinite frames")
            return 2000 / (long.shape[1] - short.shape[1]), [long.shape[2]] * len(layers)
        except Exception as error:  # wrong settings and weights raise errors of many classes
            raise SoctkError(
                f"this model does not encode waveforms into frames ({describe(error)})",
                remedy="Use wav2vec 2.0, HuBERT, WavLM or a model with the same interface, w2v-BERT, or Whisper.",
                where=f"--upstream {self.name}",
            ) from error


class _GroupNorm(nn.GroupNorm):
    """The normalisation of each channel over time, for utterances of different lengths.

    Attributes:
        lengths: the length of each utterance, in steps of the input; None if there is no padding.
    """

    lengths: Sequence[int] | None = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the normalised inputs `(B, C, T)`."""
        if self.lengths is None:
            return super().forward(inputs)
        inside, wide = _is_inside(self.lengths, inputs), inputs.float()
        count = inside.sum(-1, keepdim=True)
        centred = wide - (wide * inside).sum(-1, keepdim=True) / count
        variance = (centred * inside).square().sum(-1, keepdim=True) / count
        return centred * (variance + self.eps).rsqrt() * self.weight[:, None] + self.bias[:, None]


@contextmanager
def _lengths_known(feature_extractor: Any, lengths: Sequence[int] | None) -> Iterator[None]:
    """Let the normalisation after the first convolution know the lengths of the utterances, in samples."""
    first = feature_extractor.conv_layers[0]
    norm = getattr(first, "layer_norm", None)
    if lengths is None or not isinstance(norm, nn.GroupNorm):
        yield
        return
    (size,), (step,) = first.conv.kernel_size, first.conv.stride
    first.layer_norm = _GroupNorm(norm.num_groups, norm.num_channels, norm.eps)
    first.layer_norm.weight, first.layer_norm.bias = norm.weight, norm.bias
    first.layer_norm.lengths = [(length - size) // step + 1 for length in lengths]
    try:
        yield
    finally:
        first.layer_norm = norm


def _is_inside(lengths: Sequence[int], inputs: torch.Tensor) -> torch.Tensor:
    """Return `(B, 1, T)`, True for the steps of `inputs` `(B, C, T)` that belong to an utterance."""
    ends = torch.tensor(lengths, device=inputs.device)[:, None, None]
    return torch.arange(inputs.shape[-1], device=inputs.device) < ends


class Traceable(nn.Module):
    """Hidden states of one utterance, computed such that torch.export can record them for any number of frames.

    Args:
        upstream: an encoder for which `batches` is True.
        layers: the numbers of L hidden states.
    """

    def __init__(self, upstream: HuggingFaceUpstream, layers: Sequence[int]):
        super().__init__()
        self.model = upstream._model  # registers the weights
        self._upstream, self._layers = upstream, layers

    def example(self) -> torch.Tensor:
        """Return the input `(1, ..., samples or frames)` for 2 s of noise."""
        noise = np.random.default_rng(0).standard_normal(2 * self._upstream.sample_rate, dtype=np.float32)
        return self._upstream._extract_inputs(noise)[None]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the hidden states `(L, T, D)`, for the output of the feature extractor."""
        upstream = self._upstream
        frames = upstream._convolve(inputs)
        every = upstream._encoder.layers
        upstream._encoder.layers = every[: max(self._layers) + 1]  # the input of the last one is the highest state
        try:
            states = early_exit.hidden_states(
                lambda: upstream._run_layers(frames, None), upstream._encoder.layers, self._layers, exits=False
            )
        finally:
            upstream._encoder.layers = every
        return torch.stack(states)[:, 0]
