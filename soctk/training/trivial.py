"""Trivial classifiers: how well a recording's level, duration or text predicts its emotion without the voice.

Each classifier sees one cue and is tested on the folds of the corpus. Like the head linear, it is fitted to all
utterances outside of the fold under test. All settings are fixed in advance, and the same for all corpora. The classes
count equally in training, so UA shows how much a cue tells.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from soctk.corpus import independence
from soctk.corpus.audio import AudioInfo
from soctk.corpus.datadir import DataDir
from soctk.progress import track
from soctk.scoring import cues as names
from soctk.scoring import scales
from soctk.scoring.cues import Cues, CueScore
from soctk.scoring.intervals import Interval
from soctk.scoring.predictions import Predictions

# A classifier of a few cues learns nothing more from more utterances; larger training data are drawn at random.
MOST_TRAINING = 20_000
_KNOTS = 5  # of the spline of each number
_MOST_NGRAMS = 50_000


@dataclass(frozen=True)
class Cue:
    """What a trivial classifier sees.

    Attributes:
        name: such as `duration`.
        values: numbers `(N, F)`, labels `(N, 1)` or texts `(N,)` of the N utterances.
        kind: numbers, labels or text.
    """

    name: str
    values: np.ndarray
    kind: str


def find_obstacle(data: DataDir) -> str:
    """Return why a corpus has no trivial classifiers; empty if it can have them."""
    if len(set(data.emotion.values())) < 2:
        return "they need a corpus with two or more emotions"
    if len(data.folds) < 2 and not data.split:
        return "they need two or more folds"
    return ""


def evaluate(data: DataDir, infos: Mapping[str, AudioInfo]) -> Cues:
    """Test a trivial classifier for each cue of a corpus.

    Numbers (level, duration, ...) are standardised and expanded by cubic B-splines with 5 knots at quantiles, labels
    (utt2X with single words, speaker, sex) are indicators, and texts (utt2X with several words) are TF-IDF values of
    character 1- to 4-grams within words. The classifier is scikit-learn's logistic regression with C = 1 and balanced
    classes.

    Args:
        data: a corpus without an obstacle (`find_obstacle`).
        infos: utterance -> the properties of its recording, with its conditions, for all utterances.
    """
    scores: list[CueScore] = []
    constant: list[str] = []
    for cue in track(list(_list_cues(data, infos)), "trivial classifiers", "cue"):
        if (cue.values == cue.values[0]).all():
            constant.append(cue.name)
        else:
            scores += _score(cue.name, _predict(data, cue))
    return Cues(
        checksum=names.checksum(data),
        scores=scores,
        constant=constant,
        exclusive={f"utt2{name}": _count_exclusive(data, values) for name, values in data.extra.items()},
    )


def _list_cues(data: DataDir, infos: Mapping[str, AudioInfo]) -> Iterator[Cue]:
    sound = pd.DataFrame(
        {
            **{column: getattr(infos[utt].conditions, column) for column in ("level", "peak", "floor")},
            **{column: getattr(infos[utt].conditions, column) for column in ("leading", "trailing", "bandwidth")},
            "seconds": infos[utt].seconds,
            "rate": infos[utt].sample_rate,
        }
        for utt in data.utterances
    )
    columns = {
        names.LEVEL: ["level", "peak"],
        names.FLOOR: ["floor"],
        names.LEVEL_AND_FLOOR: ["level", "peak", "floor"],
        names.DURATION: ["seconds"],
        names.BANDWIDTH: ["bandwidth", "rate"],
        names.ENDS: ["leading", "trailing"],
        names.ALL_OF_SOUND: list(sound),
    }
    for name, chosen in columns.items():
        yield Cue(name, sound[chosen].to_numpy(float), "numbers")
    if data.gender:
        yield _labels(names.SEX, [data.gender.get(data.speaker[utt], "") for utt in data.utterances])
    if independence.find_overlaps(data) and len(data.unknown) < len(data.speaker):
        yield _labels(names.SPEAKER, list(data.speaker.values()))
    for name, values in data.extra.items():
        listed = [values[utt] for utt in data.utterances]
        if any(len(value.split()) > 1 for value in listed):
            yield Cue(f"utt2{name}", np.array(listed, dtype=object), "text")
        else:
            yield _labels(f"utt2{name}", listed)


def _labels(name: str, values: Sequence[str]) -> Cue:
    return Cue(name, np.array(values, dtype=object)[:, None], "labels")


def _predict(data: DataDir, cue: Cue) -> Predictions:
    """Return the answers of the classifier of a cue for all test utterances."""
    utterances = np.array(data.utterances, dtype=object)
    index = {name: number for number, name in enumerate(data.emotions)}
    reference = np.array([index[data.emotion[utt]] for utt in data.utterances])
    folds = np.array([data.fold_of(utt) or 0 for utt in data.utterances])
    tables = []
    for fold in data.folds:
        tested, training = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        if len(training) > MOST_TRAINING:
            training = np.sort(np.random.default_rng(fold).choice(training, MOST_TRAINING, replace=False))
        table = {"fold": fold, "seed": 1, "utt": utterances[tested], "ref": reference[tested]}
        table["hyp"] = _fit_and_predict(cue, training, reference[training], tested)
        tables.append(pd.DataFrame(table))
    joined = pd.concat(tables, ignore_index=True)
    joined["spk"] = joined["utt"].map(data.speaker)
    if len(data.tests) > 1:
        joined["test"] = joined["utt"].map(data.split)
    return Predictions(
        path=data.path or Path(),
        emotions=data.emotions,
        table=joined,
        posteriors=np.eye(len(data.emotions))[joined["hyp"]],
        settings={},
        made_with=[],
        made_from={},
        left_out=[],
        shares=np.empty((len(joined), 0)),
    )


def _fit_and_predict(cue: Cue, training: np.ndarray, reference: np.ndarray, tested: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    if len(np.unique(reference)) < 2:
        return np.full(len(tested), reference[0])
    classifier = LogisticRegression(class_weight="balanced", max_iter=1000)
    model = make_pipeline(*_expansion(cue.kind), classifier)
    return model.fit(cue.values[training], reference).predict(cue.values[tested])


def _expansion(kind: str) -> list[Any]:
    """Return the transformers that make the classifier's inputs of the values of a cue."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import OneHotEncoder, SplineTransformer, StandardScaler

    if kind == "text":
        return [TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), max_features=_MOST_NGRAMS)]
    if kind == "labels":
        return [OneHotEncoder(handle_unknown="ignore")]
    return [StandardScaler(), SplineTransformer(_KNOTS, knots="quantile", extrapolation="constant")]


def _score(name: str, predictions: Predictions) -> Iterator[CueScore]:
    for test, part in predictions.by_test().items():
        (group,) = scales.groups(part)
        counts = part.table["ref"].value_counts()
        yield CueScore(
            cue=name,
            test=test,
            WA=_finite(group.statistics["WA"].interval()),
            UA=_finite(group.statistics["UA"].interval()),
            chance_WA=100 * float(counts.max()) / len(part.table),
            chance_UA=100 / len(counts),
        )


def _finite(interval: Interval) -> tuple[float, float | None, float | None]:
    value, low, high = interval
    return (value, None, None) if np.isnan(low) else (value, float(low), float(high))


def _count_exclusive(data: DataDir, values: Mapping[str, str]) -> tuple[int, int]:
    """Return how many values with two or more utterances occur in one emotion only, and how many such values exist."""
    emotions: dict[str, list[str]] = defaultdict(list)
    for utt, value in values.items():
        emotions[value].append(data.emotion[utt])
    several = [found for found in emotions.values() if len(found) > 1]
    return sum(len(set(found)) == 1 for found in several), len(several)
