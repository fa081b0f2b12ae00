"""Where the computation runs."""

import torch

from soctk.errors import SoctkError


def resolve(device: str) -> str:
    """Return `cpu` or `cuda` for `cpu`, `cuda` or `auto` (a GPU where there is one).

    Raises:
        SoctkError: a GPU is asked for and there is none.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise SoctkError(
            "no GPU that torch can use", remedy="Use --device cpu or --device auto.", where="--device cuda"
        )
    return device
