"""The feature store: frames on disk as safetensors shards, with an index and the settings of their extraction."""

import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import torch

from soctk.errors import SoctkError, listing, plural
from soctk.features import index, shards
from soctk.features import settings as store_json
from soctk.features.index import Entry
from soctk.features.interface import OneEncoder
from soctk.features.shards import EXTRACT_AGAIN
from soctk.files import atomic, locked, remove_leftovers, require_utf8
from soctk.mappings import differences
from soctk.progress import track


class FeatureStore(OneEncoder):
    """A directory with the frames of one corpus from one upstream.

    - `shard-CHECKSUM.safetensors`: for each utterance a tensor `(T, D)`, or `(L, T, D)` for several hidden states. The
      metadata hold the digest of its recording, the settings, and a checksum of each hidden state, which is compared
      whenever it is read. CHECKSUM is the start of the SHA-256 of the file; the same frames always give the same file.
    - `index.tsv`: utterance, shard, frames, recording. It is written when all utterances have been extracted.
    - `store.json`: the format of the store, and the settings of the extraction.

    Every file is written atomically. Therefore several processes or machines can fill a store at the same time, and a
    killed extraction can be continued. Each utterance is stored once, even if several processes extract it. Shards of
    another store with the same settings may be copied into the directory.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], entries: Mapping[str, Entry]):
        self.path = path
        self.settings = settings
        self._entries = dict(entries)
        self._known = {entry.shard.name for entry in entries.values()}  # the shards whose utterances are in _entries

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for another process; a job of this process may add utterances in the meantime."""
        return {**self.__dict__, "_entries": dict(self._entries), "_known": set(self._known)}

    @classmethod
    def create(cls, path: Path, settings: Mapping[str, Any]) -> "FeatureStore":
        """Open a store for writing; create it if it does not exist.

        Args:
            path: the store's directory.
            settings: the settings that determine the frames, and those that are only recorded (settings.compared).

        Raises:
            SoctkError: the path is not UTF-8; the store has other settings, or was written by an earlier version of
                soctk; store.json or a shard is damaged; two shards have different recordings of an utterance.
        """
        require_utf8(path)
        settings = json.loads(json.dumps(settings))
        if not (path / store_json.NAME).exists():
            store_json.write(path, settings)
        # Also after writing: another process may have created the store at the same time.
        if lines := differences(store_json.compared(store_json.read(path)), store_json.compared(settings)):
            raise SoctkError(
                f"this store has other settings\n{listing(lines)}",
                remedy="Use another directory for these settings, or remove this directory to extract again.",
                where=path,
            )
        store = cls(path, settings, {})
        store.update()
        return store

    @classmethod
    def open(cls, path: Path) -> "FeatureStore":
        """Open a finished store for reading.

        Raises:
            SoctkError: the path is not UTF-8; the directory has no store, the extraction has not finished, or the store
                was written by an earlier version of soctk; store.json or the index is damaged.
        """
        require_utf8(path)
        if not (path / store_json.NAME).exists():
            raise SoctkError("no feature store in this directory", remedy=EXTRACT_AGAIN, where=path)
        settings = store_json.read(path)
        if not (path / index.NAME).exists():
            raise SoctkError("the extraction has not finished", remedy=EXTRACT_AGAIN, where=path)
        return cls(path, settings, index.read(path))

    @property
    def where(self) -> str:
        """The directory, for error messages."""
        return str(self.path)

    @property
    def recordings(self) -> dict[str, str]:
        """Utterance -> digest of its recording (soctk.corpus.audio.AudioInfo)."""
        return {utt: entry.recording for utt, entry in sorted(self._entries.items())}

    def checksum(self) -> str:
        """Return a checksum of the ids and digests of the recordings, and of the content of imported features."""
        content = self.settings.get(store_json.CONTENT, "")
        return recordings_checksum(self.recordings, content)

    def update(self) -> None:
        """Add the utterances of shards that other processes have written to this store.

        Raises:
            SoctkError: a shard is damaged, or has other settings; two shards have different recordings of an utterance.
        """
        present = set(os.listdir(self.path))  # noqa: PTH208 - 20,000 names take 4 ms, and Path objects 40
        for name in sorted(filter(shards.is_name, present - self._known)):
            shard = self.path / name
            try:
                entries = self._read_header(shard)
            except SoctkError:
                if shard.exists():
                    raise
                continue  # another process has removed it, because other shards hold its utterances
            self._known.add(name)
            for utt, entry in entries.items():
                stored = self._entries.setdefault(utt, entry)
                if stored.recording != entry.recording:
                    raise SoctkError(
                        f"{stored.shard.name} and {shard.name} hold different recordings of {utt}",
                        remedy=f"Remove the one that is out of date. {EXTRACT_AGAIN}",
                        where=self.path,
                    )

    def write_shard(self, frames: Mapping[str, torch.Tensor], recordings: Mapping[str, str]) -> int:
        """Write utterances as one shard; return its size in bytes.

        Several processes may write at the same time. Utterances that another process has stored in the meantime are
        left out; if none is left, nothing is written and the size is 0.

        Args:
            frames: utterance -> frames `(L, T, D)`.
            recordings: utterance -> digest of its recording.

        Raises:
            SoctkError: an id contains a tab or a line feed; `update` raises it.
        """
        if unusable := [utt for utt in frames if set(utt) & {"\t", "\n"}]:
            raise SoctkError(
                f"the id {unusable[0]!r} contains a tab or a line feed", remedy="Rename the utterance.", where=self.path
            )
        while True:
            self.update()
            new = {utt: each for utt, each in frames.items() if utt not in self._entries}
            if not new:
                return 0
            name, content = shards.encode(new, recordings, store_json.compared(self.settings))
            if self._write_unless_stored(name, content, new.keys()):
                return len(content)

    def _write_unless_stored(self, name: str, content: bytes, utterances: Collection[str]) -> bool:
        """Write a shard; return False, without the shard, if another process has stored one of its utterances."""
        with ExitStack() as lock, suppress(_StoredMeanwhile), atomic(self.path / name) as temporary:
            temporary.write_bytes(content)
            lock.enter_context(locked(self.path / store_json.NAME))  # until the shard has its final name
            self.update()
            if not self._entries.keys().isdisjoint(utterances):
                raise _StoredMeanwhile
            return True
        return False

    def remove_outdated(self, recordings: Mapping[str, str]) -> None:
        """Remove the index, and the shards that have another recording of an utterance than `recordings`.

        The next extraction adds the missing utterances: those of the removed shards.

        Args:
            recordings: utterance -> digest of its recording.

        Raises:
            SoctkError: a shard is damaged, or has other settings.
        """
        with locked(self.path / store_json.NAME):
            (self.path / index.NAME).unlink(missing_ok=True)
            for shard in self.path.glob(shards.PATTERN):
                entries = self._read_header(shard).items()
                if any(recordings.get(utt, entry.recording) != entry.recording for utt, entry in entries):
                    shard.unlink()
            self._entries, self._known = {}, set()
            self.update()

    def finish(self) -> None:
        """Write the index, so that the store can be opened.

        Temporary files of killed processes are removed, and so are shards all of whose utterances are in other shards.
        Shards that the index already names are kept, so that other processes can go on reading them.

        Raises:
            SoctkError: `update` raises it.
        """
        remove_leftovers(self.path)
        with locked(self.path / store_json.NAME):
            indexed: set[Path] = set()
            with suppress(SoctkError, OSError):  # no index yet, or a damaged one
                indexed = {entry.shard for entry in index.read(self.path).values()}
            self._entries, self._known = {}, set()
            for shard in sorted(indexed & set(self.path.glob(shards.PATTERN))):
                self._entries |= self._read_header(shard)
                self._known.add(shard.name)
            self.update()
            index.write(self.path, self._entries)
            for shard in set(self.path.glob(shards.PATTERN)) - {entry.shard for entry in self._entries.values()}:
                shard.unlink()

    def _read_header(self, path: Path) -> dict[str, Entry]:
        """Return utterance -> entry of the index, from the header of a shard."""
        with shards.opened(path, store_json.compared(self.settings)) as shard:
            return {utt: Entry(path, shard.frames(utt), digest) for utt, digest in shard.recordings.items()}

    def load(self, utterances: Sequence[str], layers: Sequence[int] | None = None) -> torch.Tensor:
        """Read the frames `(sum of T, L, D)` of the utterances, concatenated in the given order.

        Args:
            utterances: their ids.
            layers: the hidden states to read, in this order; by default all stored ones.

        Raises:
            SoctkError: an utterance or a hidden state is not in the store, or a shard is missing or damaged.
        """
        _, chosen = self.select(self.layers if layers is None else layers)
        positions = [self.layers.index(layer) for layer in chosen]
        lengths = self.lengths(utterances)
        self._check_sizes(utterances)
        dtype = getattr(torch, self.settings["dtype"])
        block = torch.empty(sum(lengths), len(positions), self.settings["hidden_size"], dtype=dtype)
        by_shard: dict[Path, list[tuple[str, torch.Tensor]]] = {}
        for utt, rows in zip(utterances, block.split(lengths), strict=True):
            by_shard.setdefault(self._entries[utt].shard, []).append((utt, rows))
        for path, destinations in by_shard.items():
            with shards.opened(path, store_json.compared(self.settings)) as shard:
                for utt, rows in destinations:
                    self._check_entry(shard, utt)
                    for i, position in enumerate(positions):
                        rows[:, i] = shard.read(utt, position)
        return block

    def _check_sizes(self, utterances: Sequence[str]) -> None:
        """Raise SoctkError if the index counts more frames than the shards can hold, or if a shard is missing.

        Without this check, a damaged index could make `load` allocate any amount of memory.
        """
        bytes_each = len(self.layers) * self.settings["hidden_size"] * getattr(torch, self.settings["dtype"]).itemsize
        entries = [self._entries[utt] for utt in utterances]
        sizes = {shard: _size(shard) for shard in dict.fromkeys(entry.shard for entry in entries)}
        if any(entry.frames * bytes_each > sizes[entry.shard] for entry in entries):
            raise index.damaged(self.path)

    def _check_entry(self, shard: shards.Shard, utt: str) -> None:
        entry = self._entries[utt]
        if (shard.frames(utt), shard.recordings[utt]) != (entry.frames, entry.recording):
            raise index.damaged(self.path)

    def lengths(self, utterances: Sequence[str]) -> list[int]:
        """Return the number of frames T of each utterance.

        Raises:
            SoctkError: an utterance is not in the store.
        """
        missing = [utt for utt in utterances if utt not in self._entries]
        if missing:
            raise SoctkError(
                f"{plural(len(missing), 'utterance has', 'utterances have')} no features, such as {missing[0]}",
                remedy=shards.again(self.settings),
                where=self.path,
            )
        return [self._entries[utt].frames for utt in utterances]

    def verify(self) -> list[str]:
        """Read all shards; return one line for each missing or damaged shard, and for each wrong row of the index."""
        found: set[tuple[str, Entry]] = set()
        problems = {f"{entry.shard.name}: missing" for entry in self._entries.values() if not entry.shard.exists()}
        for path in track(sorted(self.path.glob(shards.PATTERN)), "verify", "shard"):
            if shards.name_of(path.read_bytes()) == path.name:
                found.update(self._read_header(path).items())
            else:
                problems.add(f"{path.name}: damaged (its checksum is wrong)")
        damaged = {problem.partition(":")[0] for problem in problems}
        indexed = {item for item in self._entries.items() if item[1].shard.name not in damaged}
        problems |= {f"{index.NAME}: wrong for {utt}" for utt, _ in indexed - found}
        problems |= {f"{index.NAME}: without {utt}" for utt, _ in found if utt not in self._entries}
        return sorted(problems)


class _StoredMeanwhile(Exception):
    """Another process has stored an utterance of the shard that is being written."""


def _size(shard: Path) -> int:
    """Return the size of a shard in bytes."""
    try:
        return shard.stat().st_size
    except OSError as error:
        raise SoctkError(f"missing or damaged ({error.strerror})", remedy=EXTRACT_AGAIN, where=shard) from error


def recordings_checksum(recordings: Mapping[str, str], content: str = "") -> str:
    """Return a checksum of utterance -> digest, and of the content of imported features."""
    return hashlib.sha256((repr(sorted(recordings.items())) + content).encode()).hexdigest()[:16]
