"""The runtimes of a packed model: what computes its encoder, pooling and head. They take and return numpy.

What surrounds these steps (resampling, rounding and normalising frames, re-centring, windows) is in
soctk.inference.recogniser, and does not depend on the runtime.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from soctk.inference.bundle import Bundle

RuntimeName = Literal["torch", "onnx"]


class Runtime(Protocol):
    """Encoder, pooling and head of a model. Several threads may use one runtime.

    Attributes:
        device: `cpu` or `cuda`.
    """

    device: str

    @property
    def max_seconds(self) -> float:
        """The duration of the longest waveform that the encoder takes, in s."""

    def hidden_states(self, waveforms: Sequence[np.ndarray], encoder: int = 0) -> list[np.ndarray]:
        """Return the hidden states of the model `(L, T, D)`, float32, for each waveform `(samples,)`.

        Args:
            waveforms: at the sample rate of the encoder.
            encoder: which encoder of several, from 0.
        """

    def describe(self, frames: Sequence[np.ndarray], encoder: int = 0) -> np.ndarray:
        """Return the descriptors `(N, P)`, float32, of N waveforms with the frames `(T, L, D)`.

        Args:
            frames: those of one encoder.
            encoder: which encoder of several, from 0; the descriptors are its part of those of the model.

        Raises:
            ValueError: frames are too large to square.
        """

    def logits(self, descriptors: np.ndarray) -> np.ndarray:
        """Return the logits `(N, K)`, float32, of descriptors `(N, P)`; a class that was not trained has -inf."""


def load(bundle: Bundle, name: RuntimeName, encoder: Path | None = None, device: str = "cpu") -> Runtime:
    """Load a runtime, and the encoder of the model.

    Args:
        bundle: the packed model.
        name: `torch`; or `onnx`, which imports neither torch nor transformers.
        encoder: the folder of the encoder, for `torch` and a model that does not include its encoder.
        device: `cpu`, `cuda`, or `auto` for the GPU if there is one; `onnx` computes on the CPU.

    Raises:
        SoctkError: the encoder is not available or is another one; the weights are not those of the model in
            config.yaml; there is no GPU; or the model has no ONNX form, or a damaged one.
        ValueError: there is no runtime of this name.
    """
    if name == "onnx":
        from soctk.inference.onnx.runtime import OnnxRuntime

        return OnnxRuntime.load(bundle, encoder, device)
    if name != "torch":
        raise ValueError(f"runtime is {name!r}; choose 'torch' or 'onnx'")
    from soctk.inference.torch_runtime import TorchRuntime  # imports torch, which takes seconds

    return TorchRuntime.load(bundle, encoder, device)
