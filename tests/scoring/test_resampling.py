"""Intervals and tests in simulations (coverage, false positives) and in examples calculated by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2
from sklearn.metrics import accuracy_score, f1_score, recall_score

from soctk.scoring.resampling import NEVER_SEEN, SEEN_ONCE, STATISTICS, Counts, Ratios, holm, permutation_test

CLASSES = 4


def draw(generator: np.random.Generator, speakers: int, mean: float = 0.7, uneven: bool = False) -> Counts:
    """Draw the counts of speakers whose recall differs by class; errors are spread evenly over the other classes."""
    speaker_rate = generator.beta(12 * mean, 12 * (1 - mean), size=(speakers, 1))
    rates = np.clip(speaker_rate + generator.normal(0, 0.08, size=(speakers, CLASSES)), 0, 1)
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


@pytest.mark.slow
@pytest.mark.parametrize("speakers", [10, 24])
@pytest.mark.parametrize("uneven", [False, True])
def test_95_percent_of_the_intervals_contain_the_true_value(speakers, uneven):
    generator = np.random.default_rng(0)
    population = draw(generator, 100_000, uneven=uneven)
    truth = {metric: STATISTICS[metric](population).value() for metric in ("WA", "UA", "F1")}
    covered = {metric: [] for metric in truth}
    for _ in range(600):
        sample = draw(generator, speakers, uneven=uneven)
        for metric, value in truth.items():
            interval = STATISTICS[metric](sample).interval()
            covered[metric].append(interval.low <= value <= interval.high)
    assert all(0.92 <= np.mean(hits) <= 0.98 for hits in covered.values()), {m: np.mean(h) for m, h in covered.items()}


@pytest.mark.slow
def test_95_percent_of_the_intervals_of_equal_systems_contain_zero():
    generator = np.random.default_rng(1)
    covered = []
    for _ in range(600):
        one, other = draw(generator, 20), draw(generator, 20)
        interval = STATISTICS["UA"](one).minus(STATISTICS["UA"](other)).interval()
        covered.append(interval.low <= 0 <= interval.high)
    assert 0.92 <= np.mean(covered) <= 0.98


def draw_nearly_faultless(generator: np.random.Generator, speakers: int, utterances: int, errors: float) -> Counts:
    """Draw the counts of speakers with few errors: the error rates of speakers vary around `errors`."""
    rates = errors * generator.gamma(2, 1 / 2, size=(speakers, 1))
    wrong = generator.binomial(utterances // CLASSES, rates, size=(speakers, CLASSES))
    confusion = np.zeros((speakers, CLASSES, CLASSES))
    for k in range(CLASSES):
        elsewhere = (np.arange(CLASSES) != k) / (CLASSES - 1)
        confusion[:, k] = generator.multinomial(wrong[:, k], elsewhere)
        confusion[:, k, k] += utterances // CLASSES - wrong[:, k]
    return Counts(confusion, np.zeros(speakers))


@pytest.mark.slow
@pytest.mark.parametrize("errors", [0.01, 0.002])
@pytest.mark.parametrize(("speakers", "utterances"), [(6, 48), (10, 48), (20, 100), (24, 60)])
def test_intervals_of_systems_with_rare_errors_contain_the_true_value(speakers, utterances, errors):
    generator = np.random.default_rng(5)
    covered = {metric: [] for metric in ("WA", "UA", "F1")}
    for _ in range(600):
        sample = draw_nearly_faultless(generator, speakers, utterances, errors)
        for metric, hits in covered.items():
            interval = STATISTICS[metric](sample).interval()
            hits.append(interval.low <= 100 * (1 - errors) <= interval.high)
    assert all(np.mean(hits) >= 0.92 for hits in covered.values()), {m: np.mean(h) for m, h in covered.items()}


def wa(right: np.ndarray, utterances: float = 60) -> Ratios:
    """Return the statistic WA of speakers with the same number of utterances each."""
    confusion = np.zeros((len(right), 2, 2))
    confusion[:, 0, 0] = right
    confusion[:, 0, 1] = utterances - right
    return STATISTICS["WA"](Counts(confusion, np.zeros(len(right))))


@pytest.mark.slow
@pytest.mark.parametrize(("gains", "losses"), [(0.001, 0.001), (0.003, 0.003), (0.003, 0.001), (0.02, 0.01)])
@pytest.mark.parametrize("speakers", [10, 24])
def test_intervals_of_systems_with_few_different_answers_contain_the_true_difference(speakers, gains, losses):
    generator = np.random.default_rng(6)
    covered = []
    for _ in range(600):
        won, lost = (generator.binomial(60, share * generator.gamma(2, 1 / 2, speakers)) for share in (gains, losses))
        interval = wa(40 + won - lost).minus(wa(np.full(speakers, 40))).interval()
        covered.append(interval.low <= 100 * (gains - losses) <= interval.high)
    assert np.mean(covered) >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["WA", "UA", "F1"])
@pytest.mark.parametrize("speakers", [8, 20])
def test_the_permutation_test_rejects_5_percent_of_true_null_hypotheses(metric, speakers):
    generator = np.random.default_rng(2)
    p = [
        permutation_test(STATISTICS[metric](draw(generator, speakers)), STATISTICS[metric](draw(generator, speakers)))
        for _ in range(1000)
    ]
    assert 0.03 <= np.mean(np.array(p) <= 0.05) <= 0.07


def test_the_permutation_test_detects_a_true_difference():
    generator = np.random.default_rng(3)
    pairs = [(draw(generator, 20, mean=0.75), draw(generator, 20, mean=0.55)) for _ in range(50)]
    detected = [permutation_test(STATISTICS["UA"](one), STATISTICS["UA"](other)) <= 0.05 for one, other in pairs]
    assert np.mean(detected) > 0.9


def test_the_permutation_test_equals_a_hand_worked_one():
    # For 4 speakers with 10 utterances each the first system has 1, 2, 3 and 0 more correct answers: 6 in total.
    # 4 of the 16 exchanges give 6 or -6, since exchanging the last speaker changes nothing.
    sizes = np.full((4, 1), 10.0)
    one = Ratios(np.array([[6.0], [7], [8], [5]]), sizes, np.ones(1))
    other = Ratios(np.full((4, 1), 5.0), sizes, np.ones(1))
    assert permutation_test(one, other) == permutation_test(other, one) == 4 / 16


def test_the_interval_with_errors_of_one_speaker_equals_a_hand_worked_one():
    # One speaker has 54 of 60 answers correct, 23 speakers all: the standard error is 100 x 0.1 / 24 = 10 / 24. A third
    # of the resamples lack this speaker, so the lower bound is that of an event observed once; the upper bound is
    # clipped at 100.
    value = 100 - 10 / 24
    interval = wa(np.array([54] + 23 * [60])).interval()
    assert interval == pytest.approx((value, value - 4.5716 * 10 / 24, 100))


def test_the_bounds_of_a_rare_event_equal_those_of_a_poisson_mean():
    assert pytest.approx(chi2.ppf(0.975, 2) / 2, abs=1e-4) == NEVER_SEEN
    assert pytest.approx(chi2.ppf(0.975, 4) / 2 - 1, abs=1e-4) == SEEN_ONCE


@pytest.mark.parametrize("better", [1, 2, 3, 4])
def test_interval_and_permutation_test_agree_if_few_speakers_differ(better):
    one, other = wa(np.full(24, 40)), wa(40 + (np.arange(24) < better))
    assert permutation_test(one, other) > 0.1
    difference, low, high = other.minus(one).interval()
    assert low < 0 < difference < high
    assert one.minus(other).interval() == pytest.approx((-difference, -high, -low))


def test_a_system_does_not_differ_from_itself():
    counts = draw(np.random.default_rng(0), 20)
    assert permutation_test(STATISTICS["F1"](counts), STATISTICS["F1"](counts)) == 1
    difference = STATISTICS["WA"](counts).minus(STATISTICS["WA"](counts)).interval()
    # None of 640 answers differs: the interval is the bound of an event that was never observed, 3.6889.
    assert difference == pytest.approx((0, -368.89 / 640, 368.89 / 640))


def test_holm_equals_hand_worked_values():
    # 4 x 0.005, 3 x 0.01, 2 x 0.03, and 1 x 0.04, which is raised to the value before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([0.7, 0.6]) == pytest.approx([1, 1])


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=40))
def test_the_statistics_equal_scikit_learns(rows):
    reference, hypothesis, speaker = map(np.array, zip(*rows, strict=True))
    confusion = np.zeros((5, 3, 3))
    np.add.at(confusion, (speaker, reference, hypothesis), 1)
    counts = Counts(confusion, np.zeros(5))
    options = {"labels": np.unique(reference), "average": "macro", "zero_division": 0}
    assert STATISTICS["WA"](counts).value() == pytest.approx(100 * accuracy_score(reference, hypothesis))
    assert STATISTICS["UA"](counts).value() == pytest.approx(100 * recall_score(reference, hypothesis, **options))
    assert STATISTICS["F1"](counts).value() == pytest.approx(100 * f1_score(reference, hypothesis, **options))
    assert all(np.isfinite(STATISTICS[metric](counts).interval()).all() for metric in STATISTICS)


def test_the_interval_of_a_mean_equals_a_plain_bootstrap_t_interval():
    generator = np.random.default_rng(7)
    right = generator.integers(20, 55, size=24)
    shares = 100 * right / 60
    samples = generator.choice(shares, size=(50_000, 24))
    error, errors = shares.std(ddof=1) / np.sqrt(24), samples.std(axis=1, ddof=1) / np.sqrt(24)
    low, high = np.quantile((samples.mean(1) - shares.mean()) / errors, [0.025, 0.975])
    expected = (shares.mean(), shares.mean() - error * high, shares.mean() - error * low)
    assert wa(right).interval() == pytest.approx(expected, abs=0.05 * error * (high - low))


def test_intervals_depend_little_on_the_order_of_speakers_and_not_on_the_scale_of_counts():
    counts = draw(np.random.default_rng(4), 24)
    reversed_ = counts.of_speakers(np.arange(24)[::-1])
    one, other = STATISTICS["UA"](counts).interval(), STATISTICS["UA"](reversed_).interval()
    assert other.value == pytest.approx(one.value)
    assert other == pytest.approx(one, abs=0.5)
    assert STATISTICS["UA"](Counts(3 * counts.confusion, counts.log_loss)).interval() == pytest.approx(one)


def test_too_few_speakers_give_no_interval():
    counts = draw(np.random.default_rng(0), 4)
    interval = STATISTICS["WA"](counts).interval()
    assert np.isnan([interval.low, interval.high]).all()


def test_without_errors_the_interval_is_the_bound_of_an_unseen_event():
    faultless = Counts(np.tile(np.diag([3.0, 5, 2, 1]), (6, 1, 1)), np.zeros(6))
    # 3.69 errors in 6 x 11 utterances; for UA all of them in the smallest class, with 6 utterances.
    assert STATISTICS["WA"](faultless).interval() == pytest.approx((100, 100 - 368.89 / 66, 100))
    assert STATISTICS["UA"](faultless).interval() == pytest.approx((100, 100 - 368.89 / 6 / 4, 100))
    assert STATISTICS["F1"](faultless).interval() == pytest.approx((100, 100 - 368.89 / 6 / 4, 100))


def test_intervals_stay_between_0_and_100():
    for seed, mean in itertools.product(range(20), (0.04, 0.96)):
        counts = draw(np.random.default_rng(seed), 6, mean)
        for metric in ("WA", "UA", "F1"):
            interval = STATISTICS[metric](counts).interval()
            assert 0 <= interval.low <= interval.high <= 100
