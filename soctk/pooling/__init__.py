"""Pooling layers: they map frames `(B, T, D)` and lengths `(B,)` to one descriptor per utterance, `(B, P)`.

`layers` has the layers, `registry` makes them by name, `spd` has the functions on matrices that they use, and `fast`
has optional CPU kernels for the same computations. The package imports torch, numpy and pydantic, and nothing heavier.
"""

from soctk.pooling.correlation import Correlation
from soctk.pooling.layers import ASP, SOC, Concatenation, Mean, Pooling, SOCFull, SOCNoLEM, Stats
from soctk.pooling.registry import POOLINGS, create, is_trained

__all__ = [
    "ASP",
    "POOLINGS",
    "SOC",
    "Concatenation",
    "Correlation",
    "Mean",
    "Pooling",
    "SOCFull",
    "SOCNoLEM",
    "Stats",
    "create",
    "is_trained",
]
