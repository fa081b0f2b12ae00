"""The feature store: frames on disk as safetensors shards, with an index and the settings of their extraction."""

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

from soctk.errors import SoctkError, listing
from soctk.files import atomic
from soctk.mappings import differences
from soctk.progress import track

SETTINGS = "store.json"
INDEX = "index.tsv"
_EXTRACT_AGAIN = "Run stage 1 (soctk-extract) again; it extracts only what is missing."


class Store(Protocol):
    """The interface through which training reads frames: a FeatureStore or a JoinedStore (soctk.features.joined)."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that determine the frames."""

    @property
    def path(self) -> Path | None:
        """The directory of the store; None for several joined stores."""

    @property
    def where(self) -> str:
        """The directory or directories, for error messages."""

    @property
    def layers(self) -> list[int]:
        """The numbers of the stored hidden states."""

    @property
    def recordings(self) -> dict[str, str]:
        """Utterance -> digest of its recording; copies at other speeds are included."""

    def checksum(self) -> str:
        """Return a checksum of the ids and digests of the recordings."""

    def lengths(self, utterances: Sequence[str]) -> list[int]:
        """Return the number of frames T of each utterance."""

    def load(self, utterances: Sequence[str], layers: Sequence[int] | None = None) -> torch.Tensor:
        """Return the frames `(sum of T, L, D)` of the utterances, concatenated in the given order."""


