"""Speech emotion recognition on frozen speech encoders, with second-order pooling and the log-Euclidean map."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from soctk.inference.recogniser import Recogniser
    from soctk.inference.runtime import RuntimeName

__version__ = "0.1.0"


def load(
    model: str | PathLike[str],
    encoder: str | PathLike[str] | None = None,
    device: str = "cpu",
    revision: str | None = None,
    runtime: "RuntimeName" = "torch",
) -> "Recogniser":
    """Load a packed model; see soctk.inference.recogniser.Recogniser for its use.

    Args:
        model: the folder that soctk-pack wrote, or the id OWNER/NAME of a model on the Hugging Face hub. If there is a
            folder with the name of an id, the folder is used.
        encoder: the folder of the encoder, if the model neither includes it nor names where to get it; MODULE:CLASS or
            FILE.py:CLASS, if the encoder is a class of your own.
        device: `cpu`, `cuda`, or `auto` for the GPU if there is one.
        revision: the commit, tag or branch of a model on the hub; by default the newest commit.
        runtime: `torch`; or `onnx`, which imports neither torch nor transformers, for a model packed with
            `soctk-pack --onnx`.

    Raises:
        SoctkError: there is no such model, or it is damaged; its encoder is not available or is another one;
            there is no GPU; or the model has no ONNX form, for the runtime onnx.
    """
    from soctk.inference.recogniser import Recogniser  # the commands' --help does not wait for numpy

    return Recogniser.load(model, None if encoder is None else Path(encoder), device, revision, runtime)
