"""Encoders of Hugging Face transformers, by hub id or directory: wav2vec 2.0, HuBERT, WavLM, w2v-BERT, Whisper, ..."""

import hashlib
import math
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from transformers.utils.logging import disable_progress_bar, enable_progress_bar

from soctk import onednn
from soctk.errors import SoctkError, plural
from soctk.features.upstream import early_exit
from soctk.files import require_utf8
from soctk.mappings import read_json

# Weights that many published checkpoints lack: they replace masked frames, which occur only in pre-training.
_ONLY_FOR_TRAINING = {"masked_spec_embed"}
# config.model_type of the encoders whose attention mask hides the padding completely, so that it does not change the
# frames. Other encoders process one utterance at a time. For example, the positional convolutions of data2vec-audio
# would see the padding.
_MASKED_EXACTLY = {"wav2vec2", "hubert", "wavlm", "wav2vec2-bert", "whisper"}
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_HUB_TIMEOUT = 10  # s


class HuggingFaceUpstream:
    """An encoder of transformers with the interface soctk.features.upstream.Upstream; decoders are not used.

    An utterance has the same frames in a batch as alone. The front end before the transformer layers would mix padding
    into the frames: wav2vec 2.0 base and HuBERT base normalise each channel over all samples, and convolutions reach
    beyond the end. Therefore the front end processes each utterance separately; only the transformer layers process a
    padded and masked batch.

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
        self.source = _identify_source(name_or_path, revision)
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
                return self.run_layers([self.run_front_end(waveform) for waveform in waveforms], layers)
            (waveform,) = waveforms
            one = self._extract_inputs(waveform)
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

    def run_front_end(self, waveform: np.ndarray) -> torch.Tensor:
        """Return the input to the transformer layers for one utterance, `(T, D)`, with a gradient if it is enabled."""
        return self._run_front_end(**self._extract_inputs(waveform))

    def run_layers(self, utterances: Sequence[torch.Tensor], layers: Sequence[int]) -> list[torch.Tensor]:
        """Return hidden states `(L, T, D)` in float32, with a gradient if it is enabled, for outputs of the front end.

        Args:
            utterances: frames `(T, D)` each, of an encoder for which `batches` is True.
            layers: the numbers of L hidden states.
        """
        run = self._prepare_layers(utterances)
        states = torch.stack(early_exit.hidden_states(run, self._encoder.layers, layers), dim=1).float()
        return [state[:, : len(frames)] for state, frames in zip(states, utterances, strict=True)]

    def _extract_inputs(self, waveform: np.ndarray) -> dict[str, torch.Tensor]:
        return self.extractor(
            waveform, sampling_rate=self.sample_rate, return_tensors="pt", padding="longest", truncation=False
        ).to(self._device)

    def _run_front_end(
        self,
        input_values: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the input to the transformer layers for one utterance, `(T, D)`."""
        if self._is_whisper:
            frames = nn.functional.gelu(self._model.conv1(input_features))
            frames = nn.functional.gelu(self._model.conv2(frames))[0].T
            return frames + self._model.embed_positions.weight[: frames.shape[0]]
        if input_features is None:
            input_features = self._model.feature_extractor(input_values).transpose(1, 2)
        elif attention_mask is not None:  # drops w2v-BERT's last frame if half of it is padding
            input_features = input_features[:, attention_mask[0].bool()]
        projected = self._model.feature_projection(input_features)
        return (projected[0] if isinstance(projected, tuple) else projected)[0]

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
                f"this model does not encode waveforms into frames ({_describe(error)})",
                remedy="Use wav2vec 2.0, HuBERT, WavLM or a model with the same interface, w2v-BERT, or Whisper.",
                where=f"--upstream {self.name}",
            ) from error


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
        self._input = upstream.extractor.model_input_names[0]

    def example(self) -> torch.Tensor:
        """Return the input `(1, ..., samples or frames)` for 2 s of noise."""
        noise = np.random.default_rng(0).standard_normal(2 * self._upstream.sample_rate, dtype=np.float32)
        return self._upstream._extract_inputs(noise)[self._input]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the hidden states `(L, T, D)`, for the output of the feature extractor."""
        upstream = self._upstream
        frames = upstream._run_front_end(**{self._input: inputs})[None]
        every = upstream._encoder.layers
        upstream._encoder.layers = every[: max(self._layers) + 1]  # the input of the last one is the highest state
        try:
            states = early_exit.hidden_states(
                lambda: upstream._run_layers(frames, None), upstream._encoder.layers, self._layers, exits=False
            )
        finally:
            upstream._encoder.layers = every
        return torch.stack(states)[:, 0]


def load_checkpoint(name_or_path: str, revision: str | None):
    """Return the feature extractor and the model of a checkpoint.

    Raises:
        SoctkError: it is not available, incomplete or damaged, or needs code.
    """
    disable_progress_bar()  # loading weights takes only seconds
    where = f"--upstream {name_or_path}"
    if Path(name_or_path).is_dir():
        _check_files(Path(name_or_path))
    try:
        extractor, model, loaded = _load_pretrained(name_or_path, revision)
    except SoctkError:
        raise
    except Exception as error:  # missing, unknown or damaged files raise errors of many classes
        if "trust_remote_code" in str(error):
            raise _needs_code(where) from error
        raise SoctkError(
            f"transformers cannot load it ({_describe(error)})",
            remedy="A directory needs config.json, preprocessor_config.json and model.safetensors; "
            "a hub id must name a speech encoder.",
            where=where,
        ) from error
    missing = sorted(key for key in loaded["missing_keys"] if key not in _ONLY_FOR_TRAINING)
    if loaded["mismatched_keys"]:
        name, stored, expected = min(loaded["mismatched_keys"])
        raise SoctkError(
            f"{plural(len(loaded['mismatched_keys']), 'weight has', 'weights have')} another shape than config.json "
            f"says, such as {name}: {tuple(stored)}, not {tuple(expected)}",
            remedy="Use config.json and model.safetensors of the same checkpoint.",
            where=where,
        )
    if missing:
        raise SoctkError(
            f"the checkpoint lacks {len(missing)} of the model's weights, such as {missing[0]}",
            remedy="Use a complete checkpoint of the architecture in config.json; missing weights would be random.",
            where=where,
        )
    return extractor, model


def _describe(error: Exception) -> str:
    """Return the class of an error and the beginning of its message, in one line."""
    return f"{type(error).__name__}: {textwrap.shorten(str(error), 300)}"


def _check_files(directory: Path) -> None:
    """Check the files of an encoder.

    Raises:
        SoctkError: the path is not UTF-8, a JSON file is damaged, or the weights are pointers of git-lfs or pickles.
    """
    require_utf8(directory)
    for file in sorted(directory.glob("*.safetensors")):
        with file.open("rb") as content:
            if content.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise SoctkError("a git-lfs pointer, not the weights", remedy="Run `git lfs pull` there.", where=file)
    for name in ("config.json", "preprocessor_config.json"):
        if (directory / name).is_file():
            read_json(directory / name)
    pickles = sorted(file.name for file in directory.glob("*") if file.suffix in _PICKLES)
    if pickles and not any(directory.glob("*.safetensors*")):
        raise SoctkError(
            f"the weights are a pickle ({pickles[0]}), which can run any program when it is read; soctk reads only "
            "safetensors",
            remedy='If you trust its source, convert it: python -c "from transformers import AutoModel; '
            f'AutoModel.from_pretrained({str(directory)!r}, weights_only=True).save_pretrained({str(directory)!r})"',
            where=directory,
        )


def _needs_code(where: str) -> SoctkError:
    return SoctkError(
        "this model needs program code from its own repository, and soctk never runs such code",
        remedy="Use a model whose architecture is part of transformers: wav2vec 2.0, HuBERT, WavLM, data2vec-audio, "
        "w2v-BERT or Whisper.",
        where=where,
    )


def _load_pretrained(name_or_path: str, revision: str | None):
    """Return feature extractor, model and loading report, from the local disk or else from the hub."""
    try:
        return _load_as_data(name_or_path, revision, local_files_only=True)
    except OSError:
        if Path(name_or_path).is_dir():
            raise
    _require_on_hub(name_or_path, revision)
    if sys.stderr.isatty():
        enable_progress_bar()
    return _load_as_data(name_or_path, revision, local_files_only=False)


def _load_as_data(name_or_path: str, revision: str | None, local_files_only: bool):
    """Load an encoder without running any code that its files contain or name.

    The weights of a directory are safetensors. A few older models on the hub have only pickles; torch reads these with
    `weights_only`, which refuses everything except tensors.
    """
    options: dict[str, Any] = {"local_files_only": local_files_only, "trust_remote_code": False}
    options |= {} if revision is None else {"revision": revision}
    extractor = AutoFeatureExtractor.from_pretrained(name_or_path, **options)
    config = AutoConfig.from_pretrained(name_or_path, **options)
    if "/" in str(config._attn_implementation):  # a kernel on the hub, which transformers would download and run
        raise _needs_code(f"--upstream {name_or_path}")
    only_safetensors = True if Path(name_or_path).is_dir() else None
    model, loaded = AutoModel.from_pretrained(
        name_or_path,
        config=config,
        weights_only=True,
        use_safetensors=only_safetensors,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # load_checkpoint reports them
        **options,
    )
    return extractor, model, loaded


def _require_on_hub(name: str, revision: str | None) -> None:
    """Request a model from the hub once: without a network, transformers would repeat its requests for 46 s."""
    try:
        HfApi().model_info(name, revision=revision, timeout=_HUB_TIMEOUT)
    except Exception as error:  # errors of network, hub and name have no common class
        raise SoctkError(
            f"not on this machine, and not available from the Hugging Face hub ({type(error).__name__})",
            remedy="The first use of a hub id needs a network connection. Check the id, or give the directory of the "
            "model: --upstream DIR.",
            where=f"--upstream {name}",
        ) from error


def _identify_source(name_or_path: str, revision: str | None) -> str:
    """Return the checksum of a directory, or the revision of a model of the hub that has been loaded."""
    directory = Path(name_or_path)
    if directory.is_dir():
        return f"sha256:{compute_checksum(directory)}"
    cached = try_to_load_from_cache(
        name_or_path, "config.json", revision=revision
    )  # the name of its folder: the commit
    return f"revision:{Path(str(cached)).parent.name}"


def compute_checksum(directory: Path) -> str:
    """Return a checksum of the weights and settings in a directory."""
    digest = hashlib.sha256()
    for file in sorted(directory.glob("*")):
        if file.suffix in (".safetensors", ".bin", ".json"):
            digest.update(file.name.encode())
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]
