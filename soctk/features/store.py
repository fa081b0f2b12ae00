"""The feature store: frames on disk as safetensors shards, an index, and a sidecar that says how they were made."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from tqdm import tqdm

from soctk.errors import SoctkError, listing
from soctk.files import atomic
from soctk.mappings import differences

SIDECAR = "store.json"
INDEX = "index.tsv"
_FINISH = "Run the recipe's stage 1 (soctk-extract) again; it does only what is missing."


class Store(Protocol):
    """Where frames are read from: a FeatureStore, or several joined (soctk.features.joined).

    Attributes:
        settings: what determines the frames.
        path: the directory; None of several stores joined.
        where: the directory or directories, for messages.
        layers: the numbers of the hidden states.
    """

    @property
    def settings(self) -> Mapping[str, Any]: ...
    @property
    def path(self) -> Path | None: ...
    @property
    def where(self) -> str: ...
    @property
    def layers(self) -> list[int]: ...

    def checksum(self) -> str:
        """Return a checksum of the recordings that the frames are of."""

    def lengths(self, utterances: Sequence[str]) -> list[int]:
        """Return T of each utterance, in frames."""

    def load(self, utterances: Sequence[str], layers: Sequence[int] | None = None) -> torch.Tensor:
        """Return the frames `(sum of T, L, D)` of utterances, one after the other."""


class FeatureStore:
    """A directory with the frames of a corpus from one upstream under one set of settings.

    Shards `shard-CHECKSUM.safetensors` hold one tensor an utterance, `(T, D)` or, of several layers, `(L, T, D)`, and
    the digest of the recording that it is of; the name has the SHA-256 of the file. `index.tsv` (utterance, shard,
    frames, recording) is written when all utterances are there; `store.json` holds the settings. Each file appears
    whole or not at all, so that a store can be filled by several processes or machines, killed at any moment, and
    filled further; shards copied in from another store with the same settings are shards of this one.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], entries: Mapping[str, "_Entry"]):
        self.path = path
        self.settings = settings
        self._entries = dict(entries)

    @classmethod
    def create(cls, path: Path, settings: Mapping[str, Any]) -> "FeatureStore":
        """Open a store to write to; make it if it is not there.

        Args:
            path: the store's directory.
            settings: what determines the features; `settings["versions"]` is recorded but not compared.

        Raises:
            SoctkError: the store was made with other settings, or one of its shards is damaged.
        """
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
        return cls(path, settings, _entries(path))

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
        return cls(path, _read_sidecar(path), _read_index(path))

    @property
    def where(self) -> str:
        """The directory, for messages."""
        return str(self.path)

    @property
    def recordings(self) -> dict[str, str]:
        """Utterance -> digest (soctk.corpus.audio.AudioInfo) of the recording that its features are of."""
        return {utt: entry.recording for utt, entry in sorted(self._entries.items())}

    def checksum(self) -> str:
        """Return a checksum of the recordings in the store."""
        return hashlib.sha256(repr(list(self.recordings.items())).encode()).hexdigest()[:16]

    def write_shard(self, frames: Mapping[str, torch.Tensor], recordings: Mapping[str, str]) -> int:
        """Add utterances as one shard, and return its bytes. Parallel writers never clash.

        Args:
            frames: utterance -> frames `(L, T, D)`.
            recordings: utterance -> digest of its recording.
        """
        tensors = {utt: tensor.squeeze(0).contiguous() for utt, tensor in frames.items()}
        content = save(tensors, {utt: recordings[utt] for utt in frames})
        # Where another process has done the same and finished the store, it has taken this for left by a killed one.
        with suppress(FileNotFoundError), atomic(self.path / _shard_name(content)) as temporary:
            temporary.write_bytes(content)
        return len(content)

    def finish(self) -> None:
        """Write the index from what the shards hold; from now on the store can be opened."""
        for left_by_killed in self.path.glob(".shard-*.tmp"):
            left_by_killed.unlink(missing_ok=True)
        entries = _entries(self.path)
        rows = [(utt, entry.shard.name, entry.frames, entry.recording) for utt, entry in sorted(entries.items())]
        with atomic(self.path / INDEX) as temporary:
            lines = ["\t".join(map(str, row)) for row in (_Entry.COLUMNS, *rows)]
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def load(self, utterances: Sequence[str], layers: Sequence[int] | None = None) -> torch.Tensor:
        """Read the frames `(sum of T, L, D)` of utterances, one after the other in the order given.

        Args:
            utterances: ids.
            layers: those wanted, in this order; all that the store has by default.

        Raises:
            SoctkError: the store lacks some of the utterances or layers, or a shard is missing or damaged.
        """
        positions = self._positions(self.layers if layers is None else layers)
        lengths = self.lengths(utterances)
        dtype = getattr(torch, self.settings["dtype"])
        block = torch.empty(sum(lengths), len(positions), self.settings["hidden_size"], dtype=dtype)
        places: dict[Path, list[tuple[str, torch.Tensor]]] = {}
        for utt, rows in zip(utterances, block.split(lengths), strict=True):
            places.setdefault(self._entries[utt].shard, []).append((utt, rows))
        for shard, its_places in places.items():
            with _opened(shard) as content:
                for utt, rows in its_places:
                    self._read(content, utt, positions, rows)
        return block

    def lengths(self, utterances: Sequence[str]) -> list[int]:
        """Return T of each utterance, in frames.

        Raises:
            SoctkError: the store lacks some of the utterances.
        """
        missing = [utt for utt in utterances if utt not in self._entries]
        if missing:
            raise SoctkError(
                f"{len(missing)} of {len(utterances)} utterances have no features, such as {missing[0]}",
                remedy=_FINISH,
                where=self.path,
            )
        return [self._entries[utt].frames for utt in utterances]

    @property
    def layers(self) -> list[int]:
        """The numbers of the hidden states in the store."""
        return self.settings["layers"]

    def _positions(self, layers: Sequence[int]) -> list[int]:
        unknown = [layer for layer in layers if layer not in self.layers]
        if unknown:
            raise SoctkError(
                f"it has no layer {unknown[0]}, only {', '.join(map(str, self.layers))}",
                remedy="Choose among these, or extract others into another store (--layer).",
                where=self.path,
            )
        return [self.layers.index(layer) for layer in layers]

    def _read(self, shard: safe_open, utt: str, positions: list[int], rows: torch.Tensor) -> None:
        """Copy layers of an utterance into `rows` `(T, L, D)`; of the file only these are read."""
        if len(self.layers) == 1:
            rows[:, 0] = shard.get_tensor(utt)
        else:
            stored = shard.get_slice(utt)
            for i, position in enumerate(positions):
                rows[:, i] = stored[position]

    def verify(self) -> list[str]:
        """Read every shard whole; return what is wrong with the store, a line each."""
        shards = {path.name: path for path in self.path.glob("shard-*.safetensors")}
        problems = [f"{entry.shard.name}: missing" for entry in self._entries.values() if not entry.shard.exists()]
        problems += [
            f"{name}: damaged, its content has another checksum"
            for name, path in tqdm(shards.items(), "verify", unit="shard", disable=None)
            if _shard_name(path.read_bytes()) != name
        ]
        return sorted(set(problems))


