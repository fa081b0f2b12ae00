"""The hidden states and pooling layers among which each fold chooses by its inner cross-validation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from soctk.features.interface import Store
from soctk.schema import Config
from soctk.training.inputs import Features


@dataclass(frozen=True)
class Candidate:
    """Some of the hidden states in a feature store, and some of the pooling layers in the settings.

    Attributes:
        layers: the numbers of the hidden states.
        poolings: the names of the pooling layers.
    """

    layers: tuple[int, ...]
    poolings: tuple[str, ...]

    @property
    def keys(self) -> list[tuple[int, str]]:
        """The keys of its blocks of descriptors (soctk.training.inputs.Features.blocks)."""
        return [(layer, name) for layer in self.layers for name in self.poolings]

    def record(self) -> dict[str, Any]:
        """Return the keys `layers` and `pooling` of a record in train.jsonl."""
        return {"layers": list(self.layers), "pooling": "+".join(self.poolings)}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Candidate":
        """Return the candidate of a record in train.jsonl."""
        return cls(tuple(record["layers"]), tuple(record["pooling"].split("+")))

    def settings(self, config: Config) -> Config:
        """Return the settings of an experiment in which this candidate is the only one."""
        frames = config.frames.model_copy(update={"layers": list(self.layers)})
        pooling = {name: config.pooling[name] for name in self.poolings}
        return config.model_copy(update={"frames": frames, "pooling": pooling, "pooling_choice": "all"})


def list_candidates(config: Config, features: Features) -> list[Candidate]:
    """Return what a fold may choose, each combination of hidden states and pooling layers once.

    With `--layer auto`, a candidate has the hidden states of the middle, all hidden states, or the last one. The middle
    is a third to five sixths of the encoder's layers, such as 2 to 5 of 6, or 4 to 10 of 12. A candidate has the same
    part of each encoder. If an encoder has no middle, such as fbank with its one hidden state, its last hidden state
    takes the place of the middle. With `--pooling auto`, a candidate has one of the pooling layers in the settings, or
    all of them. Without a choice, there is one candidate.

    Args:
        config: the settings.
        features: the features of the corpus; candidates contain their hidden states only.
    """
    poolings = [tuple(config.pooling)]
    if config.pooling_choice == "auto":
        poolings += [(name,) for name in config.pooling]
    layers = tuple(features.layers(config))
    groups = [layers]
    if config.frames.layers == "auto":
        groups = [_middle(features.store), layers, tuple(features.store.last_layers)]
    candidates = [Candidate(group, names) for group in groups if group for names in poolings]
    return list(dict.fromkeys(candidates))


def _middle(store: Store) -> tuple[int, ...]:
    """Return the middle of each encoder, or its last hidden state if it has none; nothing if no encoder has any."""
    parts = [[layer for layer in store.layers if store.select([layer])[0] is part] for part in store.parts]
    middles = [[layer for layer in part if 1 / 3 <= store.depth(layer) <= 5 / 6] for part in parts]
    if not any(middles):
        return ()
    return tuple(layer for part, middle in zip(parts, middles, strict=True) for layer in middle or part[-1:])
