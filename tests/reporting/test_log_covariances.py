"""Tests of the comparison of log-covariances against the analysis of variance of SciPy, and by simulation."""

import numpy as np
import pytest
import torch
from scipy import stats

from soctk.pooling import spd
from soctk.reporting import log_covariances


def tangent(matrices: np.ndarray) -> np.ndarray:
    return spd.tangent_vector(torch.from_numpy(matrices)).numpy()


def symmetric(generator, shape: tuple[int, ...]) -> np.ndarray:
    matrices = generator.normal(size=shape)
    return matrices + matrices.swapaxes(-1, -2)


def epsilon_squared(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the adjusted share of variance from SciPy's F statistic of the columns."""
    names = np.unique(groups)
    statistic = stats.f_oneway(*(values[groups == name] for name in names)).statistic
    between, within = len(names) - 1, len(values) - len(names)
    return (statistic - 1) * between / (statistic * between + within)


def test_shares_are_those_of_the_analysis_of_variance_in_the_eigenvectors_of_the_mean():
    generator = np.random.default_rng(0)
    emotions, speakers = np.arange(60) % 3, np.arange(60) % 5
    matrices = symmetric(generator, (60, 4, 4)) + symmetric(generator, (3, 4, 4))[emotions]
    found = log_covariances.compare(tangent(matrices), emotions, speakers, 3)
    basis = np.linalg.eigh(matrices.mean(0))[1][:, ::-1]
    entries = (basis.T @ matrices @ basis).reshape(60, 16)
    assert found.directions == 4
    assert found.by_emotion.ravel() == pytest.approx(epsilon_squared(entries, emotions))
    assert found.by_speaker.ravel() == pytest.approx(epsilon_squared(entries, speakers))


def test_the_share_of_the_whole_variance_does_not_depend_on_the_directions():
    generator = np.random.default_rng(1)
    emotions = np.arange(40) % 2
    matrices = symmetric(generator, (40, 30, 30)) + 0.5 * symmetric(generator, (2, 30, 30))[emotions]
    found = log_covariances.compare(tangent(matrices), emotions, emotions, 2)
    flat = matrices.reshape(40, -1)
    within = sum(flat[emotions == e].var(axis=0, ddof=1).sum() * 19 for e in (0, 1)) / 38
    assert found.total_by_emotion == pytest.approx(1 - within / flat.var(axis=0, ddof=1).sum())
    assert found.directions == log_covariances.DIRECTIONS
    assert found.by_emotion.shape == (24, 24)


def test_groups_that_do_not_differ_have_a_share_of_0_on_average():
    generator = np.random.default_rng(2)
    found = log_covariances.compare(tangent(symmetric(generator, (90, 20, 20))), np.arange(90) % 9, np.arange(90), 9)
    assert found.total_by_emotion == pytest.approx(0, abs=0.01)
    assert np.isnan(found.total_by_speaker)  # each utterance has a speaker of its own


def test_distances_are_in_standard_deviations_and_have_no_part_from_finite_samples():
    generator = np.random.default_rng(3)
    emotions = np.repeat([0, 1, 2], (10, 20, 15))
    offset = symmetric(generator, (20, 20))
    matrices = symmetric(generator, (45, 20, 20)) + 2.0 * (emotions == 2)[:, None, None] * offset
    found = log_covariances.compare(tangent(matrices), emotions, emotions, 4)
    # A symmetric matrix of sums of two normal numbers has the variance 2 off the diagonal and 4 on it.
    spread = np.sqrt(2 * 20 * 19 + 4 * 20)
    expected = 2 * np.linalg.norm(offset) / spread
    assert found.distances[0, 2] == pytest.approx(expected, rel=0.05)
    assert found.distances[1, 2] == pytest.approx(expected, rel=0.05)
    assert found.distances[0, 1] < 0.2  # without the adjustment: sqrt(1/10 + 1/20) = 0.39
    assert np.isnan(found.distances[3]).all()  # no utterances
    assert np.diag(found.distances)[:3].tolist() == [0, 0, 0]


def test_the_sentences_name_the_main_numbers():
    comparison = log_covariances.Comparison(
        directions=2,
        by_emotion=np.array([[0.1, 0.02], [0.02, 0.3]]),
        by_speaker=np.zeros((2, 2)),
        total_by_emotion=0.041,
        total_by_speaker=float("nan"),
        distances=np.array([[0, 0.5, 0.1], [0.5, 0, 0.25], [0.1, 0.25, 0]]),
    )
    text = log_covariances.describe(comparison, ("calm", "angry", "sad"))
    assert "4.1% lies between emotions and an unknown share between speakers" in text
    assert "(between emotions 20% in the median, 30% at most, in direction 2), correlations elsewhere (2%, 2%)" in text
    assert "nearest emotions are calm and sad (0.10 standard deviations), the farthest calm and angry (0.50)." in text
