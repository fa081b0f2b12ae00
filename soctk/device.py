"""The device on which tensors are computed."""

from soctk.errors import SoctkError


def resolve(device: str) -> str:
    """Return `cpu` or `cuda` for `cpu`, `cuda` or `auto` (the GPU if torch finds one, else the CPU).

    Raises:
        SoctkError: `cuda` is given and torch finds no GPU.
    """
    if device == "cpu":
        return device
    import torch  # takes seconds, and the ONNX runtime does without

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise SoctkError("torch finds no GPU", remedy="Use --device cpu or --device auto.", where="--device cuda")
    return device
