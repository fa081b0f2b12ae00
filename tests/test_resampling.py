"""The intervals by their coverage, the tests by their false alarms, in simulation; and both by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, recall_score

from soctk.resampling import STATISTICS, Counts, Ratios, holm, permutation_test

CLASSES = 4


def draw(generator: np.random.Generator, speakers: int, mean: float = 0.7, uneven: bool = False) -> Counts:
    """Draw speakers that differ in how well they are recognised, and from class to class; errors fall anywhere."""
    of_speaker = generator.beta(12 * mean, 12 * (1 - mean), size=(speakers, 1))
    rates = np.clip(of_speaker + generator.normal(0, 0.08, size=(speakers, CLASSES)), 0, 1)
    if uneven:
        size = 8 * generator.lognormal(0, 0.5, size=(speakers, 1)) * np.linspace(0.4, 1.6, CLASSES)
        utterances = generator.poisson(size)
    else:
        utterances = np.full((speakers, CLASSES), 8)
    right = generator.binomial(utterances, rates)
    confusion = np.zeros((speakers, CLASSES, CLASSES))
    for k in range(CLASSES):
        elsewhere = (np.arange(CLASSES) != k) / (CLASSES - 1)
        confusion[:, k] = generator.multinomial(utterances[:, k] - right[:, k], elsewhere)
        confusion[:, k, k] += right[:, k]
    return Counts(confusion, np.zeros(speakers))


@pytest.mark.parametrize("speakers", [10, 24])
@pytest.mark.parametrize("uneven", [False, True])
def test_the_intervals_hold_the_truth_19_times_in_20(speakers, uneven):
    generator = np.random.default_rng(0)
    population = draw(generator, 100_000, uneven=uneven)
    truth = {metric: STATISTICS[metric](population).value() for metric in ("WA", "UA", "F1")}
    held = {metric: [] for metric in truth}
    for _ in range(600):
        sample = draw(generator, speakers, uneven=uneven)
        for metric, value in truth.items():
            interval = STATISTICS[metric](sample).interval()
            held[metric].append(interval.low <= value <= interval.high)
    assert all(0.92 <= np.mean(hits) <= 0.98 for hits in held.values()), {m: np.mean(h) for m, h in held.items()}


def test_intervals_of_a_difference_hold_zero_19_times_in_20_where_there_is_none():
    generator = np.random.default_rng(1)
    held = []
    for _ in range(600):
        one, other = draw(generator, 20), draw(generator, 20)
        interval = STATISTICS["UA"](one).minus(STATISTICS["UA"](other)).interval()
        held.append(interval.low <= 0 <= interval.high)
    assert 0.92 <= np.mean(held) <= 0.98


@pytest.mark.parametrize("metric", ["WA", "UA", "F1"])
@pytest.mark.parametrize("speakers", [8, 20])
def test_the_permutation_test_raises_5_false_alarms_in_100(metric, speakers):
    generator = np.random.default_rng(2)
    p = [
        permutation_test(STATISTICS[metric](draw(generator, speakers)), STATISTICS[metric](draw(generator, speakers)))
        for _ in range(1000)
    ]
    assert 0.03 <= np.mean(np.array(p) <= 0.05) <= 0.07


def test_the_permutation_test_finds_a_difference_that_is_there():
    generator = np.random.default_rng(3)
    pairs = [(draw(generator, 20, mean=0.75), draw(generator, 20, mean=0.55)) for _ in range(50)]
    found = [permutation_test(STATISTICS["UA"](one), STATISTICS["UA"](other)) <= 0.05 for one, other in pairs]
    assert np.mean(found) > 0.9


def test_the_permutation_test_by_hand():
    # Of 4 speakers with 10 utterances each the first system has 1, 2, 3 and 0 more right.
    # Of the 16 exchanges the sum is 6 or -6 in 4: the last speaker's does not matter.
    sizes = np.full((4, 1), 10.0)
    one = Ratios(np.array([[6.0], [7], [8], [5]]), sizes, np.ones(1))
    other = Ratios(np.full((4, 1), 5.0), sizes, np.ones(1))
    assert permutation_test(one, other) == permutation_test(other, one) == 4 / 16


def test_a_system_does_not_differ_from_itself():
    counts = draw(np.random.default_rng(0), 20)
    assert permutation_test(STATISTICS["F1"](counts), STATISTICS["F1"](counts)) == 1
    difference = STATISTICS["F1"](counts).minus(STATISTICS["F1"](counts)).interval()
    assert difference == pytest.approx((0, 0, 0))


def test_holm_by_hand():
    # 4 x 0.005, 3 x 0.01, 2 x 0.03, 1 x 0.04 raised to what stands before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([0.7, 0.6]) == pytest.approx([1, 1])


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=40))
def test_the_statistics_are_scikit_learns(rows):
    reference, hypothesis, speaker = map(np.array, zip(*rows, strict=True))
    confusion = np.zeros((5, 3, 3))
    np.add.at(confusion, (speaker, reference, hypothesis), 1)
    counts = Counts(confusion, np.zeros(5))
    options = {"labels": np.unique(reference), "average": "macro", "zero_division": 0}
    assert STATISTICS["WA"](counts).value() == pytest.approx(100 * accuracy_score(reference, hypothesis))
    assert STATISTICS["UA"](counts).value() == pytest.approx(100 * recall_score(reference, hypothesis, **options))
    assert STATISTICS["F1"](counts).value() == pytest.approx(100 * f1_score(reference, hypothesis, **options))
    assert all(np.isfinite(STATISTICS[metric](counts).interval()).all() for metric in STATISTICS)


def test_the_standard_error_is_that_of_a_mean_where_the_statistic_is_one():
    right = np.array([[3.0], [5], [8], [9], [4], [7]])
    ratios = Ratios(right, np.full((6, 1), 10.0), np.ones(1))
    _, (error,) = ratios._values_and_errors(np.ones((1, 6)))
    assert error == pytest.approx((right / 10).std(ddof=1) / np.sqrt(6))


def test_the_order_of_the_speakers_hardly_matters_and_their_scale_not_at_all():
    counts = draw(np.random.default_rng(4), 24)
    reversed_ = counts.of_speakers(np.arange(24)[::-1])
    one, other = STATISTICS["UA"](counts).interval(), STATISTICS["UA"](reversed_).interval()
    assert other.value == pytest.approx(one.value)
    assert other == pytest.approx(one, abs=0.5)
    assert STATISTICS["UA"](Counts(3 * counts.confusion, counts.log_loss)).interval() == pytest.approx(one)


def test_of_few_speakers_there_is_no_interval_and_of_faultless_ones_no_width():
    counts = draw(np.random.default_rng(0), 4)
    interval = STATISTICS["WA"](counts).interval()
    assert np.isnan([interval.low, interval.high]).all()
    faultless = Counts(np.tile(np.diag([3.0, 5, 2, 1]), (6, 1, 1)), np.zeros(6))
    assert STATISTICS["UA"](faultless).interval() == (100, 100, 100)


def test_intervals_stay_within_what_a_score_can_be():
    for seed, mean in itertools.product(range(20), (0.04, 0.96)):
        counts = draw(np.random.default_rng(seed), 6, mean)
        for metric in ("WA", "UA", "F1"):
            interval = STATISTICS[metric](counts).interval()
            assert 0 <= interval.low <= interval.high <= 100
