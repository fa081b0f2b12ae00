"""Significance tests in simulations (false positives) and in examples calculated by hand."""

import tracemalloc

import numpy as np
import pytest
from test_intervals import draw, wa

from soctk.scoring.intervals import Ratios
from soctk.scoring.significance import holm, mcnemar, permutation_tests
from soctk.scoring.statistics import STATISTICS, Counts


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["WA", "UA", "F1"])
@pytest.mark.parametrize("speakers", [8, 20])
def test_the_permutation_test_rejects_5_percent_of_true_null_hypotheses(metric, speakers):
    generator = np.random.default_rng(2)
    statistic = STATISTICS[metric]
    p = permutation_tests(
        [(statistic(draw(generator, speakers)), statistic(draw(generator, speakers))) for _ in range(1000)]
    )
    assert 0.03 <= np.mean(np.array(p) <= 0.05) <= 0.07


def test_the_permutation_test_detects_a_true_difference():
    generator = np.random.default_rng(3)
    statistic = STATISTICS["UA"]
    pairs = [(statistic(draw(generator, 20, 0.75)), statistic(draw(generator, 20, 0.55))) for _ in range(50)]
    assert np.mean(np.array(permutation_tests(pairs)) <= 0.05) > 0.9


def test_the_permutation_test_equals_a_hand_worked_one():
    # For 4 speakers with 10 utterances each the first system has 1, 2, 3 and 0 more correct answers: 6 in total.
    # 4 of the 16 exchanges give 6 or -6, since exchanging the last speaker changes nothing.
    sizes = np.full((4, 1), 10.0)
    one = Ratios(np.array([[6.0], [7], [8], [5]]), sizes, np.ones(1), np.ones(1))
    other = Ratios(np.full((4, 1), 5.0), sizes, np.ones(1), np.ones(1))
    assert permutation_tests([(one, other), (other, one)]) == [4 / 16, 4 / 16]


def test_a_system_does_not_differ_from_itself():
    statistic = STATISTICS["F1"](draw(np.random.default_rng(0), 20))
    assert permutation_tests([(statistic, statistic)]) == [1]


def seeds_of(*systems: Counts) -> Counts:
    """Return the counts of one experiment whose seeds are these systems."""
    right, answers = (np.concatenate([getattr(system, part) for system in systems]) for part in ("right", "answers"))
    return Counts(systems[0].references, right, answers, systems[0].log_loss)


@pytest.mark.parametrize("metric", ["WA", "UA", "F1"])
def test_seeds_that_are_repeated_change_no_p_value(metric):
    generator = np.random.default_rng(8)
    one, two, three = (draw(generator, 9) for _ in range(3))
    statistic = STATISTICS[metric]
    p = permutation_tests(
        [
            (statistic(seeds_of(one)), statistic(seeds_of(two))),
            (statistic(seeds_of(one, one)), statistic(seeds_of(two, two, two))),
            (statistic(seeds_of(one, one, one)), statistic(seeds_of(two))),
            (statistic(seeds_of(one, three)), statistic(seeds_of(two))),
        ]
    )
    assert p[0] == p[1] == p[2] != p[3]


def test_the_f1_of_several_seeds_is_exchanged_seed_by_seed():
    # All exchanges of 3 speakers, by hand: F1 of each seed, after whole speakers are exchanged.
    generator = np.random.default_rng(11)
    one, other = (seeds_of(draw(generator, 3), draw(generator, 3)) for _ in range(2))

    def macro_f1(right, answers):
        f1 = 2 * right.sum(1) / (one.references.sum(0) + answers.sum(1))  # (seeds, classes)
        return 100 * f1.mean()

    differences = []
    for signs in np.ndindex(2, 2, 2):
        swap = np.array(signs, dtype=bool)[None, :, None]
        first, second = (
            macro_f1(*(np.where(swap, getattr(b, part), getattr(a, part)) for part in ("right", "answers")))
            for a, b in ((one, other), (other, one))
        )
        differences.append(abs(first - second))
    expected = np.mean(np.array(differences) >= differences[0] - 1e-9)
    assert permutation_tests([(STATISTICS["F1"](one), STATISTICS["F1"](other))]) == [expected]


def test_the_memory_of_the_permutation_test_does_not_grow_with_speakers_times_exchanges():
    # 10,000 exchanges of 4,000 speakers in one array of float64 would take 320 MB.
    counts = draw(np.random.default_rng(0), 4000)
    other = draw(np.random.default_rng(1), 4000)
    tracemalloc.start()
    (p,) = permutation_tests([(STATISTICS["WA"](counts), STATISTICS["WA"](other))])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0 < p <= 1
    assert peak < 100e6


def test_mcnemar_rejects_true_null_hypotheses_in_at_most_5_percent():
    generator = np.random.default_rng(0)
    systems = generator.random((500, 2, 200)) < 0.7  # two independent systems with 70% accuracy
    rejections = [mcnemar(one, other) <= 0.05 for one, other in systems]
    assert 0.01 < np.mean(rejections) <= 0.05


def test_holm_equals_hand_worked_values():
    # 4 x 0.005, 3 x 0.01, 2 x 0.03, and 1 x 0.04, which is raised to the value before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([0.7, 0.6]) == pytest.approx([1, 1])


@pytest.mark.parametrize("better", [1, 2, 3, 4, 5, 6, 8])
def test_interval_and_permutation_test_agree_if_few_speakers_differ(better):
    one, other = wa(np.full(24, 40)), wa(40 + (np.arange(24) < better))
    (p,) = permutation_tests([(one, other)])
    difference, low, high = other.minus(one).interval()
    assert low < difference < high
    assert (low < 0) == (p > 0.05)
    assert one.minus(other).interval() == pytest.approx((-difference, -high, -low))
