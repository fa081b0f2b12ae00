"""Pooling layers: frames `(B, T, D)` and their lengths `(B,)` come in, one descriptor `(B, P)` per utterance goes out.

`layers` has the layers, `registry` makes them by name, `spd` has the functions on matrices behind them, and `fast` has
optional CPU kernels for the same computations. It imports torch, numpy and pydantic, and nothing heavier.
"""

from soctk.pooling.layers import ASP, SOC, Concatenation, Mean, Pooling, SOCFull, SOCNoLEM, Stats
from soctk.pooling.registry import POOLINGS, create, is_trained

__all__ = [
    "ASP",
    "POOLINGS",
    "SOC",
    "Concatenation",
    "Mean",
    "Pooling",
    "SOCFull",
    "SOCNoLEM",
    "Stats",
    "create",
    "is_trained",
]
