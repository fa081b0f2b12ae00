"""Pooling layers: they map the frames of an utterance to one descriptor.

All layers have one interface: `layer(frames (B, T, D), lengths (B,)) -> (B, output_size)`, with D = `input_size`.
Frames at or beyond an utterance's length are padding and have no effect. To add a layer, write a subclass of `Pooling`
in a file of its own, add it to `soctk.pooling.registry.POOLINGS`, and give the defaults of its options in
conf/pooling/NAME.yaml.

Supported formats:

- `state_dict`, `load_state_dict(strict=True)`, `torch.save` of a state_dict: the parameters, and the fixed projection
  of `SOCFull` with d > 0. It does not contain options such as d and eps: load it into a layer with the same options.
- `copy.deepcopy` and `pickle` of a layer.
- `torch.compile` of a model that contains a layer: the layer itself runs uncompiled between compiled parts (a graph
  break; `fullgraph=True` fails).
- `torch.autocast` in bfloat16 and float16: has no effect inside a layer; descriptors are float32.
- Frames in float16, bfloat16 (computed in float32), float32 and float64. Parameters in float32 or, with frames in
  float64, in float64; not in half precision.
- First-order gradients only: no double backward, no `torch.func`. No `torch.jit.script`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn

from soctk import onednn
from soctk.pooling import spd
from soctk.pooling.autocast import call_without_autocast
from soctk.pooling.compiling import uncompiled
from soctk.pooling.frames import Slices, pad
from soctk.pooling.slices import log_triangles

Fraction = Annotated[float, Field(ge=0, le=1)]
Ridge = Annotated[float, Field(ge=1e-12)]  # with a much smaller eps, the logarithm of silence is not finite
Normalisation = Literal["trace", "mean", "none"]


class Pooling(nn.Module):
    """The base class of all pooling layers; a subclass implements `pool`.

    Args:
        input_size: D.
        output_size: P, the width of the descriptor.
    """

    def __init__(self, input_size: int, output_size: int):
        super().__init__()
        self.input_size = input_size
        self.output_size = output_size

    @property
    def is_trained(self) -> bool:
        """Whether the layer has parameters to train."""
        return any(True for _ in self.parameters())

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the descriptors of a padded batch.

        Args:
            frames: `(B, T, D)`; float16 and bfloat16 are computed in float32.
            lengths: `(B,)` in frames.

        Returns:
            `(B, output_size)`, in float32, or in float64 for frames in float64.

        Raises:
            ValueError: the shapes do not fit, a length is not within 1..T, or frames are NaN, infinite, or too large
                to square.
        """
        return self._call(self.pool, frames, lengths)

    def pool_concatenated(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the descriptors of utterances that are concatenated without padding.

        Args:
            frames: `(sum of T, D)`, one utterance after the other.
            lengths: `(B,)` in frames.

        Returns:
            The same as `forward` for the padded batch.

        Raises:
            ValueError: as in `forward`, or the lengths do not add up to the number of frames.
        """
        return self._call(self._pool_concatenated, frames, lengths)

    def pool(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Compute `forward` for frames `(B, T, D)` in float32 or float64, without autocast."""
        raise NotImplementedError

    def _pool_concatenated(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return self.pool(pad(frames, lengths), lengths)

    @uncompiled
    def _call(self, pool: Callable, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        if frames.shape[-1] != self.input_size:
            raise ValueError(f"frames (B, T, {self.input_size}) are needed, not {tuple(frames.shape)}")
        if frames.dtype in (torch.float16, torch.bfloat16):
            frames = frames.float()
        return call_without_autocast(pool, frames, lengths, list(self.parameters()))


class Mean(Pooling):
    """The mean over time: first-order pooling.

    Args:
        input_size: D; the descriptor has D numbers.
    """

    def __init__(self, input_size: int):
        super().__init__(input_size, input_size)

    def pool(self, frames, lengths):  # noqa: D102
        result = spd.mean(frames, lengths)
        spd.require_finite(result)
        return result


class Stats(Pooling):
    """Statistics pooling (Snyder et al. 2018): mean and standard deviation over time, concatenated.

    Args:
        input_size: D; the descriptor has 2 D numbers.
        eps: the lower limit of variances; it gives constant frames a finite gradient.
    """

    def __init__(self, input_size: int, eps: PositiveFloat = 1e-10):
        super().__init__(input_size, 2 * input_size)
        self.eps = eps

    def pool(self, frames, lengths):  # noqa: D102
        degrees = (lengths - 1).clamp(min=1)[:, None].to(frames.dtype)
        variance = spd.deviations(frames, lengths).square().sum(1) / degrees
        result = torch.cat([spd.mean(frames, lengths), variance.clamp(min=self.eps).sqrt()], dim=1)
        spd.require_finite(result)
        return result


class ASP(Pooling):
    """Attentive statistics pooling (Okabe, Koshinaka & Shinoda 2018): weighted mean and standard deviation over time.

    a = softmax over time of v' tanh(W x_t + b); m = sum_t a_t x_t; the variance is sum_t a_t (x_t - m)^2.

    Args:
        input_size: D; the descriptor has 2 D numbers.
        hidden: the number of rows of W.
        eps: the lower limit of variances; it gives constant frames a finite gradient.
    """

    def __init__(self, input_size: int, hidden: PositiveInt = 128, eps: PositiveFloat = 1e-10):
        super().__init__(input_size, 2 * input_size)
        self.eps = eps
        self.attention = nn.Sequential(nn.Linear(input_size, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))

    def pool(self, frames, lengths):  # noqa: D102
        padding = spd.padding(frames, lengths)
        frames = frames.masked_fill(padding, 0)
        weights = self.attention(frames).masked_fill(padding, -torch.inf).softmax(1)
        mean = weights.mT @ frames
        # The derivative of the variance with respect to m is 0, so m needs no gradient here.
        variance = weights.mT @ (frames - mean.detach()).square()
        mean, variance = mean.squeeze(1), variance.squeeze(1)
        result = torch.cat([mean, variance.clamp(min=self.eps).sqrt()], dim=1)
        spd.require_finite(result)
        return result


class SOC(Pooling):
    """Second-Order Correlation pooling with the log-Euclidean map, as published (arXiv 2606.06550).

    Z = X W'; C = cov(Z) over time; C <- C/(tr C + eps) + eps I; the descriptor is the upper triangle of log C.

    An utterance of one frame, or of constant frames, has C = 0. Its descriptor is the upper triangle of log(eps) I, and
    all gradients are finite.

    Args:
        input_size: D.
        d: the number of rows of the projection W (d x D); the descriptor has d(d+1)/2 numbers.
        eps: a constant that is added to the trace and, times the identity, to the normalised covariance.
        shrinkage: alpha in C <- (1-alpha) C + alpha (tr C / d) I before the normalisation; 0 as published.
        normalisation: `trace` as published; `mean`: C <- C/(tr C / d + eps) + eps I; `none`: C <- C + eps I.
    """

    regularisation: dict[str, Any]

    def __init__(
        self,
        input_size: int,
        d: PositiveInt = 24,
        eps: Ridge = 1e-5,
        shrinkage: Fraction = 0.0,
        normalisation: Normalisation = "trace",
    ):
        super().__init__(input_size, d * (d + 1) // 2)
        self.regularisation = {
            "shrinkage": shrinkage,
            "eps": eps,
            "trace": _target_trace(normalisation, d),
        }
        self.projection = onednn.Linear(input_size, d)
        nn.init.orthogonal_(self.projection.weight)

    def pool(self, frames, lengths):  # noqa: D102
        # The gradient of the projection multiplies padding by 0, and 0 times NaN is NaN.
        if (lengths < frames.shape[1]).any():
            frames = frames.masked_fill(spd.padding(frames, lengths), 0)
        return self.pool_projected(self.projection(frames), lengths)

    def _pool_concatenated(self, frames, lengths):
        return self.pool_projected_concatenated(self.projection(frames), lengths)

    def pool_projected_concatenated(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the descriptors of projected frames `(sum of T, d)`, one utterance after the other."""
        return log_triangles(frames.unsqueeze(1), Slices.of_concatenated(frames, lengths), **self.regularisation)

    def pool_projected(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the descriptors of projected frames `(B, T, d)`."""
        return spd.log_covariance(frames, lengths, **self.regularisation, triangle=True)


class SOCNoLEM(SOC):
    """SOC without the log-Euclidean map, for ablations: the upper triangle of the regularised covariance itself."""

    def pool_projected_concatenated(self, frames, lengths):  # noqa: D102
        return self.pool_projected(pad(frames, lengths), lengths)

    def pool_projected(self, frames, lengths):  # noqa: D102
        matrices = spd.regularised_covariance(frames, lengths, **self.regularisation)
        result = spd.upper_triangle(matrices).to(frames.dtype)
        spd.require_finite(result)
        return result


class SOCFull(Pooling):
    """Second-order pooling in full dimension: the logarithm of the D x D covariance, without a projection before it.

    C = cov(X) over time; C <- (1-alpha) C + alpha (tr C / D) I; C <- C/(tr C / D + eps) + eps I, whose mean eigenvalue
    is 1. The descriptor is the upper triangle of log C with sqrt(2) off the diagonal, so that inner products of
    descriptors equal inner products of the logarithms. The layer has no parameters. For T < D the logarithm comes from
    the T x T Gram matrix (`soctk.pooling.spd.factored_log`).

    A projection after the logarithm, R (log C) R' with a fixed random orthonormal R (d x D), nearly keeps the distances
    between logarithms (Johnson & Lindenstrauss 1984) in a descriptor that is (D/d)^2 times smaller.

    Args:
        input_size: D.
        d: the number of rows of R; there is no projection if d is 0, or at least D.
        shrinkage: alpha. Most of the regularisation comes from it: with T < D, most eigenvalues of C are 0.
        eps: a constant that is added to the mean eigenvalue and, times the identity, to the normalised covariance.
        normalisation: `mean`; `trace`: C <- C/(tr C + eps) + eps I; `none`: C <- C + eps I.
    """

    projection: torch.Tensor | None
    regularisation: dict[str, Any]

    def __init__(
        self,
        input_size: int,
        d: NonNegativeInt = 0,
        shrinkage: Fraction = 0.7,
        eps: Ridge = 1e-8,
        normalisation: Normalisation = "mean",
    ):
        size = min(d, input_size) or input_size
        super().__init__(input_size, size * (size + 1) // 2)
        self.regularisation = {
            "shrinkage": shrinkage,
            "eps": eps,
            "trace": _target_trace(normalisation, input_size),
        }
        self.register_buffer("projection", _make_orthonormal(size, input_size) if size < input_size else None)

    def pool(self, frames, lengths):  # noqa: D102
        projection = None if self.projection is None else self.projection.to(frames.dtype)
        logarithm = spd.log_covariance(frames, lengths, **self.regularisation, projection=projection)
        return spd.tangent_vector(logarithm)


class Concatenation(Pooling):
    """Several layers on the same frames; their descriptors are concatenated in the given order.

    Args:
        layers: at least one, all with the same input_size.
    """

    def __init__(self, layers: Sequence[Pooling]):
        super().__init__(layers[0].input_size, sum(layer.output_size for layer in layers))
        self.layers = nn.ModuleList(layers)

    def pool(self, frames, lengths):  # noqa: D102
        return torch.cat([layer(frames, lengths) for layer in self.layers], dim=1)

    def _pool_concatenated(self, frames, lengths):
        layers = cast("Iterable[Pooling]", self.layers)
        return torch.cat([layer.pool_concatenated(frames, lengths) for layer in layers], dim=1)


def _target_trace(normalisation: Normalisation, size: int) -> float | None:
    traces = {"trace": 1.0, "mean": float(size), "none": None}
    if normalisation not in traces:
        raise ValueError(f"normalisation must be one of {', '.join(traces)}, not {normalisation!r}")
    return traces[normalisation]


def _make_orthonormal(rows: int, columns: int) -> torch.Tensor:
    """Return a random matrix `(rows, columns)` with orthonormal rows, the same one at every call."""
    gaussian = torch.randn(columns, rows, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(gaussian).Q.T.float()
