"""Correlation pooling against numpy.corrcoef, its invariances, and constant features."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soctk.pooling import Correlation

D = 6


def frames_of(seed: int, length: int = 9) -> torch.Tensor:
    return torch.randn(1, length, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_correlations_equal_numpys_above_the_diagonal():
    frames = frames_of(0)
    result = Correlation(D)(frames, torch.tensor([7]))[0]
    expected = np.corrcoef(frames[0, :7], rowvar=False)[np.triu_indices(D, 1)]
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_two_features_have_one_correlation():
    frames = torch.tensor([[[1.0, 10.0], [2.0, 40.0], [3.0, 10.0], [4.0, 40.0]]])  # by hand: 30 / sqrt(5 * 900)
    torch.testing.assert_close(Correlation(2)(frames, torch.tensor([4])), torch.tensor([[30 / 4500**0.5]]))


@given(seed=st.integers(0, 2**32 - 1), length=st.integers(2, 30))
def test_correlations_do_not_change_with_mean_and_scale_of_each_feature(seed, length):
    layer, frames, lengths = Correlation(D, eps=1e-30), frames_of(seed, length), torch.tensor([length])
    scale, shift = torch.logspace(-3, 3, D, dtype=torch.float64), torch.linspace(-5, 5, D, dtype=torch.float64)
    result = layer(frames, lengths)
    torch.testing.assert_close(layer(scale * frames + shift, lengths), result, rtol=0, atol=1e-6)
    assert result.abs().max() <= 1 + 1e-9


def test_a_constant_feature_has_the_correlation_0_with_all_others():
    frames = frames_of(0)
    others = Correlation(D - 1)(frames[:, :, 1:], torch.tensor([9]))
    frames[:, :, 0] = 3.7
    result = Correlation(D)(frames, torch.tensor([9]))
    assert not result[0, : D - 1].any()
    torch.testing.assert_close(result[:, D - 1 :], others)


@pytest.mark.parametrize("frames", [frames_of(0, 1), torch.full((1, 5, D), 3.7)], ids=["one frame", "constant frames"])
def test_without_variation_over_time_all_correlations_are_0(frames):
    assert not Correlation(D)(frames, torch.tensor([frames.shape[1]])).any()


def test_the_gradient_equals_that_of_finite_differences():
    frames = frames_of(1, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: Correlation(D)(x, torch.tensor([5])), frames)
