"""Scores of parts of the test set: by fold, speaker, sex, duration, and whatever else is known of the utterances."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from soctk.corpus.datadir import DataDir
from soctk.scoring.predictions import Predictions
from soctk.scoring.resampling import STATISTICS, Interval, count

SEXES = {"f": "female", "m": "male"}
DURATION_PARTS = 4


@dataclass(frozen=True)
class Slice:
    """The scores of the utterances that have one value of an attribute, all folds together, averaged over seeds.

    Attributes:
        attribute: fold, speaker, sex, duration, or X of a file utt2X.
        value: the value that they have.
        utterances: how many there are.
        speakers: of how many speakers.
        scores: by metric, with the interval over speakers.
    """

    attribute: str
    value: str
    utterances: int
    speakers: int
    scores: Mapping[str, Interval]


def slices(predictions: Predictions, data: DataDir | None) -> list[Slice]:
    """Return the scores by fold and speaker, and by what the corpus knows of its speakers and utterances."""
    found = []
    utterance = pd.Index(predictions.utterances["utt"]).get_indexer(predictions.table["utt"])
    for attribute, column in _attributes(predictions.utterances, data).items():
        codes, values = pd.factorize(column, sort=True)
        for value, counts in zip(values, count(predictions, codes[utterance], len(values)), strict=True):
            there = counts.confusion.sum((1, 2)) > 0
            counts = counts.of_speakers(there)
            scores = {metric: statistic(counts).interval() for metric, statistic in STATISTICS.items()}
            utterances = round(counts.confusion.sum())
            found.append(Slice(attribute, str(value), utterances, int(there.sum()), scores))
    return found


def _attributes(utterances: pd.DataFrame, data: DataDir | None) -> dict[str, pd.Series]:
    """Return attribute -> its value for each utterance."""
    columns = {"fold": utterances["fold"], "speaker": utterances["spk"]}
    if data is None:
        return columns
    if data.gender:
        columns["sex"] = utterances["spk"].map(data.gender).map(SEXES)
    columns["duration"] = utterances["utt"].map(_duration_parts(data))
    return columns | {name: utterances["utt"].map(values) for name, values in data.extra.items()}


def _duration_parts(data: DataDir) -> dict[str, str]:
    """Return utterance -> the quarter of the corpus that it is in when ordered by duration."""
    seconds = pd.Series(data.seconds)
    edges = np.unique(np.quantile(seconds, np.linspace(0, 1, DURATION_PARTS + 1)[1:-1]))
    width = max(len(f"{edge:.2f}") for edge in edges)  # the same for all, so that they sort as numbers do
    written = [f"{edge:{width}.2f}" for edge in edges]
    names = [f"up to {written[0]} s", *(f"to {edge} s" for edge in written[1:]), f"over {written[-1]} s"]
    parts = np.searchsorted(edges, seconds, side="left")
    return dict(zip(seconds.index, [f"{part + 1}: {names[part]}" for part in parts], strict=True))
