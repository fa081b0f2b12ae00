"""Hidden states of a waveform as the frames that trained the model: rounded as in the feature store, and normalised."""

import numpy as np

from soctk.errors import SoctkError
from soctk.schema import LayerNorm

_EPS = 1e-5  # that of torch's layer_norm


def frames(states: np.ndarray, dtype: str, layer_norm: LayerNorm) -> np.ndarray:
    """Return the frames `(T, L, D)` of hidden states `(L, T, D)`, in float32.

    Args:
        states: in float32.
        dtype: `float16` or `float32`, the data type of the feature store.
        layer_norm: how frames are normalised (soctk.training.frame_norm).

    Raises:
        SoctkError: frames are not finite in this data type.
    """
    with np.errstate(over="ignore"):  # reported here
        rounded = states.astype(dtype).astype(np.float32)
    if not np.isfinite(rounded).all():
        raise SoctkError(f"the frames are not finite in {dtype}", remedy="Check the recording.")
    if layer_norm:
        axes = (1, 2) if layer_norm == "utterance" else 2
        rounded -= rounded.mean(axes, keepdims=True)
        rounded /= np.sqrt(np.square(rounded).mean(axes, keepdims=True) + np.float32(_EPS))
    return np.ascontiguousarray(rounded.swapaxes(0, 1))
