"""Pooling layers: the frames of an utterance into one descriptor.

One contract: `forward(frames (B, T, D), lengths (B,)) -> (B, output_size)`, with `input_size` = D. Frames at or beyond
an utterance's length never touch its result. To add a layer, write the class, put it into POOLINGS, and give its
options' defaults in conf/pooling/NAME.yaml.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_type_hints

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, TypeAdapter, ValidationError
from torch import nn

from soctk import onednn
from soctk.errors import SoctkError, unknown_name
from soctk.pooling import spd

Share = Annotated[float, Field(ge=0, le=1)]
Ridge = Annotated[float, Field(ge=1e-12)]  # far below it the logarithm of silence is no longer finite
Normalisation = Literal["trace", "mean", "none"]


class Pooling(nn.Module):
    """What all pooling layers have in common; a layer is made by writing `pool`.

    Args:
        input_size: D.
        output_size: the width of the descriptor.
    """

    def __init__(self, input_size: int, output_size: int):
        super().__init__()
        self.input_size = input_size
        self.output_size = output_size

    @property
    def is_trained(self) -> bool:
        """Whether the layer has parameters."""
        return any(True for _ in self.parameters())

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return descriptors `(B, output_size)` for frames `(B, T, D)` and lengths `(B,)` in frames.

        Frames in float16 and bfloat16 are taken in float32, and so is their descriptor.

        Raises:
            ValueError: the shapes do not fit, a length is not within 1..T, or frames that count are NaN,
                infinite, or too large to square.
        """
        if frames.shape[-1] != self.input_size:
            raise ValueError(f"frames (B, T, {self.input_size}) are needed, not {tuple(frames.shape)}")
        if frames.dtype in (torch.float16, torch.bfloat16):
            frames = frames.float()
        return self.pool(frames, lengths)

    def pool(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Do the work of `forward`, for frames `(B, T, D)` in float32 or float64."""
        raise NotImplementedError

    def pool_concatenated(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return what `forward` does, for frames `(sum of T, D)`: one utterance after the other, without padding."""
        return self(pad(frames, lengths), lengths)


class Mean(Pooling):
    """The mean over time: first-order pooling.

    Args:
        input_size: D.
    """

    def __init__(self, input_size: int):
        super().__init__(input_size, input_size)

    def pool(self, frames, lengths):  # noqa: D102
        result = spd.mean(frames, lengths)
        spd.require_finite(result)
        return result


class Stats(Pooling):
    """Statistics pooling (Snyder et al. 2018): the mean and the standard deviation over time, concatenated.

    Args:
        input_size: D.
        eps: variances below it count as eps, so that constant frames have a gradient.
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
    """Attentive statistics pooling (Okabe, Koshinaka & Shinoda 2018): mean and standard deviation, frames weighted.

    a = softmax over time of v' tanh(W x_t + b); m = sum_t a_t x_t; the variance is sum_t a_t (x_t - m)^2.

    Args:
        input_size: D.
        hidden: the rows of W.
        eps: variances below it count as eps, so that constant frames have a gradient.
    """

    def __init__(self, input_size: int, hidden: PositiveInt = 128, eps: PositiveFloat = 1e-10):
        super().__init__(input_size, 2 * input_size)
        self.eps = eps
        self.attention = nn.Sequential(nn.Linear(input_size, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))

    def pool(self, frames, lengths):  # noqa: D102
        beyond = spd.padding(frames, lengths)
        frames = frames.masked_fill(beyond, 0)
        weights = self.attention(frames).masked_fill(beyond, -torch.inf).softmax(1)
        mean = weights.mT @ frames
        # The variance does not change with the mean to first order, so no gradient need go through it.
        variance = weights.mT @ (frames - mean.detach()).square()
        mean, variance = mean.squeeze(1), variance.squeeze(1)
        result = torch.cat([mean, variance.clamp(min=self.eps).sqrt()], dim=1)
        spd.require_finite(result)
        return result


class SOC(Pooling):
    """Second-Order Correlation pooling with the log-Euclidean map, as published (arXiv 2606.06550).

    Z = X W'; C = cov(Z) over time; C <- C/(tr C + eps) + eps I; the upper triangle of log C.

    An utterance of one frame, or of constant frames, has C = 0: its descriptor is that of log(eps) I, and all
    gradients are finite.

    Args:
        input_size: D.
        d: the width of the projection W (d x D) before the covariance.
        eps: added to the trace and, times the identity, to the normalised covariance.
        shrinkage: alpha in C <- (1-alpha) C + alpha (tr C / d) I before the normalisation; 0 as published.
        normalisation: `trace` as published; with `mean`, C <- C/(tr C / d + eps) + eps I; with `none`, C <- C + eps I.
    """

    def __init__(
        self,
        input_size: int,
        d: PositiveInt = 24,
        eps: Ridge = 1e-5,
        shrinkage: Share = 0.0,
        normalisation: Normalisation = "trace",
    ):
        super().__init__(input_size, d * (d + 1) // 2)
        self.regularisation = {"shrinkage": shrinkage, "eps": eps, "trace": _trace_after(normalisation, d)}
        self.projection = onednn.Linear(input_size, d)
        nn.init.orthogonal_(self.projection.weight)

    def pool(self, frames, lengths):  # noqa: D102
        # In the gradient of the projection padding is a factor of 0, which NaN would survive.
        if (lengths < frames.shape[1]).any():
            frames = frames.masked_fill(spd.padding(frames, lengths), 0)
        return self.pool_projected(self.projection(frames), lengths)

    def pool_concatenated(self, frames, lengths):  # noqa: D102
        return self.pool_projected(pad(self.projection(frames), lengths), lengths)  # a d-th of D to pad

    def pool_projected(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the descriptors of projected frames `(B, T, d)`."""
        return spd.log_covariance(frames, lengths, **self.regularisation, triangle=True)


class SOCNoLEM(SOC):
    """The ablation of SOC without the log-Euclidean map: the upper triangle of the regularised covariance itself."""

    def pool_projected(self, frames, lengths):  # noqa: D102
        matrices = spd.regularised_covariance(frames, lengths, **self.regularisation)
        result = spd.upper_triangle(matrices).to(frames.dtype)
        spd.require_finite(result)
        return result


class SOCFull(Pooling):
    """Second-order pooling in full dimension: the logarithm of the D x D covariance, no projection before it.

    C = cov(X) over time; C <- (1-alpha) C + alpha (tr C / D) I; C <- C/(tr C / D + eps) + eps I, whose mean eigenvalue
    is 1; the upper triangle of log C with sqrt(2) off the diagonal, so that inner products of descriptors are those of
    the logarithms. It has no parameters. For T < D the logarithm comes from the T x T Gram matrix
    (`soctk.pooling.spd.factored_log`).

    A projection after the logarithm, R (log C) R' with a fixed random orthonormal R (d x D), keeps differences of
    logarithms nearly (Johnson & Lindenstrauss 1984) in a descriptor that is (D/d)^2 times smaller.

    Args:
        input_size: D.
        d: rows of R; 0, or D and more, for no projection.
        shrinkage: alpha. It carries the regularisation: with T < D most eigenvalues of C are 0.
        eps: added to the mean eigenvalue and, times the identity, to the normalised covariance.
        normalisation: `mean`; with `trace`, C <- C/(tr C + eps) + eps I; with `none`, C <- C + eps I.
    """

    def __init__(
        self,
        input_size: int,
        d: NonNegativeInt = 0,
        shrinkage: Share = 0.7,
        eps: Ridge = 1e-8,
        normalisation: Normalisation = "mean",
    ):
        size = min(d, input_size) or input_size
        super().__init__(input_size, size * (size + 1) // 2)
        self.regularisation = {"shrinkage": shrinkage, "eps": eps, "trace": _trace_after(normalisation, input_size)}
        self.register_buffer("projection", _random_orthonormal(size, input_size) if size < input_size else None)

    def pool(self, frames, lengths):  # noqa: D102
        projection = None if self.projection is None else self.projection.to(frames.dtype)
        logarithm = spd.log_covariance(frames, lengths, **self.regularisation, projection=projection)
        return spd.tangent_vector(logarithm)


class Concatenation(Pooling):
    """Several layers side by side; their descriptors are concatenated in the order given.

    Args:
        layers: of one input_size.
    """

    def __init__(self, layers: Sequence[Pooling]):
        super().__init__(layers[0].input_size, sum(layer.output_size for layer in layers))
        self.layers = nn.ModuleList(layers)

    def pool(self, frames, lengths):  # noqa: D102
        return torch.cat([layer(frames, lengths) for layer in self.layers], dim=1)

    def pool_concatenated(self, frames, lengths):  # noqa: D102
        return torch.cat([layer.pool_concatenated(frames, lengths) for layer in self.layers], dim=1)


def pad(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return frames `(sum of T, D)`, one utterance after the other, as `(B, T, D)` with zeros beyond each one's end."""
    longest = int(lengths.max())
    starts = torch.arange(len(lengths), device=frames.device) * longest - (lengths.cumsum(0) - lengths)
    places = starts.repeat_interleave(lengths) + torch.arange(len(frames), device=frames.device)
    rows = frames.new_zeros(len(lengths) * longest, frames.shape[1]).index_copy(0, places, frames)
    return rows.view(len(lengths), longest, -1)


def _trace_after(normalisation: Normalisation, size: int) -> float | None:
    traces = {"trace": 1.0, "mean": float(size), "none": None}
    if normalisation not in traces:
        raise ValueError(f"normalisation must be one of {', '.join(traces)}, not {normalisation!r}")
    return traces[normalisation]


def _random_orthonormal(rows: int, columns: int) -> torch.Tensor:
    """Return orthonormal rows, the same ones at any time."""
    gaussian = torch.randn(columns, rows, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(gaussian).Q.T.float()


POOLINGS: dict[str, type[Pooling]] = {
    "mean": Mean,
    "stats": Stats,
    "asp": ASP,
    "soc": SOC,
    "soc_nolem": SOCNoLEM,
    "soc_full": SOCFull,
}


def create(name: str, input_size: int, options: Mapping[str, Mapping[str, Any]]) -> Pooling:
    """Make the pooling layer of that name.

    Args:
        name: a key of POOLINGS, or several joined by `+`, whose descriptors are concatenated.
        input_size: D, the width of a frame.
        options: the options of each of them, by its name: the other arguments of its constructor.

    Raises:
        SoctkError: an unknown name or option, an option without a value or with a wrong one, or a name given twice.
    """
    names = name.split("+")
    for part in names:
        if part not in POOLINGS:
            raise unknown_name("pooling", part, POOLINGS, where=f"--pooling {name}")
    if len(set(names)) < len(names):
        raise SoctkError("a pooling is named twice", remedy="Name each once.", where=f"--pooling {name}")
    layers = [POOLINGS[part](input_size, **_checked_options(part, options.get(part, {}))) for part in names]
    return layers[0] if len(layers) == 1 else Concatenation(layers)


def _checked_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of POOLINGS[name], each converted to its type."""
    types = get_type_hints(POOLINGS[name].__init__, include_extras=True)
    known = [option for option in inspect.signature(POOLINGS[name]).parameters if option != "input_size"]
    where = f"the options of the pooling {name} (conf/pooling/{name}.yaml, --set pooling.{name}.OPTION=VALUE)"
    checked = {}
    for option, value in options.items():
        if option not in known:
            raise unknown_name("option", option, known, where=where)
        try:
            checked[option] = TypeAdapter(types[option]).validate_python(value)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise SoctkError(f"{option}: {problem}, not {value!r}", remedy="Mend its value.", where=where) from error
    missing = [option for option in known if option not in options]
    if missing:
        raise SoctkError(f"no value for {', '.join(missing)}", remedy="Give each a default in the file.", where=where)
    return checked
