"""The scores over all utterances and those of speakers and subgroups, compared with scikit-learn for each seed."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, log_loss, recall_score

from soctk.scoring.predictions import Predictions
from soctk.scoring.statistics import STATISTICS, count

EMOTIONS = ("a", "b", "c")


def predictions_of(references: list[int], answers: list[list[int]], speakers: list[int]) -> Predictions:
    """Return predictions with a list of answers for each seed; the posterior of an answer is 0.8."""
    utterances = [f"s{speaker}-{i}" for i, speaker in enumerate(speakers)]
    tables = [
        pd.DataFrame(
            {
                "fold": 1,
                "seed": seed,
                "utt": utterances,
                "spk": [f"s{i}" for i in speakers],
                "ref": references,
                "hyp": hyp,
            }
        )
        for seed, hyp in enumerate(answers)
    ]
    posteriors = np.where(np.eye(len(EMOTIONS))[np.concatenate(answers)] == 1, 0.8, 0.1)
    return Predictions(None, EMOTIONS, pd.concat(tables, ignore_index=True), posteriors, {}, [], {}, [])


@st.composite
def scored(draw):
    """Draw predictions of one to three seeds for up to 40 utterances of five speakers."""
    utterances = draw(st.integers(1, 40))
    classes = st.lists(st.integers(0, len(EMOTIONS) - 1), min_size=utterances, max_size=utterances)
    speakers = draw(st.lists(st.integers(0, 4), min_size=utterances, max_size=utterances))
    return predictions_of(draw(classes), draw(st.lists(classes, min_size=1, max_size=3)), speakers)


def by_scikit_learn(table: pd.DataFrame) -> dict[str, float]:
    """Return the mean over seeds of each seed's scores."""
    options = {"labels": np.unique(table["ref"]), "average": "macro", "zero_division": 0}
    functions = {
        "WA": accuracy_score,
        "UA": lambda reference, hypothesis: recall_score(reference, hypothesis, **options),
        "F1": lambda reference, hypothesis: f1_score(reference, hypothesis, **options),
    }
    return {
        metric: 100 * np.mean([function(rows["ref"], rows["hyp"]) for _, rows in table.groupby("seed")])
        for metric, function in functions.items()
    }


@given(scored())
def test_the_scores_over_all_utterances_are_the_means_of_each_seeds_scores(predictions):
    (counts,) = count(predictions)
    for metric, expected in by_scikit_learn(predictions.table).items():
        ratios = STATISTICS[metric](counts)
        assert ratios.value() == pytest.approx(expected)
        interval = ratios.interval()
        assert interval.value == pytest.approx(expected)
        assert np.isnan(interval.low) or 0 <= interval.low <= interval.value <= interval.high <= 100
    expected = log_loss(predictions.table["ref"], predictions.posteriors, labels=range(len(EMOTIONS)))
    assert STATISTICS["log_loss"](counts).value() == pytest.approx(expected)


@given(scored(), st.data())
def test_the_scores_of_subgroups_are_the_scores_of_their_utterances(predictions, data):
    utterances = len(predictions.utterances)
    values = data.draw(st.lists(st.integers(0, 3), min_size=utterances, max_size=utterances))
    value_of = dict(zip(predictions.utterances["utt"], values, strict=True))
    codes = predictions.table["utt"].map(value_of).to_numpy()
    counted = list(count(predictions, codes, 4))
    assert len(counted) == 4
    for value, counts in enumerate(counted):
        rows = predictions.table[codes == value]
        assert len(counts.references) == rows["spk"].nunique()
        if len(rows):
            measured = {metric: STATISTICS[metric](counts).value() for metric in ("WA", "UA", "F1")}
            assert measured == pytest.approx(by_scikit_learn(rows))


def test_the_memory_of_scores_by_speaker_does_not_grow_with_the_square_of_the_speakers():
    # A table of speakers x speakers x classes x classes would take 288 MB for 2,000 speakers.
    speakers = list(range(2_000))
    predictions = predictions_of([i % 3 for i in speakers], [[i % 2 for i in speakers]], speakers)
    codes, names = predictions.speakers
    tracemalloc.start()
    counted = list(count(predictions, codes, len(names)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(counted) == len(speakers)
    assert sum(counts.references.sum() for counts in counted) == len(speakers)
    assert peak < 20e6
