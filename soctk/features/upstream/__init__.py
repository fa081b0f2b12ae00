"""Frozen speech encoders behind one interface: waveforms in, hidden states out."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch

from soctk.config import UpstreamConfig
from soctk.errors import SoctkError

# One hidden state by its number, the last, all of them, or several.
Layers = Literal["last", "all"] | tuple[int, ...]
Precision = Literal["float32", "bfloat16", "float16"]

_S3PRL = "s3prl:"

# Of WavLM as s3prl and transformers have it; nothing that a user could mend.
warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask and attn_mask")


class Upstream(Protocol):
    """A frozen encoder.

    Attributes:
        name: what features and experiments are named after.
        source: the release, revision or checksum that fixes the numbers it gives.
        sample_rate: of the waveform it wants, in Hz.
        frame_shift: from one frame to the next, in ms.
        hidden_sizes: D, the width of a frame, of each hidden state; 0 is the input to the first layer.
        max_seconds: the longest utterance that it takes.
        batches: whether it gives an utterance the same frames in a batch as alone, and so may be given several.
    """

    name: str
    source: str
    sample_rate: int
    frame_shift: float
    hidden_sizes: list[int]
    max_seconds: float
    batches: bool

    def hidden_states(self, waveforms: Sequence[np.ndarray], layers: Sequence[int]) -> list[torch.Tensor]:
        """Encode utterances, computing no layer above the highest one asked for.

        Args:
            waveforms: float32 `(samples,)` each; a single one unless `batches`.
            layers: the hidden states wanted, all of one width, L in number.

        Returns:
            For each utterance its hidden states `(L, T, D)`, float32.
        """


def load(name: str, device: str = "cpu", precision: Precision = "float32") -> Upstream:
    """Load an upstream.

    Args:
        name: `s3prl:NAME` or NAME of s3prl; a directory, or a hub id (with a `/`), of Hugging Face. A NAME without a
            `/` is a directory only if that has a config.json.
        device: `cpu` or `cuda`.
        precision: that of autocast; float32 is none.

    Raises:
        SoctkError: there is no such upstream, it is of an unsupported kind, or its weights cannot be had.
    """
    if name.startswith(("/", ".", "~")) and not Path(name).is_dir():
        raise SoctkError("no such directory", remedy="Check the path.", where=f"--upstream {name}")
    if not name.startswith(_S3PRL) and ("/" in name or (Path(name) / "config.json").is_file()):
        from soctk.features.upstream.huggingface import HuggingFaceUpstream

        return HuggingFaceUpstream(name, device, precision)
    from soctk.features.upstream.s3prl import S3prlUpstream

    return S3prlUpstream(name.removeprefix(_S3PRL), device, precision)


def check_shape(encoder: Upstream, expected: UpstreamConfig) -> None:
    """Compare an encoder with what its conf/upstream/NAME.yaml says of it.

    Raises:
        SoctkError: it has another number of layers, width or frame shift.
    """
    found = {
        "layers": len(encoder.hidden_sizes) - 1,
        "hidden_size": encoder.hidden_sizes[-1],
        "frame_shift_ms": encoder.frame_shift,
    }
    wrong = [
        f"{key} {found[key]:g}, not {getattr(expected, key):g}" for key in found if found[key] != getattr(expected, key)
    ]
    if wrong:
        raise SoctkError(
            f"{expected.source} has {', '.join(wrong)}",
            remedy="Mend the file, or its source.",
            where="conf/upstream",
        )


def layer_indices(upstream: Upstream, layers: Layers) -> tuple[int, ...]:
    """Return the numbers of layers among the hidden states, ascending.

    Raises:
        SoctkError: the upstream has no such layer, or these layers are of different widths.
    """
    last = len(upstream.hidden_sizes) - 1
    indices = {"last": (last,), "all": tuple(range(last + 1))}.get(layers) or tuple(sorted(set(layers)))
    for layer in indices:
        if not 0 <= layer <= last:
            raise SoctkError(
                f"{upstream.name} has no layer {layer}",
                remedy=f"Choose from 0 (the input to the first layer) to {last}, last, or all.",
                where="--layer",
            )
    if len({upstream.hidden_sizes[layer] for layer in indices}) > 1:
        widths = ", ".join(f"{layer}: {upstream.hidden_sizes[layer]}" for layer in indices)
        raise SoctkError(
            f"the layers of {upstream.name} are of different widths ({widths})",
            remedy="Extract them one at a time.",
            where="--layer",
        )
    return indices
