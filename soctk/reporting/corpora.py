"""A summary of each corpus that the experiments of a report were tested on."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from soctk.corpus.content import TRAIN
from soctk.reporting.wording import label
from soctk.scoring.predictions import UNKNOWN
from soctk.scoring.score import ExperimentScores
from soctk.scoring.subgroups import SEXES


@dataclass(frozen=True)
class Corpus:
    """A corpus in words.

    Attributes:
        name: the name of its data directory; None if there is none, and the corpus is described by the predictions.
        experiments: the printed names of the experiments that were tested on it.
        rows: pairs of a property, such as "Utterances", and its value.
    """

    name: str | None
    experiments: list[str]
    rows: list[tuple[str, str]]


def summarise(experiments: Iterable[ExperimentScores]) -> list[Corpus]:
    """Return the corpora of the experiments, in the order of the experiments."""
    groups: dict[object, list[ExperimentScores]] = {}
    for experiment in experiments:
        groups.setdefault(_identity(experiment), []).append(experiment)
    return [_describe(group) for group in groups.values()]


def _identity(experiment: ExperimentScores) -> object:
    """Return a value that is equal for experiments on the same corpus."""
    if experiment.corpus is not None:
        return experiment.corpus
    utterances = experiment.predictions.utterances
    return int(pd.util.hash_pandas_object(utterances, index=False).sum()), experiment.predictions.emotions


def _describe(experiments: Sequence[ExperimentScores]) -> Corpus:
    experiment = experiments[0]
    table, data, emotions = _utterances(experiment), experiment.data, experiment.predictions.emotions
    by_fold = table.groupby("part")
    has_partition = data is not None and bool(data.split)
    known = table[table["spk"] != UNKNOWN]
    per_speaker = f", {_range(known.groupby('spk').size())} per speaker" if len(known) else ""
    rows = [
        ("Utterances", f"{len(table):,}{per_speaker}"),
        ("Speakers", _speakers(experiment, table)),
        *_labels(experiments, table),
        ("Parts", _parts(table)) if has_partition else ("Folds", _folds(table)),
    ]
    missing = [
        f"{part if has_partition else f'fold {part}'}: {', '.join(name for name in emotions if name not in found)}"
        for part, found in by_fold["emotion"].agg(set).items()
        if len(found & set(emotions)) < len(emotions)
    ]
    if missing:
        rows.append(("Classes without test utterances", "; ".join(missing)))
    if data is not None:
        seconds = pd.Series(data.seconds)
        length = f"{seconds.min():.1f} to {seconds.max():.1f} s each, median {seconds.median():.1f} s"
        rows.insert(1, ("Duration", f"{seconds.sum() / 3600:.2f} h; {length}"))
    return Corpus(experiment.corpus.name if experiment.corpus else None, [label(e) for e in experiments], rows)


def _labels(experiments: Sequence[ExperimentScores], table: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Yield rows about the classes, and about each dimension that an experiment predicts."""
    emotions = next((e.predictions.emotions for e in experiments if e.predictions.emotions), ())
    if emotions:
        counts = table["emotion"].value_counts().reindex(emotions, fill_value=0)
        largest = f"{100 * counts.max() / len(table):.1f} if the largest class is always chosen"
        yield "Classes", f"{len(counts)}: {', '.join(f'{name} {count:,}' for name, count in counts.items())}"
        yield "Chance", f"UA {100 / (counts > 0).sum():.1f}; WA {largest}"
    for e in {e.predictions.dimensions: e for e in experiments}.values():
        for name in e.predictions.dimensions:
            labels = e.predictions.utterances[f"ref_{name}"]
            spread = f"{labels.min():g} to {labels.max():g}, mean {labels.mean():.3g}, standard deviation"
            yield name.capitalize(), f"{spread} {labels.std():.3g} (test utterances)"


def _utterances(experiment: ExperimentScores) -> pd.DataFrame:
    """Return a row for each utterance of the corpus, or of the predictions without a data directory.

    The column part has its fold, or its part of the published partition.
    """
    data, predictions = experiment.data, experiment.predictions
    if data is None:
        table = predictions.utterances.assign(spk=predictions.shown_speakers, part=predictions.utterances["fold"])
        emotions = [predictions.emotions[index] for index in table["ref"]] if predictions.emotions else ""
        return table.assign(emotion=emotions)
    rows = [
        (data.split[utt] if data.split else data.fold_of(utt), UNKNOWN if utt in data.unknown else speaker,
         data.emotion.get(utt))
        for utt, speaker in data.speaker.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["part", "spk", "emotion"])


def _folds(table: pd.DataFrame) -> str:
    folds = table.groupby("part")
    utterances, speakers = folds.size(), folds["spk"].nunique()
    return (
        f"{folds.ngroups}, {_range(utterances)} {_noun(utterances.max(), 'utterance')} and "
        f"{_range(speakers)} {_noun(speakers.max(), 'speaker')} each"
    )


def _parts(table: pd.DataFrame) -> str:
    """Return the size of each part of the published partition."""
    sizes = table.groupby("part")["spk"].agg(
        utterances="size", speakers=lambda names: (names.unique() != UNKNOWN).sum()
    )
    return "; ".join(
        f"{part}: {row.utterances:,} {_noun(row.utterances, 'utterance')}"
        + (f" of {row.speakers:,} {_noun(row.speakers, 'speaker')}" if row.speakers else "")
        for part, row in sizes.loc[
            sorted(sizes.index, key=lambda part: (part.startswith("test"), part != TRAIN))
        ].iterrows()
    )


def _speakers(experiment: ExperimentScores, table: pd.DataFrame) -> str:
    speakers = [name for name in table["spk"].unique() if name != UNKNOWN]
    unknown = int((table["spk"] == UNKNOWN).sum())
    text = f"{len(speakers):,}" if speakers else "unknown"
    text += f", and {unknown:,} {_noun(unknown, 'utterance')} of unknown speakers" if speakers and unknown else ""
    if experiment.data is None or not experiment.data.gender:
        return text
    sexes = Counter(SEXES.get(experiment.data.gender.get(name, ""), "of unknown sex") for name in speakers)
    return f"{text} ({', '.join(f'{count:,} {sex}' for sex, count in sexes.most_common())})"


def _range(numbers: pd.Series) -> str:
    """Return the lowest and the highest number, and their median if it differs from both."""
    low, high, median = numbers.min(), numbers.max(), numbers.median()
    if low == high:
        return f"{low:,}"
    return f"{low:,} to {high:,}" + (f" (median {median:g})" if low < median < high else "")


def _noun(count: int, noun: str) -> str:
    """Return the noun, in the plural unless the count is 1; counts of a corpus have commas."""
    return noun if count == 1 else f"{noun}s"
