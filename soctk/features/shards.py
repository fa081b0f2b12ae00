"""Shards: safetensors files with the frames of many utterances, whose names and checksums follow from their content."""

import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from soctk.errors import SoctkError, listing
from soctk.features.settings import IMPORTED
from soctk.mappings import differences

PATTERN = "shard-*.safetensors"
EXTRACT_AGAIN = "Run stage 1 (soctk-extract) again; it extracts only what is missing."
_IMPORT_AGAIN = "Remove the store, and import the features again (soctk-import-features)."

_NAME = re.compile(r"shard-[0-9a-f]{16}\.safetensors")
# All metadata are one JSON text under this key. safetensors writes several keys in random order, and then the same
# frames would have several checksums.
_KEY = "soctk"
_DTYPES = {"float16": "F16", "float32": "F32"}


class _Metadata(BaseModel):
    """The metadata of a shard.

    Attributes:
        settings: the settings of the extraction.
        recordings: utterance -> digest of its recording.
        checksums: utterance -> the checksum of each hidden state.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    settings: dict[str, Any]
    recordings: dict[str, str]
    checksums: dict[str, list[int]]


def encode(
    frames: Mapping[str, torch.Tensor], recordings: Mapping[str, str], settings: Mapping[str, Any]
) -> tuple[str, bytes]:
    """Return the name and the content of a shard; both are always the same for the same arguments.

    Args:
        frames: utterance -> frames `(L, T, D)`. A single hidden state is stored as `(T, D)`.
        recordings: utterance -> digest of its recording.
        settings: the settings of the extraction, with the keys layers, hidden_size and dtype.
    """
    checksums = {
        utt: [
            _checksum(utt, recordings[utt], layer, state) for layer, state in zip(settings["layers"], each, strict=True)
        ]
        for utt, each in frames.items()
    }
    metadata = {
        "settings": dict(settings),
        "recordings": {utt: recordings[utt] for utt in frames},
        "checksums": checksums,
    }
    tensors = {utt: tensor.squeeze(0).contiguous() for utt, tensor in frames.items()}
    content = save(tensors, {_KEY: json.dumps(metadata, sort_keys=True, separators=(",", ":"))})
    return name_of(content), content


def name_of(content: bytes) -> str:
    """Return the file name of a shard with this content: the start of its SHA-256."""
    return f"shard-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"


def is_name(name: str) -> bool:
    """Return whether this is the file name of a shard."""
    return _NAME.fullmatch(name) is not None


class Shard:
    """An open shard. Everything that is read from it is checked first.

    Attributes:
        path: the file.
        recordings: utterance -> digest of its recording.
    """

    def __init__(self, path: Path, content: safe_open, settings: Mapping[str, Any]):
        metadata = (content.metadata() or {}).get(_KEY)
        if metadata is None:
            raise SoctkError(
                "the shard has no checksums: it was written by an earlier version of soctk",
                remedy="Remove the store and extract again (stage 1).",
                where=path,
            )
        self.path = path
        self._content, self._settings = content, settings
        own = _Metadata.model_validate_json(metadata)
        self.recordings, self._checksums = own.recordings, own.checksums
        if lines := differences(settings, own.settings, ("in store.json", "in the shard")):
            raise SoctkError(
                f"the shard has other settings than the store\n{listing(lines)}",
                remedy=f"Move the shard to a store with its settings. {EXTRACT_AGAIN}",
                where=path,
            )
        if not set(content.keys()) == self.recordings.keys() == self._checksums.keys():
            raise ValueError("the utterances differ from those of the metadata")

    def frames(self, utt: str) -> int:
        """Return the number of frames T of an utterance, from the header."""
        header = self._content.get_slice(utt)
        layers, shape = len(self._settings["layers"]), header.get_shape()
        length = shape[-2] if len(shape) > 1 else 0
        expected = [*([layers] if layers > 1 else []), length, self._settings["hidden_size"]]
        if length < 1 or shape != expected or header.get_dtype() != _DTYPES[self._settings["dtype"]]:
            raise ValueError(f"{utt} has {header.get_dtype()} values of shape {tuple(shape)}")
        return length

    def read(self, utt: str, position: int) -> torch.Tensor:
        """Return the frames `(T, D)` of one of the stored hidden states; other hidden states are not read."""
        layers = self._settings["layers"]
        self.frames(utt)
        frames = self._content.get_slice(utt)[position] if len(layers) > 1 else self._content.get_tensor(utt)
        if _checksum(utt, self.recordings[utt], layers[position], frames) != self._checksums[utt][position]:
            raise ValueError(f"the frames of {utt} have a wrong checksum")
        return frames


@contextmanager
def opened(path: Path, settings: Mapping[str, Any]) -> Iterator[Shard]:
    """Open a shard of a store with these settings.

    Raises:
        SoctkError: the shard is missing, or anything that the block reads from it is damaged; it has other settings.
    """
    try:
        with safe_open(path, framework="pt") as content:
            yield Shard(path, content, settings)
    except (OSError, SafetensorError, ValueError, LookupError) as error:
        reason = str(error).partition("\n")[0]
        remedy = f"Remove this file, if it exists. {EXTRACT_AGAIN} soctk-verify finds all damaged shards."
        if is_imported(settings):
            remedy = _IMPORT_AGAIN
        raise SoctkError(f"missing or damaged ({reason})", remedy=remedy, where=path) from error


def is_imported(settings: Mapping[str, Any]) -> bool:
    """Return whether another program has made the features of a store with these settings."""
    return settings.get("source") == IMPORTED


def again(settings: Mapping[str, Any]) -> str:
    """Return what to do about features that a store with these settings lacks."""
    return _IMPORT_AGAIN if is_imported(settings) else EXTRACT_AGAIN


def _checksum(utt: str, recording: str, layer: int, frames: torch.Tensor) -> int:
    """Return the CRC-32 of a hidden state `(T, D)`, and of what identifies it."""
    identity = json.dumps([utt, recording, layer, str(frames.dtype), list(frames.shape)])
    return zlib.crc32(frames.contiguous().numpy().data, zlib.crc32(identity.encode()))
