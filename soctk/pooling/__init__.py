"""Pooling layers: frames `(B, T, D)` and their lengths come in, one descriptor `(B, P)` an utterance goes out.

`layers` has the layers, `registry` makes them by name, `spd` has the functions on matrices that they are made of, and
`fast` optional kernels that compute the same on a CPU in less time. It needs torch, numpy and pydantic, nothing heavier.
"""

from soctk.pooling.layers import (
    ASP,
    POOLINGS,
    SOC,
    Concatenation,
    Mean,
    Pooling,
    SOCFull,
    SOCNoLEM,
    Stats,
    create,
)

__all__ = ["ASP", "POOLINGS", "SOC", "Concatenation", "Mean", "Pooling", "SOCFull", "SOCNoLEM", "Stats", "create"]
