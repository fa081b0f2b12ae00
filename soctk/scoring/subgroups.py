"""Scores of subgroups of the test utterances: by fold, speaker, sex, duration, and each utt2X of the data directory."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from soctk.corpus.datadir import DataDir
from soctk.scoring import scales
from soctk.scoring.intervals import Interval
from soctk.scoring.predictions import Predictions

SEXES = {"f": "female", "m": "male"}
DURATION_GROUPS = 4


@dataclass(frozen=True)
class Subgroup:
    """The scores of the utterances with one value of an attribute, over all folds, averaged over seeds.

    Attributes:
        attribute: fold, speaker, sex, duration, or X of a file utt2X.
        value: the value of the attribute.
        utterances: the number of utterances with this value.
        speakers: the number of their speakers.
        scores: metric -> value and interval over speakers.
    """

    attribute: str
    value: str
    utterances: int
    speakers: int
    scores: Mapping[str, Interval]


def subgroups(predictions: Predictions, data: DataDir | None) -> list[Subgroup]:
    """Return the scores by fold and speaker, and, with a data directory, by sex, duration and each utt2X."""
    result = []
    utterance = pd.Index(predictions.utterances["utt"]).get_indexer(pd.Index(predictions.table["utt"]))
    utterances = predictions.utterances.assign(spk=predictions.shown_speakers)
    for attribute, column in _list_attributes(utterances, data).items():
        codes, values = pd.factorize(column, sort=True)
        for value, group in zip(values, scales.groups(predictions, codes[utterance], len(values)), strict=True):
            scores = {name: statistic.interval() for name, statistic in group.statistics.items()}
            result.append(Subgroup(attribute, str(value), group.utterances, group.speakers, scores))
    return result


def _list_attributes(utterances: pd.DataFrame, data: DataDir | None) -> dict[str, pd.Series]:
    """Return attribute -> its value for each utterance."""
    columns = {"fold": utterances["fold"], "speaker": utterances["spk"]}
    if data is None:
        return columns
    if data.gender:
        columns["sex"] = utterances["spk"].map(data.gender).map(SEXES).fillna("unknown")
    columns["duration"] = utterances["utt"].map(_group_by_duration(data))
    return columns | {name: utterances["utt"].map(values) for name, values in data.extra.items()}


def _group_by_duration(data: DataDir) -> dict[str, str]:
    """Return utterance -> its quarter of the corpus by duration, such as "2: to 5.50 s"."""
    seconds = pd.Series(data.seconds)
    edges = np.unique(np.quantile(seconds, np.linspace(0, 1, DURATION_GROUPS + 1)[1:-1]))
    # All edges are written in the same width, so that the names of the groups sort like the numbers.
    width = max(len(f"{edge:.2f}") for edge in edges)
    written = [f"{edge:{width}.2f}" for edge in edges]
    names = [f"up to {written[0]} s", *(f"to {edge} s" for edge in written[1:]), f"over {written[-1]} s"]
    groups = np.searchsorted(edges, seconds, side="left")
    return dict(zip(seconds.index, [f"{group + 1}: {names[group]}" for group in groups], strict=True))
