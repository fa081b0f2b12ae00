"""Intervals in simulations (coverage) and in examples calculated by hand."""

import itertools
import math
import runpy

import numpy as np
import pytest
from conftest import ROOT
from scipy.stats import binomtest
from scipy.stats import t as student

from soctk.scoring.intervals import Ratios
from soctk.scoring.statistics import STATISTICS, Counts

simulation = runpy.run_path(str(ROOT / "tests" / "bench" / "interval_coverage.py"))
COMMON_ERRORS, RARE_ERRORS = (0.7, 12), (0.99, 200)


def draw(generator: np.random.Generator, speakers: int, accuracy: float = 0.7) -> Counts:
    """Draw the counts of speakers with the same number of utterances."""
    sizes = simulation["draw_sizes"](generator, speakers, 0)
    return simulation["draw_system"](generator, sizes, accuracy, 12)


def wa(right: np.ndarray, utterances: float = 60) -> Ratios:
    """Return the statistic WA of speakers with the same number of utterances each."""
    zeros = np.zeros((len(right), 1))
    references = np.hstack([np.full((len(right), 1), utterances), zeros])
    correct = np.hstack([right[:, None], zeros])
    answers = np.hstack([right[:, None], utterances - right[:, None]])
    return STATISTICS["WA"](Counts(references, correct[None], answers[None], zeros[:, 0]))


@pytest.mark.slow
@pytest.mark.parametrize("is_difference", [False, True])
@pytest.mark.parametrize(("speakers", "sigma"), [(6, 0), (12, 0.7), (12, 1.5), (24, 0), (24, 1.5), (91, 1.5)])
def test_95_percent_of_the_intervals_contain_the_true_value(speakers, sigma, is_difference):
    for metric in ("WA", "UA", "F1"):
        covered = simulation["cover"](metric, speakers, sigma, COMMON_ERRORS, is_difference, 600)
        assert 0.93 <= covered <= 0.985, (metric, covered)


@pytest.mark.slow
@pytest.mark.parametrize("is_difference", [False, True])
@pytest.mark.parametrize(("speakers", "sigma"), [(6, 0), (24, 0), (24, 1.5), (91, 0.7)])
def test_intervals_of_systems_with_rare_errors_contain_the_true_value(speakers, sigma, is_difference):
    covered = simulation["cover"]("UA", speakers, sigma, RARE_ERRORS, is_difference, 600)
    assert covered >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize(("speakers", "sigma"), [(24, 0), (24, 1.5)])
def test_the_intervals_of_the_log_loss_contain_the_true_value(speakers, sigma):
    generator = np.random.default_rng(9)
    covered = []
    for _ in range(600):
        utterances = generator.poisson(32 * generator.lognormal(-(sigma**2) / 2, sigma, speakers)) + 1
        means = generator.lognormal(-0.18, 0.6, speakers)  # the mean loss of each speaker; over all speakers it is 1
        losses = np.array([generator.gamma(0.5, 2 * mean, n).sum() for mean, n in zip(means, utterances, strict=True)])
        ones = np.ones((speakers, 1))
        interval = STATISTICS["log_loss"](Counts(utterances[:, None], ones[None], ones[None], losses)).interval()
        covered.append(interval.low <= 1 <= interval.high)
    assert np.mean(covered) >= 0.92


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


def test_the_standard_error_equals_a_jackknife_over_speakers():
    counts = simulation["draw_system"](
        np.random.default_rng(3), simulation["draw_sizes"](np.random.default_rng(2), 9, 1.5) + 1, 0.7, 12
    )
    for metric in ("WA", "UA", "F1"):
        statistic = STATISTICS[metric]
        without = []
        for left_out in range(9):
            kept = np.arange(9) != left_out
            part = Counts(
                counts.references[kept], counts.right[:, kept], counts.answers[:, kept], counts.log_loss[kept]
            )
            without.append(statistic(part).value())
        # Efron & Stein 1981, with the distances from the value over all speakers
        expected = math.sqrt(8 / 9 * sum((value - statistic(counts).value()) ** 2 for value in without))
        assert statistic(counts).standard_error() == pytest.approx(expected)


def test_the_effective_number_of_speakers_equals_a_hand_worked_one():
    # Shares 1/2, 1/4, 1/4: 1 / (1/4 + 1/16 + 1/16) = 8/3 effective speakers.
    ratios = Ratios(np.zeros((3, 1)), np.array([[20.0], [10], [10]]), np.array([100.0]), np.array([2.5]))
    assert ratios.quantile() == pytest.approx(student.ppf(0.975, 5 / 3))
    assert wa(np.arange(40, 52)).quantile() == pytest.approx(student.ppf(0.975, 11))


def test_the_interval_of_a_difference_equals_a_hand_worked_one():
    # Six speakers gain 0, 1, 2, 3, 4 and 5 of 60 answers: 15 of 360. Jackknife: deviations from 2.5, squared, sum 17.5;
    # each is divided by 300, the answers of the five others. One answer is 1 / 360.
    difference = wa(np.arange(40, 46)).minus(wa(np.full(6, 40))).interval()
    error = 100 * math.sqrt(5 / 6 * 17.5) / 300
    margin = 2.5706 * math.sqrt(error**2 + 2 * (100 / 360) ** 2)
    value = 100 * 15 / 360
    assert difference == pytest.approx((value, value - margin, value + margin), abs=1e-3)