class FeatureStore:
    """A directory with the frames of one corpus from one upstream.

    - `shard-CHECKSUM.safetensors`: for each utterance a tensor `(T, D)`, or `(L, T, D)` for several hidden states, and
      the digest of its recording. CHECKSUM is the start of the SHA-256 of the file.
    - `index.tsv`: utterance, shard, frames, recording. It is written when all utterances have been extracted.
    - `store.json`: the settings of the extraction.

    Every file is written atomically. Therefore several processes or machines can fill a store at the same time, and a
    killed extraction can be continued. Shards of another store with the same settings may be copied into the directory.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], entries: Mapping[str, "_Entry"]):
        self.path = path
        self.settings = settings
        self._entries = dict(entries)

    @classmethod
    def create(cls, path: Path, settings: Mapping[str, Any]) -> "FeatureStore":
        """Open a store for writing; create it if it does not exist.

        Args:
            path: the store's directory.
            settings: the settings that determine the frames; `settings["versions"]` is recorded but not compared.

        Raises:
            SoctkError: the store has other settings, or a shard is damaged.
        """
        if (path / SETTINGS).exists():
            lines = differences(_drop_versions(_read_settings(path)), _drop_versions(settings))
            if lines:
                raise SoctkError(
                    f"this store has other settings\n{listing(lines)}",
                    remedy="Use another directory for these settings, or remove this directory to extract again.",
                    where=path,
                )
        else:
            with atomic(path / SETTINGS) as temporary:
                temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        return cls(path, settings, _read_entries(path))

    @classmethod
    def open(cls, path: Path) -> "FeatureStore":
        """Open a finished store for reading.

        Raises:
            SoctkError: the directory has no store, or the extraction has not finished.
        """
        if not (path / SETTINGS).exists():
            raise SoctkError("no feature store in this directory", remedy=_EXTRACT_AGAIN, where=path)
        if not (path / INDEX).exists():
            raise SoctkError("the extraction has not finished", remedy=_EXTRACT_AGAIN, where=path)
        return cls(path, _read_settings(path), _read_index(path))

    @property
    def where(self) -> str:
        """The directory, for error messages."""
        return str(self.path)

    @property
    def recordings(self) -> dict[str, str]:
        """Utterance -> digest of its recording (soctk.corpus.audio.AudioInfo)."""
        return {utt: entry.recording for utt, entry in sorted(self._entries.items())}

    def checksum(self) -> str:
        """Return a checksum of the ids and digests of the recordings."""
        return hashlib.sha256(repr(list(self.recordings.items())).encode()).hexdigest()[:16]

    def write_shard(self, frames: Mapping[str, torch.Tensor], recordings: Mapping[str, str]) -> int:
        """Write utterances as one shard; return its size in bytes. Several processes may write at the same time.

        Args:
            frames: utterance -> frames `(L, T, D)`.
            recordings: utterance -> digest of its recording.
        """
        tensors = {utt: tensor.squeeze(0).contiguous() for utt, tensor in frames.items()}
        content = save(tensors, {utt: recordings[utt] for utt in frames})
        # Another process may have written the same shard and finished the store; finish() then removed this process's
        # temporary file, which is not needed any more.
        with suppress(FileNotFoundError), atomic(self.path / _name_shard(content)) as temporary:
            temporary.write_bytes(content)
        return len(content)

    def finish(self) -> None:
        """Remove the temporary files of killed processes and write the index, so that the store can be opened."""
        for temporary in self.path.glob(".shard-*.tmp"):
            temporary.unlink(missing_ok=True)
        entries = _read_entries(self.path)
        rows = [(utt, entry.shard.name, entry.frames, entry.recording) for utt, entry in sorted(entries.items())]
        with atomic(self.path / INDEX) as temporary:
            lines = ["\t".join(map(str, row)) for row in (_Entry.COLUMNS, *rows)]
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def load(self, utterances: Sequence[str], layers: Sequence[int] | None = None) -> torch.Tensor:
        """Read the frames `(sum of T, L, D)` of the utterances, concatenated in the given order.

        Args:
            utterances: their ids.
            layers: the hidden states to read, in this order; by default all stored ones.

        Raises:
            SoctkError: an utterance or a hidden state is not in the store, or a shard is missing or damaged.
        """
        positions = self._find_positions(self.layers if layers is None else layers)
        lengths = self.lengths(utterances)
        dtype = getattr(torch, self.settings["dtype"])
        block = torch.empty(sum(lengths), len(positions), self.settings["hidden_size"], dtype=dtype)
        by_shard: dict[Path, list[tuple[str, torch.Tensor]]] = {}
        for utt, rows in zip(utterances, block.split(lengths), strict=True):
            by_shard.setdefault(self._entries[utt].shard, []).append((utt, rows))
        for shard, destinations in by_shard.items():
            with _open_shard(shard) as content:
                for utt, rows in destinations:
                    self._read(content, utt, positions, rows)
        return block

    def lengths(self, utterances: Sequence[str]) -> list[int]:
        """Return the number of frames T of each utterance.

        Raises:
            SoctkError: an utterance is not in the store.
        """
        missing = [utt for utt in utterances if utt not in self._entries]
        if missing:
            raise SoctkError(
                f"{len(missing)} utterances have no features, such as {missing[0]}",
                remedy=_EXTRACT_AGAIN,
                where=self.path,
            )
        return [self._entries[utt].frames for utt in utterances]

    @property
    def layers(self) -> list[int]:
        """The numbers of the stored hidden states."""
        return self.settings["layers"]

    def _find_positions(self, layers: Sequence[int]) -> list[int]:
        unknown = [layer for layer in layers if layer not in self.layers]
        if unknown:
            raise SoctkError(
                f"the store has no hidden state {unknown[0]}, only {', '.join(map(str, self.layers))}",
                remedy="Use one of these, or extract others into another store (soctk-extract --layer).",
                where=self.path,
            )
        return [self.layers.index(layer) for layer in layers]

    def _read(self, shard: safe_open, utt: str, positions: list[int], rows: torch.Tensor) -> None:
        """Read hidden states of an utterance into `rows` `(T, L, D)`; other hidden states are not read."""
        if len(self.layers) == 1:
            rows[:, 0] = shard.get_tensor(utt)
        else:
            stored = shard.get_slice(utt)
            for i, position in enumerate(positions):
                rows[:, i] = stored[position]

    def verify(self) -> list[str]:
        """Compare every shard with its checksum; return one line for each missing or damaged shard."""
        shards = {path.name: path for path in self.path.glob("shard-*.safetensors")}
        problems = [f"{entry.shard.name}: missing" for entry in self._entries.values() if not entry.shard.exists()]
        problems += [
            f"{name}: damaged (its checksum is wrong)"
            for name, path in track(shards.items(), "verify", "shard")
            if _name_shard(path.read_bytes()) != name
        ]
        return sorted(set(problems))


def _name_shard(content: bytes) -> str:
    return f"shard-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"


@dataclass(frozen=True)
class _Entry:
    """A row of the index: the shard of an utterance, its number of frames, and the digest of its recording."""

    COLUMNS: ClassVar = ("utterance", "shard", "frames", "recording")

    shard: Path
    frames: int
    recording: str


def _read_entries(path: Path) -> dict[str, _Entry]:
    """Return utterance -> entry, read from the headers of the shards in the directory `path`."""
    entries = {}
    for shard in sorted(path.glob("shard-*.safetensors")):
        with _open_shard(shard) as content:
            recordings = content.metadata()
            for utt in content.keys():  # noqa: SIM118 (safe_open is not a mapping)
                entries[utt] = _Entry(shard, content.get_slice(utt).get_shape()[-2], recordings[utt])
    return entries


def _read_index(path: Path) -> dict[str, _Entry]:
    try:
        header, *rows = [line.split("\t") for line in (path / INDEX).read_text(encoding="utf-8").splitlines()]
        if tuple(header) != _Entry.COLUMNS:
            raise ValueError
        return {utt: _Entry(path / shard, int(frames), recording) for utt, shard, frames, recording in rows}
    except ValueError as error:
        raise SoctkError("damaged", remedy=f"Remove this file. {_EXTRACT_AGAIN}", where=path / INDEX) from error


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        return json.loads((path / SETTINGS).read_text(encoding="utf-8"))
    except ValueError as error:
        raise SoctkError(
            "damaged", remedy="Remove the directory and extract again (stage 1).", where=path / SETTINGS
        ) from error


def _drop_versions(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "versions"}


@contextmanager
def _open_shard(shard: Path) -> Iterator[safe_open]:
    """Open a shard for reading; raise a SoctkError if it is missing or damaged."""
    try:
        with safe_open(shard, framework="pt") as content:
            yield content
    except (OSError, SafetensorError) as error:
        raise SoctkError(
            f"missing or damaged ({error})", remedy=f"Remove this file, if it exists. {_EXTRACT_AGAIN}", where=shard
        ) from error
