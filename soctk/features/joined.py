"""A store that reads the frames of several feature stores."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch

from soctk.features.interface import OneEncoder
from soctk.features.store import FeatureStore


@dataclass(frozen=True)
class JoinedStore(OneEncoder):
    """The feature stores of several corpora as one Store, with utterance ids CORPUS:UTTERANCE.

    Attributes:
        stores: corpus -> its feature store. All stores have the same settings.
    """

    stores: Mapping[str, FeatureStore]

    @property
    def path(self) -> None:
        """None: the joined store has no directory of its own."""

    @property
    def where(self) -> str:
        """The directories of the stores, for error messages."""
        return ", ".join(str(store.path) for store in self.stores.values())

    @property
    def settings(self) -> Mapping[str, Any]:  # type: ignore[override]  # nothing assigns settings
        """The settings of the stores."""
        return next(iter(self.stores.values())).settings

    @property
    def recordings(self) -> dict[str, str]:
        """Utterance -> digest of its recording."""
        return {
            f"{name}:{utt}": digest for name, store in self.stores.items() for utt, digest in store.recordings.items()
        }

    def checksum(self) -> str:
        """Return the checksums of all stores."""
        return " ".join(store.checksum() for store in self.stores.values())

    def lengths(self, utterances: Sequence[str]) -> list[int]:
        """Return the number of frames T of each utterance."""
        return [length for store, own in self._split_by_store(utterances) for length in store.lengths(own)]

    def load(self, utterances: Sequence[str], layers: Sequence[int] | None = None) -> torch.Tensor:
        """Read the frames `(sum of T, L, D)` of the utterances, concatenated in the given order."""
        return torch.cat([store.load(own, layers) for store, own in self._split_by_store(utterances)])

    def _split_by_store(self, utterances: Sequence[str]) -> Iterator[tuple[FeatureStore, list[str]]]:
        """Divide the utterances where the store changes; yield each store and the ids of its utterances in it."""
        for name, pairs in groupby((utt.split(":", 1) for utt in utterances), key=lambda pair: pair[0]):
            yield self.stores[name], [utt for _, utt in pairs]
