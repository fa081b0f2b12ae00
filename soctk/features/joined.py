"""Several feature stores as one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar

import torch

from soctk.features.store import FeatureStore


@dataclass(frozen=True)
class JoinedStore:
    """The features of several corpora as one store, in which an utterance is NAME:UTTERANCE."""

    stores: Mapping[str, FeatureStore]

    path: ClassVar[None] = None

    @property
    def where(self) -> str:
        """The directories of the stores, for messages."""
        return ", ".join(str(store.path) for store in self.stores.values())

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that the stores were made with."""
        return next(iter(self.stores.values())).settings

    def checksum(self) -> str:
        """Return the checksums of the recordings in the stores."""
        return " ".join(store.checksum() for store in self.stores.values())

    @property
    def layers(self) -> list[int]:
        """The numbers of the hidden states in the stores."""
        return self.settings["layers"]

    def lengths(self, utterances: Sequence[str]) -> list[int]:
        """Return T of each utterance, in frames."""
        return [length for store, own in self._runs(utterances) for length in store.lengths(own)]

    def load(self, utterances: Sequence[str], layers: Sequence[int] | None = None) -> torch.Tensor:
        """Read the frames `(sum of T, L, D)` of utterances, one after the other in the order given."""
        return torch.cat([store.load(own, layers) for store, own in self._runs(utterances)])

    def _runs(self, utterances: Sequence[str]) -> Iterator[tuple[FeatureStore, list[str]]]:
        """Yield runs of utterances of one store, by their ids there."""
        for name, pairs in groupby((utt.split(":", 1) for utt in utterances), key=lambda pair: pair[0]):
            yield self.stores[name], [utt for _, utt in pairs]