def test_a_system_does_not_differ_from_itself():
    counts = draw(np.random.default_rng(0), 20)
    statistic = STATISTICS["WA"](counts)
    margin = student.ppf(0.975, 19) * math.sqrt(2) * 100 / 640  # as if two of 640 answers differed
    assert statistic.minus(statistic).interval() == pytest.approx((0, -margin, margin))


def test_intervals_of_independent_answers_are_wilsons():
    # If speakers vary less than chance allows, the answers count as independent.
    interval = wa(np.full(10_000, 1), utterances=4).interval()
    expected = binomtest(10_000, 40_000).proportion_ci(method="wilson")
    assert interval == pytest.approx((25, 100 * expected.low, 100 * expected.high), abs=1e-3)


def test_the_interval_is_wilsons_for_as_many_answers_as_give_the_standard_error():
    ratios = wa(np.array([30, 40, 50, 20, 60, 45]))
    value, low, high = ratios.interval()
    share, error, quantile = value / 100, ratios.standard_error() / 100, student.ppf(0.975, 5)
    answers = share * (1 - share) / error**2
    for bound in (low / 100, high / 100):  # the bounds are `quantile` standard errors from the share
        assert abs(bound - share) == pytest.approx(quantile * math.sqrt(bound * (1 - bound) / answers))


def test_without_errors_the_interval_is_that_of_independent_answers():
    references = np.tile([3.0, 5, 2, 1], (6, 1))
    faultless = Counts(references, references[None], references[None], np.zeros(6))
    squared = student.ppf(0.975, 5) ** 2
    assert STATISTICS["WA"](faultless).interval() == pytest.approx((100, 100 * 66 / (66 + squared), 100))
    # UA: 4^2 / (1/18 + 1/30 + 1/12 + 1/6) = 47.2 independent answers have the same standard error.
    answers = 16 / (1 / 18 + 1 / 30 + 1 / 12 + 1 / 6)
    quantile = STATISTICS["UA"](faultless).quantile()
    expected = (100, 100 * answers / (answers + quantile**2), 100)
    assert STATISTICS["UA"](faultless).interval() == pytest.approx(expected)
    assert STATISTICS["F1"](faultless).interval() == pytest.approx(expected)


def test_intervals_depend_neither_on_the_order_of_speakers_nor_on_the_repetition_of_seeds():
    counts = draw(np.random.default_rng(4), 24)
    backwards = Counts(counts.references[::-1], counts.right[:, ::-1], counts.answers[:, ::-1], counts.log_loss[::-1])
    repeated = Counts(
        counts.references, np.tile(counts.right, (3, 1, 1)), np.tile(counts.answers, (3, 1, 1)), counts.log_loss
    )
    for metric in ("WA", "UA", "F1"):
        interval = STATISTICS[metric](counts).interval()
        assert STATISTICS[metric](backwards).interval() == pytest.approx(interval)
        assert STATISTICS[metric](repeated).interval() == pytest.approx(interval)


def test_the_interval_of_the_log_loss_equals_a_hand_worked_one():
    losses = np.array([1.0, 2, 3, 4, 5, 6])
    ones = np.ones((6, 1))
    interval = STATISTICS["log_loss"](Counts(2 * ones, ones[None], ones[None], losses)).interval()
    # deviations from 3.5, squared, sum 17.5; each is divided by 10, the utterances of the five others
    factor = math.exp(student.ppf(0.975, 5) * math.sqrt(5 / 6 * 17.5) / 10 / (21 / 12))
    assert interval == pytest.approx((21 / 12, 21 / 12 / factor, 21 / 12 * factor))
    interval = STATISTICS["log_loss"](Counts(2 * ones, ones[None], ones[None], 0 * losses)).interval()
    assert interval == pytest.approx((0, 0, student.ppf(0.975, 5) * math.sqrt(2) / 12))


def test_no_bound_of_the_log_loss_exceeds_that_of_the_smallest_posterior():
    # One speaker has nearly all utterances, and the others' losses are 10,000 times as large: exp(q e / v) overflows.
    references = np.array([[20_000.0], [1], [1], [1], [1]])
    losses = np.array([20.0, 13, 14, 13, 14])
    interval = STATISTICS["log_loss"](Counts(references, references[None], references[None], losses)).interval()
    assert interval == pytest.approx((74 / 20_004, 0, -math.log(5e-7)))
    small = Counts(np.ones((5, 1)), np.ones((1, 5, 1)), np.ones((1, 5, 1)), np.array([0.4, 0, 0, 0, 0]))
    assert STATISTICS["log_loss"](small).interval().high <= -math.log(5e-7)


def test_too_few_speakers_give_no_interval():
    interval = STATISTICS["WA"](draw(np.random.default_rng(0), 4)).interval()
    assert np.isnan([interval.low, interval.high]).all()


def test_intervals_stay_between_0_and_100():
    for seed, accuracy in itertools.product(range(20), (0.04, 0.96)):
        counts = draw(np.random.default_rng(seed), 6, accuracy)
        for metric in ("WA", "UA", "F1"):
            interval = STATISTICS[metric](counts).interval()
            assert 0 <= interval.low <= interval.value <= interval.high <= 100