def _shard_name(content: bytes) -> str:
    return f"shard-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"


@dataclass(frozen=True)
class _Entry:
    """Where an utterance's frames are, how many, and the digest of their recording: a row of the index."""

    COLUMNS: ClassVar = ("utterance", "shard", "frames", "recording")

    shard: Path
    frames: int
    recording: str


def _entries(path: Path) -> dict[str, _Entry]:
    """Return utterance -> entry, from the headers of the shards in the directory `path` alone."""
    entries = {}
    for shard in sorted(path.glob("shard-*.safetensors")):
        with _opened(shard) as content:
            recordings = content.metadata()
            for utt in content.keys():  # noqa: SIM118 (no mapping)
                entries[utt] = _Entry(shard, content.get_slice(utt).get_shape()[-2], recordings[utt])
    return entries


def _read_index(path: Path) -> dict[str, _Entry]:
    try:
        header, *rows = [line.split("\t") for line in (path / INDEX).read_text(encoding="utf-8").splitlines()]
        if tuple(header) != _Entry.COLUMNS:
            raise ValueError
        return {utt: _Entry(path / shard, int(frames), recording) for utt, shard, frames, recording in rows}
    except ValueError as error:
        raise SoctkError("damaged", remedy=f"Remove it. {_FINISH}", where=path / INDEX) from error


def _read_sidecar(path: Path) -> dict[str, Any]:
    try:
        return json.loads((path / SIDECAR).read_text(encoding="utf-8"))
    except ValueError as error:
        raise SoctkError(
            "damaged", remedy="Remove the directory and extract again (stage 1).", where=path / SIDECAR
        ) from error


def _without_versions(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "versions"}


@contextmanager
def _opened(shard: Path) -> Iterator[safe_open]:
    """Open a shard to read, its faults told as one message."""
    try:
        with safe_open(shard, framework="pt") as content:
            yield content
    except (OSError, SafetensorError) as error:
        raise SoctkError(
            f"missing or damaged ({error})", remedy=f"Remove it if it is there. {_FINISH}", where=shard
        ) from error
