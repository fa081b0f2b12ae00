"""The runtime of a packed model that computes with onnxruntime and numpy. It imports neither torch nor transformers."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from soctk.errors import SoctkError, missing_package
from soctk.inference.bundle import Bundle, damaged
from soctk.inference.onnx import form as forms
from soctk.inference.onnx.classifier import NumpyClassifier
from soctk.inference.onnx.form import Form

INPUT, OUTPUT = "inputs", "states"
_ONLY_FATAL = 4  # onnxruntime's level of messages on standard error; errors are raised too


class OnnxRuntime:
    """Encoder in onnxruntime, front end, pooling and head in numpy; see soctk.inference.runtime.Runtime.

    Args:
        bundle: the packed model.
        form: the ONNX form of its encoder.

    Raises:
        SoctkError: onnxruntime is not installed, or the form or the weights are damaged.
    """

    device = "cpu"

    def __init__(self, bundle: Bundle, form: Form):
        self._settings, self._arrays, self._path = form.settings, form.arrays, form.path
        self._encoder = bundle.settings.encoder
        self._classifier = NumpyClassifier(bundle)
        self._session = None if form.graph is None else _open(form.graph, form.path)

    @property
    def max_seconds(self) -> float:
        """See Runtime."""
        return self._settings.max_seconds or math.inf

    @classmethod
    def load(cls, bundle: Bundle, encoder: Path | None = None, device: str = "cpu") -> "OnnxRuntime":
        """Load the ONNX form of a model; see soctk.inference.runtime.load."""
        if device == "cuda":
            raise SoctkError(
                "the runtime onnx computes on the CPU",
                remedy="Use the runtime torch, or --device cpu.",
                where="--device cuda",
            )
        if encoder is not None:
            raise SoctkError(
                "the runtime onnx takes the encoder from the folder of the model",
                remedy="Leave out --encoder.",
                where=f"--encoder {encoder}",
            )
        return cls(bundle, forms.read(bundle))

    def hidden_states(self, waveforms: Sequence[np.ndarray], encoder: int = 0) -> list[np.ndarray]:
        """See Runtime.hidden_states."""
        return [self._encode(waveform) for waveform in waveforms]

    def describe(self, frames: Sequence[np.ndarray], encoder: int = 0) -> np.ndarray:
        """See Runtime.describe."""
        return np.stack([self._classifier.describe(one) for one in frames])

    def logits(self, descriptors: np.ndarray) -> np.ndarray:
        """See Runtime.logits."""
        return self._classifier.logits(descriptors)

    def _encode(self, waveform: np.ndarray) -> np.ndarray:
        states, path = self._settings.front_end(waveform, self._arrays), self._path / forms.SETTINGS
        if self._session is not None:
            path = self._path / forms.GRAPH
            try:
                (states,) = self._session.run([OUTPUT], {INPUT: states})
            except Exception as error:  # those of onnxruntime have no common class
                raise damaged(path, f"{type(error).__name__}: {error}") from error
        expected = len(self._encoder.layers), self._encoder.hidden_size
        if states.dtype != np.float32 or states.ndim != 3 or states.shape[::2] != expected:
            raise damaged(path, f"it gives hidden states with the shape {states.shape}")
        return states


def _open(graph: bytes, path: Path) -> Any:
    """Return the onnxruntime session of a graph."""
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_package("onnxruntime", "onnx", "this runtime", "--runtime onnx") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ONLY_FATAL
    options.intra_op_num_threads = len(os.sched_getaffinity(0))  # onnxruntime counts cores that a container may lack
    # Threads that wait actively would take the cores from numpy, which pools the frames.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # those of onnxruntime have no common class
        raise damaged(path / forms.GRAPH, f"{type(error).__name__}: {error}") from error
