"""The runtime of a packed model: what computes its encoder, pooling and head. It takes and returns numpy.

What surrounds these steps (resampling, rounding and normalising frames, re-centring, windows) is in
soctk.inference.recogniser, and does not depend on the runtime.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Runtime(Protocol):
    """Encoder, pooling and head of a model. Several threads may use one runtime.

    Attributes:
        max_seconds: the duration of the longest waveform that the encoder takes, in s.
    """

    max_seconds: float

    def hidden_states(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the hidden states of the model `(L, T, D)`, float32, for each waveform `(samples,)`."""

    def describe(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """Return the descriptors `(N, P)`, float32, of N waveforms with the frames `(T, L, D)`.

        Raises:
            ValueError: frames are too large to square.
        """

    def logits(self, descriptors: np.ndarray) -> np.ndarray:
        """Return the logits `(N, K)`, float32, of descriptors `(N, P)`; a class that was not trained has -inf."""
