"""The recordings of a corpus as inputs of an encoder, with the interface of a feature store."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from soctk import progress
from soctk.corpus.datadir import DataDir
from soctk.features import extract, waveforms
from soctk.features.extract import Extraction
from soctk.features.interface import OneEncoder
from soctk.features.store import recordings_checksum
from soctk.features.upstream.huggingface import HuggingFaceUpstream
from soctk.features.utterances import check_utterances, list_utterances
from soctk.features.waveforms import Utterance
from soctk.schema import Normalisation
from soctk.training.inputs import Features, half_of_memory

# Encodes rows of a corpus: (rows, hidden states) -> the hidden states `(L, T, D)` of each.
Encode = Callable[[Sequence[int], Sequence[int]], list[torch.Tensor]]


@dataclass
class Waveforms:
    """The waveforms of all rows of a corpus: its utterances, then their copies at the first speed, and so on.

    Waveforms are kept in memory while they fit into half of it; others are read at each use.

    Attributes:
        utterances: the utterances and copies.
        sample_rate: in Hz.
        channel: 1, 2, ..., or mix.
        normalise: `level` to scale them to one level, or `none`.
    """

    utterances: Sequence[Utterance]
    sample_rate: int
    channel: str
    normalise: Normalisation
    _kept: dict[int, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def read(self, threads: int) -> None:
        """Read all waveforms, if they fit into memory."""
        if 4 * self.sample_rate * sum(each.seconds for each in self.utterances) > half_of_memory():
            return
        loaded = waveforms.load(self.utterances, self.sample_rate, self.channel, self.normalise, threads)
        rows = progress.track(loaded, "read recordings", "utt", len(self.utterances))
        self._kept = dict(enumerate(rows))

    def __getitem__(self, row: int) -> np.ndarray:
        """Return the waveform `(samples,)` of a row, float32."""
        if row in self._kept:
            return self._kept[row]
        return next(waveforms.load([self.utterances[row]], self.sample_rate, self.channel, self.normalise, 1))


class Recordings(OneEncoder):
    """The interface soctk.features.interface.Store for frames that an encoder computes when they are read.

    Args:
        data: the corpus.
        extraction: the settings of the encoder.
        encoder: the pre-trained encoder.
        encode: computes the frames; None if none will be read. All hidden states of `extraction` are computed together
            and kept.

    Attributes:
        settings: the settings that determine the frames, as in the store.json of a feature store.
        utterances: the utterances of the corpus, then their copies.
    """

    path: Path | None = None

    def __init__(
        self, data: DataDir, extraction: Extraction, encoder: HuggingFaceUpstream, encode: Encode | None = None
    ):
        self.settings: dict[str, Any] = extract.collect_settings(extraction, encoder, data.channel)
        found = list_utterances(data, extraction.copies)
        check_utterances(found, encoder)
        rank = {utt: i for i, utt in enumerate(data.utterances)}  # with segments, `found` is in the order of the sound
        count = len(rank)
        self.utterances = [
            utterance
            for start in range(0, len(found), count)
            for utterance in sorted(found[start : start + count], key=lambda each: rank[each.name])
        ]
        self._where, self._encode = str(data.path), encode
        self._row = {utterance.id: row for row, utterance in enumerate(self.utterances)}
        self._frames: dict[str, torch.Tensor] = {}
        self._digests = {utterance.id: utterance.digest for utterance in found}

    def encoded_by(self, encode: Encode, layers: Sequence[int]) -> "Recordings":
        """Return these recordings, with the frames of some hidden states that `encode` computes."""
        new = Recordings.__new__(Recordings)
        settings = {**self.settings, "layers": list(layers)}
        new.__dict__.update({**self.__dict__, "settings": settings, "_encode": encode, "_frames": {}})
        return new

    @property
    def where(self) -> str:
        """The data directory."""
        return self._where

    @property
    def recordings(self) -> dict[str, str]:
        """Utterance or copy -> digest of its recording."""
        return self._digests

    def checksum(self) -> str:
        """See soctk.features.store.FeatureStore.checksum."""
        return recordings_checksum(self._digests)

    def lengths(self, utterances: Sequence[str]) -> list[int]:
        """Return the number of frames T of each utterance."""
        self._compute(utterances)
        return [self._frames[utt].shape[1] for utt in utterances]

    def load(self, utterances: Sequence[str], layers: Sequence[int] | None = None) -> torch.Tensor:
        """See Store.load."""
        self._compute(utterances)
        wanted = [self.layers.index(layer) for layer in (self.layers if layers is None else layers)]
        return torch.cat([self._frames[utt][wanted].transpose(0, 1) for utt in utterances])

    def _compute(self, utterances: Sequence[str]) -> None:
        assert self._encode is not None
        missing = [utt for utt in utterances if utt not in self._frames]
        missing.sort(key=lambda utt: self.utterances[self._row[utt]].seconds)
        batches = [missing[start : start + _BATCH] for start in range(0, len(missing), _BATCH)]
        for batch in progress.track(batches, "encode", "batch") if batches else ():
            states = self._encode([self._row[utt] for utt in batch], self.layers)
            self._frames |= {utt: state.cpu() for utt, state in zip(batch, states, strict=True)}


_BATCH = 16  # utterances to encode at a time


class EncodedFeatures(Features):
    """The features of recordings that an encoder will encode."""

    has_one_frame = False  # encoders of waveforms give many frames; the exact numbers are not known before
