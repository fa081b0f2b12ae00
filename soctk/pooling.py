"""Pooling layers: the frames of an utterance into one descriptor.

One contract: `forward(frames (B, T, D), lengths (B,)) -> (B, output_size)`, with `input_size` = D. Frames at or beyond
an utterance's length never touch its result. To add a layer, write the class, put it into POOLINGS, and give its
options' defaults in conf/pooling/NAME.yaml.
"""

import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints

import torch
from pydantic import PositiveFloat, PositiveInt, TypeAdapter, ValidationError
from torch import nn

from soctk import spd
from soctk.errors import SoctkError, unknown_name


class Mean(nn.Module):
    """The mean over time: first-order pooling.

    Args:
        input_size: D.
    """

    def __init__(self, input_size: int):
        super().__init__()
        self.input_size = input_size
        self.output_size = input_size

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return `(B, D)` for frames `(B, T, D)` and lengths `(B,)` in frames."""
        return spd.mean(frames, lengths)


class SOC(nn.Module):
    """Second-Order Correlation pooling with the log-Euclidean map, as published (arXiv 2606.06550).

    Z = X W'; C = cov(Z) over time; C <- C/(tr C + eps) + eps I; the upper triangle of log C.

    An utterance of one frame, or of constant frames, has C = 0: its descriptor is that of log(eps) I, and all
    gradients are finite.

    Args:
        input_size: D.
        d: the width of the projection W (d x D) before the covariance.
        eps: added to the trace and, times the identity, to the normalised covariance.
    """

    def __init__(self, input_size: int, d: PositiveInt, eps: PositiveFloat):
        super().__init__()
        self.input_size = input_size
        self.output_size = d * (d + 1) // 2
        self.eps = eps
        self.projection = nn.Linear(input_size, d, bias=False)
        nn.init.orthogonal_(self.projection.weight)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return `(B, d(d+1)/2)` for frames `(B, T, D)` and lengths `(B,)` in frames."""
        # In double precision: float32 rounds C by 1e-7, 1% of an eigenvalue near eps, and not alike in every batch.
        covariance = spd.covariance(self.projection(frames).double(), lengths)
        logarithm = spd.matrix_log(spd.trace_normalise(covariance, self.eps), floor=self.eps / 2)
        return spd.upper_triangle(logarithm).to(frames.dtype)


POOLINGS: dict[str, type[nn.Module]] = {"mean": Mean, "soc": SOC}


def create(name: str, input_size: int, options: Mapping[str, Any]) -> nn.Module:
    """Make the pooling layer of that name.

    Args:
        name: a key of POOLINGS.
        input_size: D, the width of a frame.
        options: the constructor's other arguments.

    Raises:
        SoctkError: an unknown name or option, or an option without a value or with a wrong one.
    """
    if name not in POOLINGS:
        raise unknown_name("pooling", name, POOLINGS, where="--pooling")
    types = get_type_hints(POOLINGS[name].__init__, include_extras=True)
    known = [option for option in inspect.signature(POOLINGS[name]).parameters if option != "input_size"]
    where = f"the options of the pooling {name} (conf/pooling/{name}.yaml, --set pooling.OPTION=VALUE)"
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
    return POOLINGS[name](input_size, **checked)
