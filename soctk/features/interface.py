"""The interface of feature stores, and the methods about several encoders for a store of one encoder."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import torch

from soctk.errors import SoctkError
from soctk.features.settings import count_states


class Store(Protocol):
    """The interface through which training reads frames.

    It is a FeatureStore (soctk.features.store), a JoinedStore of several corpora (soctk.features.joined), or the stores
    of several encoders SideBySide (soctk.features.side_by_side).
    """

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
    def last_layers(self) -> list[int]:
        """The number of the last stored hidden state, of each encoder."""

    @property
    def parts(self) -> "Sequence[Store]":
        """The stores of the encoders: this store, or several side by side."""

    def depth(self, layer: int) -> float:
        """Return the depth of a hidden state in its encoder, from 0 (the input of layer 1) to 1."""

    def select(self, layers: Sequence[int]) -> "tuple[Store, list[int]]":
        """Return the store of some hidden states, and their own numbers in it.

        Raises:
            SoctkError: a hidden state is not in the store, or they are of several encoders.
        """

    @property
    def recordings(self) -> dict[str, str]:
        """Utterance -> digest of its recording; copies at other speeds are included."""

    def checksum(self) -> str:
        """Return a checksum of the ids and digests of the recordings."""

    def lengths(self, utterances: Sequence[str]) -> list[int]:
        """Return the number of frames T of each utterance."""

    def load(self, utterances: Sequence[str], layers: Sequence[int] | None = None) -> torch.Tensor:
        """Return the frames `(sum of T, L, D)` of the utterances, concatenated in the given order."""


class OneEncoder(ABC):
    """The methods of Store about several encoders, for a store of one encoder.

    Attributes:
        settings: the settings that determine the frames.
    """

    settings: Mapping[str, Any]

    @property
    @abstractmethod
    def where(self) -> str:
        """See Store.where."""

    @property
    def layers(self) -> list[int]:
        """The numbers of the stored hidden states."""
        return self.settings["layers"]

    @property
    def last_layers(self) -> list[int]:
        """The number of the last stored hidden state."""
        return self.layers[-1:]

    @property
    def parts(self) -> list[Self]:
        """This store."""
        return [self]

    def depth(self, layer: int) -> float:
        """See Store.depth."""
        return layer / max(1, count_states(self.settings) - 1)

    def select(self, layers: Sequence[int]) -> tuple[Self, list[int]]:
        """Return this store and the hidden states.

        Raises:
            SoctkError: a hidden state is not in the store.
        """
        unknown = [layer for layer in layers if layer not in self.layers]
        if unknown:
            raise SoctkError(
                f"the store has no hidden state {unknown[0]}, only {', '.join(map(str, self.layers))}",
                remedy="Use one of these, or extract others into another store (soctk-extract --layer).",
                where=self.where,
            )
        return self, list(layers)
