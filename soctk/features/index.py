"""The index of a feature store, index.tsv: the shard, the number of frames and the recording of each utterance."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from soctk.errors import SoctkError
from soctk.features import shards
from soctk.files import atomic

NAME = "index.tsv"


@dataclass(frozen=True)
class Entry:
    """A row of the index: the shard of an utterance, its number of frames, and the digest of its recording."""

    COLUMNS: ClassVar = ("utterance", "shard", "frames", "recording")

    shard: Path
    frames: int
    recording: str


def read(store: Path) -> dict[str, Entry]:
    """Return utterance -> entry.

    Raises:
        SoctkError: the index is damaged.
        OSError: it cannot be read.
    """
    try:
        # Not splitlines, which also splits at characters such as U+2028
        header, *lines, end = (store / NAME).read_bytes().decode("utf-8").split("\n")
        if tuple(header.split("\t")) != Entry.COLUMNS or end:
            raise ValueError
        entries = {utt: _parse(store, *fields) for utt, *fields in (line.split("\t") for line in lines)}
        if len(entries) < len(lines):
            raise ValueError
    except (ValueError, TypeError) as error:  # TypeError: too few or too many columns
        raise damaged(store) from error
    return entries


def write(store: Path, entries: Mapping[str, Entry]) -> None:
    """Write the index, sorted by utterance."""
    rows = [(utt, entry.shard.name, entry.frames, entry.recording) for utt, entry in sorted(entries.items())]
    with atomic(store / NAME) as temporary:
        temporary.write_bytes("".join("\t".join(map(str, row)) + "\n" for row in (Entry.COLUMNS, *rows)).encode())


def damaged(store: Path) -> SoctkError:
    """Return the error for an index that is damaged, or does not agree with the shards."""
    return SoctkError("damaged", remedy=f"Remove this file. {shards.EXTRACT_AGAIN}", where=store / NAME)


def _parse(store: Path, shard: str, frames: str, recording: str) -> Entry:
    if not (frames.isdecimal() and int(frames) > 0):
        raise ValueError
    return Entry(_shard(store, shard), int(frames), recording)


@lru_cache(maxsize=1 << 16)  # a store has many utterances in a shard
def _shard(store: Path, name: str) -> Path:
    if not shards.is_name(name):
        raise ValueError
    return store / name
