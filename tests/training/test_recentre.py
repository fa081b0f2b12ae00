import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soctk.schema import LinearConfig
from soctk.training.blocks import Block, gram
from soctk.training.classes import Classes
from soctk.training.linear import fit
from soctk.training.recentre import Recentring

SPEAKERS = ["a", "a", "a", "b", "b", "c", "c", "c"]
VALUES = np.array([[1.0], [2], [3], [10], [20], [100], [200], [600]])
FITTED = [0, 1, 2, 3, 4]


def test_the_mean_of_each_speaker_is_subtracted_from_the_speakers_utterances():
    recentring = Recentring.of(SPEAKERS, None, 0, seed=0)
    expected = [[-1], [0], [1], [-5], [5], [-200], [-100], [300]]
    np.testing.assert_allclose(recentring.without_means(VALUES, FITTED), expected)


def test_without_enrolled_utterances_the_mean_of_the_training_speakers_is_subtracted():
    recentring = Recentring.of(SPEAKERS, 0, 0, seed=0)
    expected = [[-1], [0], [1], [-5], [5], [91.5], [191.5], [591.5]]  # minus (2 + 15) / 2
    np.testing.assert_allclose(recentring.without_means(VALUES, FITTED), expected)


def test_the_relevance_moves_the_mean_of_few_utterances_towards_the_training_speakers():
    recentring = Recentring(np.array([0, 0, 0, 1, 1, 2, 2, 2]), np.array([True] * 6 + [False] * 2), 3.0)
    expected = (1 * 100 + 3 * 8.5) / (1 + 3)
    np.testing.assert_allclose(recentring.without_means(VALUES, FITTED)[5:], VALUES[5:] - expected)


@pytest.mark.parametrize(("enrol", "count"), [(0, 0), (1, 1), (2, 2), (7, 3), (None, 3)])
def test_the_seed_draws_the_enrolled_utterances_of_each_speaker(enrol, count):
    drawn = [Recentring.of(SPEAKERS, enrol, 0, seed).enrolled[5:] for seed in range(20)]
    assert {own.sum() for own in drawn} == {count}
    assert (len({tuple(own) for own in drawn}) > 1) == (0 < count < 3)


def test_each_copy_of_a_speaker_counts_as_a_separate_speaker():
    copies = Recentring.of(SPEAKERS, 2, 0, seed=3).with_copies(1)
    alone = Recentring.of(SPEAKERS, 2, 0, seed=3)
    np.testing.assert_array_equal(copies.enrolled, np.tile(alone.enrolled, 2))
    values = np.vstack([VALUES, 7 + VALUES**2])
    every = range(8)
    expected = np.vstack([alone.without_means(values[:8], every), alone.without_means(values[8:], every)])
    np.testing.assert_allclose(copies.without_means(values, range(16)), expected)


@given(st.integers(0, 4), st.floats(0, 5), st.integers(0, 2**31))
def test_transposed_weights_on_values_equal_weights_on_recentred_values(enrol, relevance, seed):
    generator = np.random.default_rng(seed)
    values, weights = generator.normal(size=(8, 3)), generator.normal(size=(2, 8))
    recentring = Recentring.of(SPEAKERS, enrol, relevance, seed)
    expected = weights @ recentring.without_means(values, FITTED)
    np.testing.assert_allclose(recentring.transposed(weights, FITTED) @ values, expected, atol=1e-9)


@pytest.mark.parametrize("dimensions", [5, 100], ids=["primal", "dual"])
def test_the_linear_head_with_recentring_equals_a_fit_on_recentred_descriptors(dimensions):
    generator = np.random.default_rng(0)
    speakers = np.repeat(np.arange(6), 10)
    labels = np.tile(np.arange(2), 30)
    descriptors = generator.normal(size=(60, dimensions)) + 3 * generator.normal(size=(6, dimensions))[speakers]
    descriptors = (descriptors + labels[:, None]).astype(np.float32)
    train = list(range(40))
    recentring = Recentring.of([f"s{i}" for i in speakers], 3, 1.0, seed=0)
    by_hand = recentring.without_means(descriptors, train).astype(np.float32)
    heads = [torch.nn.Linear(dimensions, 2) for _ in range(2)]
    config, target = LinearConfig(name="linear", C=[1.0], within_class_shrinkage=0.5), Classes("ab", labels)
    fit(heads[0], [Block(descriptors, gram(descriptors))], target, train, 1.0, config, recentring)
    fit(heads[1], [Block(by_hand, gram(by_hand))], target, train, 1.0, config)
    posteriors = [head(torch.from_numpy(by_hand)).softmax(1).detach().numpy() for head in heads]
    np.testing.assert_allclose(*posteriors, atol=5e-3)
