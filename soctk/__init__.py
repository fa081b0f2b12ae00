"""Speech emotion recognition on frozen speech encoders, with second-order pooling and the log-Euclidean map."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from soctk.inference.recogniser import Recogniser

__version__ = "0.1.0"


def load(folder: str | PathLike[str], encoder: str | PathLike[str] | None = None, device: str = "cpu") -> "Recogniser":
    """Load a packed model; see soctk.inference.recogniser.Recogniser for its use.

    Args:
        folder: the folder that soctk-pack wrote.
        encoder: the folder of the encoder, if the model neither includes it nor names where to get it.
        device: `cpu`, `cuda`, or `auto` for the GPU if there is one.

    Raises:
        SoctkError: the folder is no packed model or is damaged; its encoder is not available or is another one; or
            there is no GPU.
    """
    from soctk.inference.recogniser import Recogniser  # imports torch, for which the commands' --help does not wait

    return Recogniser.load(Path(folder), None if encoder is None else Path(encoder), device)
