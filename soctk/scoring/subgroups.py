"""Scores of subgroups of the test utterances: by fold, speaker, sex, duration, and each utt2X of the data directory.

Gaps are the differences between the groups with the highest and the lowest score.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from soctk.corpus.datadir import DataDir
from soctk.scoring import scales
from soctk.scoring.intervals import FEWEST_SPEAKERS, Interval, Statistic
from soctk.scoring.predictions import Predictions

SEXES = {"f": "female", "m": "male"}
UNKNOWN = "unknown"
DURATION_GROUPS = 4
_AGES = ("under 18", "18 to 29", "30 to 44", "45 to 59", "60 or more")  # years
_AGE_EDGES = (18, 30, 45, 60)
# A gap is between groups with known values of an attribute of the speaker or the recording, if they are few.
_WITHOUT_GAP = ("fold", "speaker", "duration")
_MOST_GROUPS = 12
_GAP_METRICS = ("WA", "UA", "CCC")


@dataclass(frozen=True)
class Subgroup:
    """The scores of the utterances with one value of an attribute, over all folds, averaged over seeds.

    Attributes:
        attribute: fold, speaker, sex, duration, or X of a file utt2X; ages in years are grouped.
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


@dataclass(frozen=True)
class Gap:
    """The difference between the groups with the highest and the lowest score, among those with enough speakers.

    Attributes:
        attribute: the attribute of the groups.
        metric: the key of the score.
        groups: the number of groups that were compared.
        highest, lowest: the values of the attribute with the highest and the lowest score.
        difference: the difference and its 95% interval over the speakers of both groups.
    """

    attribute: str
    metric: str
    groups: int
    highest: str
    lowest: str
    difference: Interval


def subgroups(predictions: Predictions, data: DataDir | None) -> list[Subgroup]:
    """Return the scores by fold and speaker, and, with a data directory, by sex, duration and each utt2X."""
    result = []
    for attribute, codes, values in _list_attributes(predictions, data):
        for value, group in zip(values, scales.groups(predictions, codes, len(values)), strict=True):
            scores = {name: statistic.interval() for name, statistic in group.statistics.items()}
            result.append(Subgroup(attribute, value, group.utterances, group.speakers, scores))
    return result


def gaps(predictions: Predictions, data: DataDir | None) -> list[Gap]:
    """Return the gaps between the groups by sex and by each utt2X that has few values.

    A group needs FEWEST_SPEAKERS speakers. The interval is a jackknife over the speakers of the two groups
    (intervals.Ratios): a speaker in both groups is left out of both at the same time. The groups are chosen by their
    scores, so with more than two of them some gap is expected by chance.
    """
    result = []
    speaker, names = predictions.speakers
    for attribute, codes, values in _list_attributes(predictions, data):
        if attribute in _WITHOUT_GAP or len(values) > _MOST_GROUPS:
            continue
        scores: dict[str, dict[str, Statistic]] = {}
        for code, group in enumerate(scales.groups(predictions, codes, len(values))):
            if values[code] != UNKNOWN and group.speakers >= FEWEST_SPEAKERS:
                rows = np.unique(speaker[codes == code])
                for name, statistic in group.statistics.items():
                    scores.setdefault(name, {})[values[code]] = statistic.among(rows, len(names))
        for name in scales.scale(predictions).columns:
            of_group = {value: s for value, s in scores.get(name, {}).items() if not np.isnan(s.value())}
            if name.partition("_")[0] in _GAP_METRICS and len(of_group) > 1:
                lowest, *_, highest = sorted(of_group, key=lambda value: of_group[value].value())
                difference = of_group[highest].minus(of_group[lowest]).interval()
                result.append(Gap(attribute, name, len(of_group), highest, lowest, difference))
    return result


def _list_attributes(predictions: Predictions, data: DataDir | None) -> Iterator[tuple[str, np.ndarray, list[str]]]:
    """Yield each attribute, the index of its value for each row of `predictions.table`, and its values, sorted."""
    utterance = pd.Index(predictions.utterances["utt"]).get_indexer(pd.Index(predictions.table["utt"]))
    utterances = predictions.utterances.assign(spk=predictions.shown_speakers)
    for attribute, column in _list_columns(utterances, data).items():
        codes, values = pd.factorize(column, sort=True)
        yield attribute, codes[utterance], list(map(str, values))


def _list_columns(utterances: pd.DataFrame, data: DataDir | None) -> dict[str, pd.Series]:
    """Return attribute -> its value for each utterance."""
    columns = {"fold": utterances["fold"], "speaker": utterances["spk"]}
    if data is None:
        return columns
    if data.gender:
        columns["sex"] = utterances["spk"].map(data.gender).map(SEXES).fillna(UNKNOWN)
    columns["duration"] = utterances["utt"].map(_group_by_duration(data))
    extra = {name: utterances["utt"].map(values) for name, values in data.extra.items()}
    return columns | {name: _group_ages(column) if name == "age" else column for name, column in extra.items()}


def _group_ages(ages: pd.Series) -> pd.Series:
    """Return groups of ages in years, such as "2: 18 to 29"; other values are "unknown". Without numbers, all stay."""
    years = pd.to_numeric(ages, errors="coerce")
    if years.isna().all():
        return ages
    groups = np.searchsorted(_AGE_EDGES, years, side="right")
    names = [UNKNOWN if np.isnan(age) else f"{i + 1}: {_AGES[i]}" for i, age in zip(groups, years, strict=True)]
    return pd.Series(names, index=ages.index)


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
