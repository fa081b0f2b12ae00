"""Pooling and head of a packed model in numpy, as soctk.training.classifier has them in torch."""

import numpy as np
from pydantic import ValidationError

from soctk.errors import SoctkError
from soctk.inference.bundle import SETTINGS, Bundle
from soctk.inference.onnx.poolings import POOLINGS, Pooling, Shapes
from soctk.schema import Config, LinearConfig

_BATCH_NORM_EPS = 1e-5
_SUM = "layer_weights"


class NumpyClassifier:
    """Pooling and head of a packed model.

    Args:
        bundle: the packed model.

    Raises:
        SoctkError: a pooling has no numpy form, or settings or weights are damaged.
    """

    def __init__(self, bundle: Bundle):
        settings = bundle.settings
        config, size, layers = settings.experiment, settings.encoder.hidden_size, len(settings.encoder.layers)
        require_numpy_form(config)
        is_sum = config.frames.combine == "sum" and layers > 1
        self._count = 1 if is_sum else layers
        self._poolings = _read_poolings(bundle)
        self._weights = bundle.weights
        width = config.frames.projection or size
        self._descriptor_size = self._count * sum(one.output_size(width) for _, one in self._poolings)
        shapes: Shapes = {_SUM: (layers,)} if is_sum else {}
        for i in range(self._count):
            if config.frames.projection:
                shapes |= {f"projections.{i}.0.weight": (width, size), f"projections.{i}.0.bias": (width,)}
            for prefix, one in self._poolings:
                shapes |= {f"poolings.{i}.{prefix}{name}": shape for name, shape in one.shapes(width).items()}
        shapes |= _head_shapes(config, self._descriptor_size, len(settings.outputs))
        bundle.check_weights(shapes, self._descriptor_size)

    def describe(self, frames: np.ndarray) -> np.ndarray:
        """Return the descriptor `(P,)`, float32, of frames `(T, L, D)`.

        Raises:
            ValueError: frames are too large to square.
        """
        states = [frames[:, i].astype(np.float64) for i in range(frames.shape[1])]
        if _SUM in self._weights:
            weights = np.exp(self._weights[_SUM].astype(np.float64) - self._weights[_SUM].max())
            states = [np.tensordot(weights / weights.sum(), states, axes=1)]
        pooled = [
            one.pool(self._project(i, state), self._with_prefix(f"poolings.{i}.{prefix}"))
            for i, state in enumerate(states)
            for prefix, one in self._poolings
        ]
        with np.errstate(over="ignore"):  # reported here
            descriptor = np.concatenate(pooled).astype(np.float32)
        if not np.isfinite(descriptor).all():
            raise ValueError("the frames are too large to square")
        return descriptor

    def logits(self, descriptors: np.ndarray) -> np.ndarray:
        """Return the logits `(N, K)` of descriptors `(N, P)`."""
        if "head.weight" in self._weights:
            return self._linear("head", descriptors)
        hidden, norm = self._linear("head.0", descriptors), self._with_prefix("head.1.")
        scale = norm["weight"] / np.sqrt(norm["running_var"] + np.float32(_BATCH_NORM_EPS))
        hidden = (hidden - norm["running_mean"]) * scale + norm["bias"]
        return self._linear("head.4", np.maximum(hidden, 0))

    def _project(self, number: int, frames: np.ndarray) -> np.ndarray:
        name = f"projections.{number}.0"
        return np.maximum(self._linear(name, frames), 0) if f"{name}.weight" in self._weights else frames

    def _linear(self, name: str, inputs: np.ndarray) -> np.ndarray:
        return inputs @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _with_prefix(self, prefix: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(prefix): value for name, value in self._weights.items() if name.startswith(prefix)}


def require_numpy_form(config: Config) -> None:
    """Check that this module can compute the classifier of an experiment.

    Raises:
        SoctkError: it cannot.
    """
    unknown = [name for name in config.pooling if name not in POOLINGS]
    if unknown:
        raise SoctkError(
            f"the pooling {unknown[0]} has no numpy form, so the model cannot run without torch",
            remedy=f"Poolings with one: {', '.join(POOLINGS)}.",
            where="--onnx",
        )


def _read_poolings(bundle: Bundle) -> list[tuple[str, Pooling]]:
    """Return the poolings of each hidden state, and the prefixes of their weights."""
    options = bundle.settings.experiment.pooling
    if not options:
        raise bundle.damaged(SETTINGS, "no pooling")
    try:
        made = [POOLINGS[name].model_validate(values) for name, values in options.items()]
    except ValidationError as error:
        problem = error.errors()[0]
        raise bundle.damaged(SETTINGS, f"pooling: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error
    prefixes = [""] if len(made) == 1 else [f"layers.{i}." for i in range(len(made))]
    return list(zip(prefixes, made, strict=True))


def _head_shapes(config: Config, size: int, classes: int) -> Shapes:
    if isinstance(config.head, LinearConfig) or not config.head.hidden:
        return {"head.weight": (classes, size), "head.bias": (classes,)}
    hidden = config.head.hidden
    return {
        "head.0.weight": (hidden, size),
        "head.0.bias": (hidden,),
        **{f"head.1.{name}": (hidden,) for name in ("weight", "bias", "running_mean", "running_var")},
        "head.1.num_batches_tracked": (),
        "head.4.weight": (classes, hidden),
        "head.4.bias": (classes,),
    }
