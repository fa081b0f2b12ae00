"""Frozen speech encoders behind one interface: waveforms come in, hidden states go out."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch

from soctk.errors import SoctkError
from soctk.features.upstream import opensmile, own
from soctk.schema import UpstreamConfig

# The choice of hidden states: the last one, all, or a tuple of their numbers.
Layers = Literal["last", "all"] | tuple[int, ...]
Precision = Literal["float32", "bfloat16", "float16"]

_S3PRL = "s3prl:"

# The WavLM code of s3prl and transformers causes this warning; users can do nothing about it.
warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask and attn_mask")


def has_one_state(name: str) -> bool:
    """Return whether an upstream computes features without layers, such as fbank, so that it has one hidden state."""
    return name.removeprefix(_S3PRL) in ("fbank", "mfcc", *opensmile.NAMES)


def is_huggingface(name: str) -> bool:
    """Return whether `load` reads an upstream with transformers: the directory of a checkpoint, or a hub id.

    Raises:
        SoctkError: the name is the path of a directory that does not exist.
    """
    is_other = name.startswith(_S3PRL) or own.is_own(name)
    if name.startswith(("/", ".", "~")) and not is_other and not Path(name).is_dir():
        raise SoctkError("no such directory", remedy="Check the path.", where=f"--upstream {name}")
    return not is_other and ("/" in name or (Path(name) / "config.json").is_file())


class Upstream(Protocol):
    """A frozen encoder.

    Attributes:
        name: the name in feature stores and experiments.
        source: the release, revision or checksum that identifies the weights.
        hub: the id OWNER/NAME on the Hugging Face hub, for an encoder that was loaded by this id; else empty.
        sample_rate: the sample rate of the input, in Hz.
        frame_shift: the time between two frames, in ms; None for one frame for each utterance.
        hidden_sizes: the frame width D of each hidden state; state 0 is the input to the first layer.
        max_seconds: the duration of the longest utterance that the encoder accepts.
        batches: whether an utterance has the same frames in a batch as alone. If not, `hidden_states` accepts only one
            utterance.
        has_units: whether the values of a frame have different units, such as Hz and dB. Frames are then stored in
            float32 by default, and training does not layer-normalise them.
        note: a note for users, printed before an extraction; empty for most upstreams.
    """

    name: str
    source: str
    hub: str
    sample_rate: int
    hidden_sizes: list[int]
    max_seconds: float
    batches: bool
    has_units: bool
    note: str

    @property
    def frame_shift(self) -> float | None:
        """See above; a property, so that an encoder may have a float only."""

    def hidden_states(self, waveforms: Sequence[np.ndarray], layers: Sequence[int]) -> list[torch.Tensor]:
        """Encode utterances; encoder layers above the highest requested hidden state are not computed.

        Args:
            waveforms: float32 `(samples,)` each; only one if `batches` is False.
            layers: the numbers of L hidden states, all of the same width D.

        Returns:
            The hidden states `(L, T, D)` of each utterance, float32.
        """


def load(name: str, device: str = "cpu", precision: Precision = "float32", revision: str | None = None) -> Upstream:
    """Load an upstream.

    Args:
        name: `egemaps` or `egemaps-lld` for eGeMAPS; for s3prl `s3prl:NAME` or NAME; for Hugging Face transformers the
            directory of a checkpoint or a hub id OWNER/NAME. A name without `/` means a directory only if this
            directory has a config.json. MODULE:CLASS and FILE.py:CLASS mean a class of the user
            (soctk.features.upstream.own), whose code is run.
        device: `cpu` or `cuda`.
        precision: the data type of autocast; float32 means no autocast.
        revision: the commit, tag or branch of a hub id; by default the newest commit.

    Raises:
        SoctkError: the upstream is unknown or not supported, or its weights are not available.
    """
    if own.is_own(name):
        return own.OwnUpstream(name, device, precision)
    if is_huggingface(name):
        from soctk.features.upstream.huggingface import HuggingFaceUpstream

        return HuggingFaceUpstream(name, device, precision, revision)
    if name in opensmile.NAMES:
        return opensmile.OpensmileUpstream(name)
    from soctk.features.upstream.s3prl import S3prlUpstream

    return S3prlUpstream(name.removeprefix(_S3PRL), device, precision)


def check_shape(encoder: Upstream, expected: UpstreamConfig) -> None:
    """Compare an encoder with its description in conf/upstream/NAME.yaml.

    Raises:
        SoctkError: the number of layers, the width or the frame shift differs.
    """
    actual = {
        "layers": len(encoder.hidden_sizes) - 1,
        "hidden_size": encoder.hidden_sizes[-1],
        "frame_shift_ms": encoder.frame_shift,
    }
    wrong = [
        f"{key} {value:g}, not {getattr(expected, key):g}"
        for key, value in actual.items()
        if value != getattr(expected, key)
    ]
    if wrong:
        raise SoctkError(
            f"{expected.source} has {', '.join(wrong)}",
            remedy="Correct this upstream's file in conf/upstream.",
            where="conf/upstream",
        )


def layer_indices(upstream: Upstream, layers: Layers) -> tuple[int, ...]:
    """Return the numbers of the selected hidden states, ascending and without duplicates.

    Raises:
        SoctkError: the upstream has no such hidden state, or the selected ones have different widths.
    """
    last = len(upstream.hidden_sizes) - 1
    if layers == "last":
        layers = (last,)
    elif layers == "all":
        layers = tuple(range(last + 1))
    indices = tuple(sorted(set(layers)))
    for layer in indices:
        if not 0 <= layer <= last:
            raise SoctkError(
                f"{upstream.name} has no hidden state {layer}",
                remedy=f"Use a number from 0 (the input to the first layer) to {last}, or last, or all.",
                where="--layer",
            )
    if len({upstream.hidden_sizes[layer] for layer in indices}) > 1:
        widths = ", ".join(f"{layer}: {upstream.hidden_sizes[layer]}" for layer in indices)
        raise SoctkError(
            f"the hidden states of {upstream.name} have different widths ({widths})",
            remedy="Extract each width into a store of its own.",
            where="--layer",
        )
    return indices
