"""Feature stores of several encoders for the same recordings, side by side as one Store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

from soctk.errors import SoctkError, plural
from soctk.features.interface import Store
from soctk.features.settings import count_states
from soctk.features.store import FeatureStore

# Settings that must be equal, because they determine the waveforms that are encoded.
_SHARED = ("speeds", "augmentations", "augmentation_seed", "normalise", "channel")


@dataclass(frozen=True)
class SideBySide:
    """Several feature stores as one Store (soctk.features.interface).

    The hidden states of all encoders are numbered in the order of the stores: hidden state n of an encoder has the
    number n plus the count of the hidden states of all encoders before it. For Whisper base (0 to 6) and Whisper tiny
    (0 to 4), hidden state 2 of the second is number 9.

    Attributes:
        stores: the feature stores.
    """

    stores: Sequence[FeatureStore]

    @property
    def path(self) -> None:
        """The stores have no common directory."""
        return None

    @property
    def where(self) -> str:
        """The directories of the stores, for error messages."""
        return ", ".join(str(store.path) for store in self.stores)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the first store; the settings of the waveforms (_SHARED) are equal in all stores."""
        return self.stores[0].settings

    @property
    def recordings(self) -> dict[str, str]:
        """Utterance -> digest of its recording."""
        return self.stores[0].recordings

    def checksum(self) -> str:
        """Return the checksums of all stores."""
        return " ".join(store.checksum() for store in self.stores)

    @property
    def parts(self) -> Sequence[FeatureStore]:
        """The stores."""
        return self.stores

    @property
    def layers(self) -> list[int]:
        """The numbers of the stored hidden states."""
        return self.joint([store.layers for store in self.stores])

    @property
    def last_layers(self) -> list[int]:
        """The numbers of the last stored hidden state of each store."""
        return self.joint([store.last_layers for store in self.stores])

    def depth(self, layer: int) -> float:
        """Return the depth of a hidden state in its encoder, from 0 (the input of layer 1) to 1."""
        store, (own,) = self.select([layer])
        return store.depth(own)

    def select(self, layers: Sequence[int]) -> tuple[FeatureStore, list[int]]:
        """Return the store of some hidden states, and their own numbers in it.

        Raises:
            SoctkError: there is no such hidden state, or they are of several stores.
        """
        starts = self._starts()
        found = {sum(start <= layer for start in starts) - 1 for layer in layers}
        if len(found) != 1:
            raise SoctkError(
                f"the hidden states {', '.join(map(str, layers))} are of several encoders",
                remedy="Read the hidden states of one encoder at a time.",
                where=self.where,
            )
        (number,) = found
        return self.stores[number].select([layer - starts[number] for layer in layers])

    def lengths(self, utterances: Sequence[str]) -> list[int]:
        """Return the number of frames T of each utterance in the first store."""
        return self.stores[0].lengths(utterances)

    def load(self, utterances: Sequence[str], layers: Sequence[int] | None = None) -> torch.Tensor:
        """Read the frames `(sum of T, L, D)` for hidden states of one store."""
        store, own = self.select(self.layers if layers is None else layers)
        return store.load(utterances, own)

    def _starts(self) -> list[int]:
        """Return the number of hidden state 0 of each store."""
        return [0, *accumulate(count_states(store.settings) for store in self.stores)][:-1]

    def joint(self, layers: Sequence[Sequence[int]]) -> list[int]:
        """Return the numbers of hidden states that are given by their own numbers in each store."""
        return [start + layer for start, own in zip(self._starts(), layers, strict=True) for layer in own]


def open_stores(first: Path, *others: Path) -> FeatureStore | SideBySide:
    """Open one feature store, or several side by side.

    Raises:
        SoctkError: a store cannot be opened; a store is given twice; the stores have other utterances, other recordings
            or other copies.
    """
    stores = [FeatureStore.open(path) for path in (first, *others)]
    for number, store in enumerate(stores):
        if store.path.resolve() in [other.path.resolve() for other in stores[:number]]:
            raise SoctkError("this store is given twice", remedy="Name each store once.", where=store.path)
        _check_same_recordings(stores[0], store)
    return SideBySide(stores) if others else stores[0]


def numbers(store: Store, layers: str | tuple[Any, ...] | None) -> str | list[int] | None:
    """Return the numbers in a store of hidden states that are listed for each encoder.

    Args:
        store: the features of one encoder, or of several.
        layers: the hidden states of each encoder, by its own numbers, a list for each; or one list for all encoders. A
            word, or None, is returned as it is.

    Raises:
        SoctkError: there are neither one list nor as many lists as encoders, or a store lacks a hidden state.
    """
    if layers is None or isinstance(layers, str):
        return layers
    is_nested = isinstance(layers[0], Sequence)
    lists: list[Sequence[int]] = list(layers) if is_nested else [layers] * len(store.parts)
    if len(lists) != len(store.parts):
        raise SoctkError(
            f"hidden states are listed for {plural(len(lists), 'encoder')}, but there {_are(len(store.parts))}",
            remedy='Give one list for all encoders, or one for each, such as "2 3 4 5, 2 3".',
            where="--layer",
        )
    if not isinstance(store, SideBySide):
        return list(lists[0])
    for part, own in zip(store.parts, lists, strict=True):
        if missing := [layer for layer in own if layer not in part.layers]:
            raise SoctkError(
                f"the store has no hidden state {missing[0]}, only {', '.join(map(str, part.layers))}",
                remedy='Give a list for each store, separated by commas, such as "2 3 4 5, 2 3".',
                where=part.path,
            )
    return store.joint(lists)


def _are(count: int) -> str:
    return "is one" if count == 1 else f"are {count}"


def _check_same_recordings(first: FeatureStore, other: FeatureStore) -> None:
    """Raise SoctkError if two stores have other utterances, other recordings or other copies."""
    for name in _SHARED:
        one, two = first.settings.get(name), other.settings.get(name)
        if one != two:
            raise SoctkError(
                f"the setting {name} is {two} here, and {one} in {first.path}",
                remedy="Extract both with the same options.",
                where=other.path,
            )
    one, two = first.recordings, other.recordings
    missing = sorted(one.keys() ^ two.keys())
    if missing:
        lacking, complete = (other, first) if missing[0] in one else (first, other)
        raise SoctkError(
            f"{plural(len(missing), 'utterance is', 'utterances are')} in one store only, such as {missing[0]}, which "
            f"is in {complete.path}",
            remedy="Extract the features of the same data directory into both (stage 1).",
            where=lacking.path,
        )
    if changed := [utt for utt, digest in one.items() if two[utt] != digest]:
        raise SoctkError(
            f"{plural(len(changed), 'utterance has another recording', 'utterances have other recordings')} than in "
            f"{first.path}, such as {changed[0]}",
            remedy="Extract the features of the same data directory into both (stage 1).",
            where=other.path,
        )
