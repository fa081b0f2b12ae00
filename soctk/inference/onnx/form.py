"""The ONNX form of a packed model's encoder on disk: the folder `onnx` of the model.

- `config.yaml`: the format, the encoder, its front end, and the checksums of the other files (`FormSettings`).
- `encoder.onnx`: the graph of the encoder, with its weights; fbank and mfcc have none.
- `front_end.safetensors`: the arrays of the front end, such as mel filters, if it has any.

The form contains no program code. A graph that names other files is refused, because it could make onnxruntime read
any file of the machine; its weights are in its own file.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import yaml
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from soctk.errors import SoctkError
from soctk.inference.bundle import Bundle, damaged
from soctk.inference.onnx.front_ends import FrontEnd
from soctk.mappings import read_yaml
from soctk.schema import Section

FOLDER, SETTINGS, GRAPH, ARRAYS = "onnx", "config.yaml", "encoder.onnx", "front_end.safetensors"
# The format of the folder. A change that makes folders unreadable for older versions of soctk increases it.
FORMAT = 1
OnnxWeights = Literal["float32", "int8"]

_PACK = "Pack the experiment again (soctk-pack --onnx)."
_OTHER_FILE = b"location"  # the key under which a tensor of a graph names the file that holds its values


class FormSettings(Section):
    """The content of onnx/config.yaml.

    Attributes:
        format: the format of the folder.
        encoder: the release, revision or checksum of the encoder; that of the model.
        layers: the hidden states that the graph gives; those of the model.
        weights: the data type of the weights in matrix products.
        max_seconds: the duration of the longest waveform that the encoder takes, in s; None for any.
        front_end: what precedes the graph.
        files: name -> SHA-256 of each file.
        made_with: the versions of the packages that made the graph; for readers.
    """

    format: Annotated[int, Field(strict=True)]
    encoder: str
    layers: list[int]
    weights: OnnxWeights
    max_seconds: Annotated[float, Field(gt=0)] | None
    front_end: FrontEnd
    files: dict[Literal["encoder.onnx", "front_end.safetensors"], str]
    made_with: dict[str, str]


@dataclass(frozen=True)
class Form:
    """The content of the folder.

    Attributes:
        settings: the content of config.yaml.
        graph: the content of encoder.onnx; None for encoders without one.
        arrays: the arrays of the front end.
        path: the folder.
    """

    settings: FormSettings
    graph: bytes | None
    arrays: Mapping[str, np.ndarray]
    path: Path


def write(folder: Path, settings: FormSettings, graph: bytes | None, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the form into the folder of a model; the checksums are added to the settings."""
    content = {} if graph is None else {GRAPH: graph}
    if arrays:
        content[ARRAYS] = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    path = folder / FOLDER
    path.mkdir()
    for name, data in content.items():
        (path / name).write_bytes(data)
    files = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    complete = settings.model_copy(update={"files": files}).model_dump()
    (path / SETTINGS).write_text(yaml.safe_dump(complete, sort_keys=False), encoding="utf-8")


def read(bundle: Bundle) -> Form:
    """Read the form of a model, and check that it is that of the model's encoder.

    Raises:
        SoctkError: the model has none, or one of another format or encoder; or it is damaged, or names other files.
    """
    assert bundle.path is not None
    path = bundle.path / FOLDER
    if not (path / SETTINGS).is_file():
        raise SoctkError(
            "the model has no ONNX form of its encoder",
            remedy="Pack the experiment with one (soctk-pack --onnx), or use the runtime torch.",
            where=bundle.path,
        )
    settings, encoder = _read_settings(path / SETTINGS), bundle.settings.encoder
    if (settings.encoder, settings.layers) != (encoder.source, encoder.layers):
        raise SoctkError(
            f"the ONNX form is of {settings.encoder}, layers {settings.layers}, and the model needs {encoder.source}, "
            f"layers {encoder.layers}",
            remedy=_PACK,
            where=path,
        )
    content: dict[str, bytes] = {name: _read_file(path / name, checksum) for name, checksum in settings.files.items()}
    graph = content.get(GRAPH)
    if (graph is None) != (settings.front_end.kind == "kaldi"):
        raise damaged(path / SETTINGS, f"{GRAPH} does not belong to this front end, or is missing")
    if graph is not None and _OTHER_FILE in graph:
        raise SoctkError(
            "the graph names other files, from which onnxruntime would read its weights",
            remedy=f"Do not use this model. {_PACK}",
            where=path / GRAPH,
        )
    return Form(settings, graph, _read_arrays(path / ARRAYS, settings, content.get(ARRAYS)), path)


def _read_settings(path: Path) -> FormSettings:
    content = read_yaml(path)
    version = content.get("format")
    if isinstance(version, int) and version != FORMAT:
        raise SoctkError(
            f"the ONNX form has the format {version}, and this version of soctk reads format {FORMAT}",
            remedy="Install a newer soctk." if version > FORMAT else _PACK,
            where=path,
        )
    try:
        return FormSettings.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        raise damaged(path, f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error


def _read_file(path: Path, checksum: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise damaged(path, str(error)) from error
    if hashlib.sha256(content).hexdigest() != checksum:
        raise damaged(path, f"its checksum is not the one in {SETTINGS}")
    return content


def _read_arrays(path: Path, settings: FormSettings, content: bytes | None) -> dict[str, np.ndarray]:
    try:
        arrays = {} if content is None else load(content)
    except (SafetensorError, KeyError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    if {name: array.shape for name, array in arrays.items()} != settings.front_end.shapes():
        raise damaged(path, f"its arrays are not those of the front end in {SETTINGS}")
    if not all(array.dtype.kind == "f" and np.isfinite(array).all() for array in arrays.values()):
        raise damaged(path, "NaN or infinite values")
    return arrays
