"""Frozen speech encoders behind one interface: a waveform in, hidden states out."""

from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch

from soctk.errors import SoctkError

Layer = int | Literal["last"]


class Upstream(Protocol):
    """A frozen encoder.

    Attributes:
        name: what features and experiments are named after.
        source: the release, revision or checksum that fixes the numbers it gives.
        sample_rate: of the waveform it wants, in Hz.
        frame_shift: from one frame to the next, in ms.
        hidden_sizes: D, the width of a frame, of each hidden state; 0 is the input to the first layer.
        max_seconds: the longest utterance that it takes.
    """

    name: str
    source: str
    sample_rate: int
    frame_shift: float
    hidden_sizes: list[int]
    max_seconds: float

    def hidden_states(self, waveform: np.ndarray) -> list[torch.Tensor]:
        """Encode one utterance by itself, so that its frames never depend on what it is batched with.

        Args:
            waveform: float32 `(samples,)`.

        Returns:
            Its hidden states, tensors `(T, D)`, float32 on the CPU.
        """


def load(upstream: str, device: str = "cpu") -> Upstream:
    """Load an upstream: a directory or hub id (with a `/`) of Hugging Face, or else a name of s3prl.

    Raises:
        SoctkError: there is no such upstream, it is of an unsupported kind, or its weights cannot be had.
    """
    if upstream.startswith(("/", ".", "~")) and not Path(upstream).is_dir():
        raise SoctkError("no such directory", remedy="Check the path.", where=f"--upstream {upstream}")
    if Path(upstream).is_dir() or "/" in upstream:
        from soctk.upstream.huggingface import HuggingFaceUpstream

        return HuggingFaceUpstream(upstream, device)
    from soctk.upstream.s3prl import S3prlUpstream

    return S3prlUpstream(upstream, device)


def layer_index(upstream: Upstream, layer: Layer) -> int:
    """Return the index of a layer among the hidden states.

    Raises:
        SoctkError: the upstream has no such layer.
    """
    last = len(upstream.hidden_sizes) - 1
    if layer == "last":
        return last
    if not 0 <= layer <= last:
        raise SoctkError(
            f"{upstream.name} has no layer {layer}",
            remedy=f"Choose 0 (the input to the first layer) to {last}, or last.",
            where="--layer",
        )
    return layer
