"""The batches of models that are trained together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soctk.training.batches import Strata, batches, cut, orders


def order(strata: Strata, seed: int, epoch: int) -> np.ndarray:
    return orders(strata, seed, [epoch])[0]


def of_folds(numbers: np.ndarray) -> Strata:
    """Strata of which each is left out by one model; with a single stratum, one model trains on all rows."""
    names = np.unique(numbers)
    return Strata(numbers, np.stack([numbers != name for name in names], 1) | (len(names) == 1))


@pytest.mark.parametrize(("count", "sizes"), [(16, [8, 8]), (17, [8, 9]), (18, [8, 8, 2]), (1, [1]), (5, [5])])
def test_a_last_batch_of_one_joins_the_batch_before_it(count, sizes):
    cuts = cut(count, 8)
    assert [end - start for start, end in cuts] == sizes
    assert [start for start, _ in cuts] == list(np.cumsum([0, *sizes[:-1]]))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 2**32), st.integers(1, 100))
def test_an_order_has_each_row_once_and_spreads_each_stratum_evenly(strata, seed, epoch):
    strata = np.array(strata)
    rows = order(of_folds(strata), seed, epoch)
    assert sorted(rows.tolist()) == list(range(len(strata)))
    for stratum in set(strata.tolist()):
        share = (strata == stratum).mean()
        among_the_first = np.cumsum(strata[rows] == stratum)
        # Between two rows of a stratum there is, up to the rows of the others at the same place, the same distance.
        assert np.abs(among_the_first - share * np.arange(1, len(rows) + 1)).max() <= len(set(strata.tolist()))


def test_each_run_of_as_many_rows_as_strata_has_one_of_each_if_they_are_equal():
    strata = np.repeat(np.arange(6), 40)
    rows = order(of_folds(strata), seed=3, epoch=2)
    for start in range(0, 240, 6):
        assert sorted(strata[rows[start : start + 6]].tolist()) == list(range(6))


def test_seed_and_epoch_determine_the_order():
    strata = np.repeat(np.arange(3), 20)
    orders = {key: order(of_folds(strata), *key).tolist() for key in ((1, 1), (1, 2), (2, 1), (2, 2))}
    assert len(set(map(tuple, orders.values()))) == 4
    assert order(of_folds(strata), 1, 2).tolist() == orders[1, 2]


def test_rows_of_a_stratum_are_in_random_order():
    strata = np.repeat(np.arange(2), 50)
    firsts = np.array([order(of_folds(strata), seed=0, epoch=epoch)[:10] for epoch in range(1, 401)])
    counts = np.bincount(firsts.flatten(), minlength=100)
    # Each row is among the first ten of 100 in a tenth of the epochs: 40 times, with a deviation of 6.
    assert 15 < counts.min() < counts.max() < 70


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(2, 9), st.integers(0, 2**32))
def test_the_batches_of_each_model_are_its_own_rows_cut_in_their_order(counts, size, seed):
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(50)[:count] for count in counts]
    seen: list[list[np.ndarray]] = [[] for _ in counts]
    for batch in batches(orders, size):
        assert list(batch.models) == sorted(set(batch.models))
        for model, rows in zip(batch.models, batch.rows, strict=True):
            assert batch.step == len(seen[model])
            assert batch.start == sum(map(len, seen[model]))
            assert len(rows) > 1 or counts[model] == 1
            seen[model].append(rows)
    for own, parts in zip(orders, seen, strict=True):
        assert np.array_equal(np.concatenate(parts), own)
        assert [len(part) for part in parts] == [end - start for start, end in cut(len(own), size)]


def test_models_of_equal_folds_meet_the_same_rows_at_the_same_step():
    """Six folds of 40 rows; the model of fold k trains on four of them: 32 of the 48 rows of a step are its batch."""
    strata = np.repeat(np.arange(6), 40)
    rows = order(of_folds(strata), seed=1, epoch=1)
    orders = [rows[~np.isin(strata[rows], [fold, (fold + 1) % 6])] for fold in range(6)]
    steps = list(batches(orders, 32))
    assert len(steps) == 5
    for batch in steps:
        assert batch.rows.shape == (6, 32)
        assert len(np.unique(batch.rows)) == 48


def drawn(seed: int) -> Strata:
    """Six folds of 40 rows; each model validates on a random fifth of the rows of the other folds."""
    generator = np.random.default_rng(seed)
    numbers = np.repeat(np.arange(6), 40)
    fitted = np.zeros((240, 6), dtype=bool)
    for fold in range(6):
        fitted[generator.choice(np.flatnonzero(numbers != fold), 160, replace=False), fold] = True
    return Strata(numbers, fitted)


@given(st.integers(0, 2**32))
def test_rows_that_no_model_trains_on_are_left_out_and_all_others_occur_once(seed):
    strata = drawn(seed)
    strata.fitted[:7] = False
    assert sorted(order(strata, 1, 1).tolist()) == np.flatnonzero(strata.fitted.any(1)).tolist()


def test_models_with_drawn_validation_rows_meet_almost_the_same_rows_at_the_same_step():
    """Without the choice among candidates, 62 rows serve a step on average, and up to 73."""
    sizes = []
    for seed in range(10):
        strata = drawn(seed)
        rows = order(strata, seed, 1)
        sizes += [len(np.unique(batch.rows)) for batch in batches([rows[own[rows]] for own in strata.fitted.T], 32)]
    assert np.mean(sizes) < 52
    assert max(sizes) < 60


def test_rows_with_drawn_validation_rows_are_in_random_order():
    strata = drawn(0)
    places = np.array([np.argsort(order(strata, 0, epoch)) for epoch in range(1, 201)])
    # Rows that few models share come a little later than others. Without the choice, the deviation is 67 / sqrt(200).
    assert np.abs(places.mean(0) - 115).max() < 60


@pytest.mark.parametrize("strata", [of_folds(np.repeat(np.arange(6), 40)), drawn(1)], ids=["equal", "drawn"])
def test_an_order_does_not_depend_on_the_epochs_that_are_made_with_it(strata):
    together = orders(strata, 1, range(1, 8))
    for epoch in (1, 4, 7):
        assert np.array_equal(together[epoch - 1], order(strata, 1, epoch))
