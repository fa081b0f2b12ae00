"""The feature store: frames on disk as safetensors shards, an index, and a sidecar that says how they were made."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch.nn.utils.rnn import pad_sequence

from soctk.config import differences
from soctk.errors import SoctkError, listing
from soctk.files import atomic

SIDECAR = "store.json"
INDEX = "index.tsv"
_FINISH = "Run the recipe's stage 1 (soctk-extract) again; it does only what is missing."


@dataclass(frozen=True)
class Frames:
    """The frames of many utterances as one contiguous block.

    Attributes:
        block: `(sum of T, D)`, in the dtype of the store.
        lengths: T of each utterance, in frames.
    """

    block: torch.Tensor
    lengths: list[int]

    @cached_property
    def _utterances(self) -> tuple[torch.Tensor, ...]:
        return self.block.split(self.lengths)

    def batch(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return float32 frames `(B, T, D)`, zero beyond each utterance's end, and lengths `(B,)` in frames."""
        frames = pad_sequence([self._utterances[i] for i in indices], batch_first=True)
        return frames.float(), torch.tensor([self.lengths[i] for i in indices], device=frames.device)

    def to(self, device: str) -> "Frames":
        """Return the frames on another device."""
        return Frames(self.block.to(device), self.lengths)


class FeatureStore:
    """A directory with the frames of a corpus from one upstream under one set of settings.

    Shards `shard-*.safetensors` hold one tensor `(T, D)` an utterance; `index.tsv` (utterance, shard, frames) is
    written when all utterances are there; `store.json` holds the settings. Each file appears whole or not at all, so
    that a store can be filled by several processes, killed at any moment, and filled further.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]):
        self.path = path
        self.settings = settings
        self._shards: dict[str, Path] = {}

    @classmethod
    def create(cls, path: Path, settings: Mapping[str, Any]) -> "FeatureStore":
        """Open a store to write to; make it if it is not there.

        Args:
            path: the store's directory.
            settings: what determines the features; `settings["versions"]` is recorded but not compared.

        Raises:
            SoctkError: the store was made with other settings, or one of its shards is damaged.
        """
        store = cls(path, settings)
        if (path / SIDECAR).exists():
            there = _without_versions(_read_sidecar(path))
            lines = differences(there, _without_versions(settings))
            if lines:
                raise SoctkError(
                    f"the store was made with other settings\n{listing(lines)}",
                    remedy="Use another directory for these settings, or remove this one to extract again.",
                    where=path,
                )
        else:
            with atomic(path / SIDECAR) as temporary:
                temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        store._shards = {utt: shard for shard in sorted(path.glob("shard-*.safetensors")) for utt in _lengths(shard)}
        return store

    @classmethod
    def open(cls, path: Path) -> "FeatureStore":
        """Open a finished store to read from.

        Raises:
            SoctkError: there is no store, or its extraction has not finished.
        """
        if not (path / SIDECAR).exists():
            raise SoctkError("no feature store", remedy=_FINISH, where=path)
        if not (path / INDEX).exists():
            raise SoctkError("the extraction has not finished", remedy=_FINISH, where=path)
        store = cls(path, _read_sidecar(path))
        rows = (line.split("\t") for line in (path / INDEX).read_text(encoding="utf-8").splitlines()[1:])
        store._shards = {utt: path / shard for utt, shard, _ in rows}
        return store

    def __contains__(self, utterance: str) -> bool:
        return utterance in self._shards

    def write_shard(self, frames: Mapping[str, torch.Tensor]) -> None:
        """Add utterances `(T, D)` as one shard, named after a checksum of their ids: parallel writers never clash."""
        name = hashlib.sha256("\n".join(sorted(frames)).encode()).hexdigest()[:16]
        shard = self.path / f"shard-{name}.safetensors"
        with atomic(shard) as temporary:
            temporary.write_bytes(save({utt: tensor.contiguous() for utt, tensor in frames.items()}))
        self._shards |= dict.fromkeys(frames, shard)

    def finish(self) -> None:
        """Write the index from what the shards hold; from now on the store can be opened."""
        lengths = {shard: _lengths(shard) for shard in sorted(self.path.glob("shard-*.safetensors"))}
        rows = sorted((utt, shard.name, frames) for shard, utts in lengths.items() for utt, frames in utts.items())
        with atomic(self.path / INDEX) as temporary:
            lines = ["utterance\tshard\tframes", *("\t".join(map(str, row)) for row in rows)]
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def load(self, utterances: Sequence[str]) -> Frames:
        """Read utterances, in the order given, into one contiguous block.

        Raises:
            SoctkError: the store lacks some of them, or a shard is missing or damaged.
        """
        missing = [utt for utt in utterances if utt not in self._shards]
        if missing:
            raise SoctkError(
                f"{len(missing)} of {len(utterances)} utterances have no features, such as {missing[0]}",
                remedy=_FINISH,
                where=self.path,
            )
        tensors: dict[str, torch.Tensor] = {}
        for shard in {self._shards[utt] for utt in utterances}:
            with _opened(shard) as content:
                tensors |= {utt: content.get_tensor(utt) for utt in utterances if self._shards[utt] == shard}
        ordered = [tensors[utt] for utt in utterances]
        return Frames(torch.cat(ordered), [len(tensor) for tensor in ordered])


@contextmanager
def _opened(shard: Path) -> Iterator[safe_open]:
    """Open a shard to read, its faults told as one message."""
    try:
        content = safe_open(shard, framework="pt")
    except (OSError, SafetensorError) as error:
        raise SoctkError(
            f"missing or damaged ({error})", remedy=f"Remove it if it is there. {_FINISH}", where=shard
        ) from error
    with content:
        yield content


def _lengths(shard: Path) -> dict[str, int]:
    """Return utterance -> T, from the shard's header alone."""
    with _opened(shard) as content:
        return {utt: content.get_slice(utt).get_shape()[0] for utt in content.keys()}  # noqa: SIM118 (no mapping)


def _read_sidecar(path: Path) -> dict[str, Any]:
    return json.loads((path / SIDECAR).read_text(encoding="utf-8"))


def _without_versions(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "versions"}
