import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from soctk import spd

SEEDS = st.integers(0, 2**32 - 1)


def random_frames(seed: int, batch: int, time: int, d: int) -> torch.Tensor:
    return torch.randn(batch, time, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spd_matrix(eigenvalues: list[float], seed: int = 0) -> torch.Tensor:
    """A matrix (1, D, D) with these eigenvalues and a random orthogonal basis."""
    basis, _ = torch.linalg.qr(random_frames(seed, 1, len(eigenvalues), len(eigenvalues))[0])
    return (basis @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ basis.T)[None]


@given(SEEDS, st.lists(st.integers(2, 9), min_size=1, max_size=4))
def test_covariance_is_numpys_of_the_frames_within_the_length(seed, lengths):
    frames = random_frames(seed, len(lengths), 9, 3)
    covariance = spd.covariance(frames, torch.tensor(lengths))
    for result, utterance, length in zip(covariance, frames, lengths, strict=True):
        np.testing.assert_allclose(result, np.cov(utterance[:length].numpy(), rowvar=False), atol=1e-12)


def test_mean_is_numpys_of_the_frames_within_the_length():
    frames = random_frames(0, 2, 5, 3)
    result = spd.mean(frames, torch.tensor([5, 2]))
    np.testing.assert_allclose(result, [frames[0].numpy().mean(0), frames[1, :2].numpy().mean(0)], atol=1e-15)


def test_one_frame_has_no_covariance():
    assert not spd.covariance(random_frames(0, 1, 1, 3), torch.tensor([1])).any()


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((2, 5, 3), [5, 6], r"within 1..5, not \[5, 6\]"),
        ((2, 5, 3), [0, 5], r"within 1..5, not \[0, 5\]"),
        ((2, 5, 3), [5], r"not \(2, 5, 3\) and \(1,\)"),
        ((5, 3), [5, 5], r"not \(5, 3\) and \(2,\)"),
    ],
)
def test_shapes_and_lengths_that_do_not_fit_are_told(shape, lengths, message):
    with pytest.raises(ValueError, match=message):
        spd.covariance(torch.zeros(shape), torch.tensor(lengths))


def test_trace_normalisation_by_hand():
    matrix = torch.tensor([[[3.0, 1.0], [1.0, 1.0]]], dtype=torch.float64)
    expected = [[[3 / 4.5 + 0.5, 1 / 4.5], [1 / 4.5, 1 / 4.5 + 0.5]]]
    np.testing.assert_allclose(spd.trace_normalise(matrix, eps=0.5), expected, rtol=1e-15)


def test_upper_triangle_goes_row_by_row():
    matrix = torch.arange(9).reshape(1, 3, 3)
    assert spd.upper_triangle(matrix).tolist() == [[0, 1, 2, 4, 5, 8]]


@given(SEEDS, st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=6))
def test_the_exponential_of_the_logarithm_is_the_matrix(seed, eigenvalues):
    matrix = spd_matrix(eigenvalues, seed)
    back = torch.linalg.matrix_exp(spd.matrix_log(matrix))
    torch.testing.assert_close(back, matrix, rtol=1e-7, atol=1e-9 * max(eigenvalues))


def test_an_eigenvalue_below_the_floor_counts_as_the_floor():
    log = spd.matrix_log(torch.diag(torch.tensor([1.0, -1e-9]))[None], floor=1e-7)
    torch.testing.assert_close(log[0], torch.diag(torch.tensor([0.0, np.log(1e-7)]).float()))


def test_the_gradient_is_zero_where_the_floor_is_the_value():
    matrix = spd_matrix([1e-9, 1e-8, 0.5, 2.0]).requires_grad_()
    assert gradcheck(lambda m: spd.matrix_log((m + m.mT) / 2, floor=1e-4), matrix, eps=1e-6, atol=1e-3, rtol=1e-3)


EIGENVALUES = {
    "distinct": [0.1, 0.5, 1.0, 3.0],
    "repeated": [0.5, 0.5, 0.5, 2.0],
    "all equal": [1e-5] * 4,
    "nearly equal": [1.0, 1.0 + 1e-9, 1.0 + 2e-9, 1.0 + 1e-6],
    "far apart": [1e-5, 1e-3, 1.0, 10.0],
    "where series and difference meet": [1.0, 1.2222, 1.2223, 1.5],
}


@pytest.mark.parametrize("eigenvalues", EIGENVALUES.values(), ids=EIGENVALUES)
def test_gradient_of_the_logarithm_is_right_and_finite(eigenvalues):
    matrix = spd_matrix(eigenvalues).requires_grad_()
    step = min(eigenvalues) * 1e-3  # the finite differences must stay among positive definite matrices
    assert gradcheck(
        lambda m: spd.matrix_log((m + m.mT) / 2), matrix, eps=step * 1e-2, atol=1e-6 / min(eigenvalues), rtol=1e-4
    )


@pytest.mark.parametrize("eigenvalues", EIGENVALUES.values(), ids=EIGENVALUES)
def test_divided_differences_are_those_of_exact_arithmetic(eigenvalues):
    from mpmath import log, mp, mpf

    mp.dps = 60
    computed = spd._divided_differences_of_log(torch.tensor([eigenvalues], dtype=torch.float64), floor=1e-7)[0]
    for i, a in enumerate(map(mpf, eigenvalues)):
        for j, b in enumerate(map(mpf, eigenvalues)):
            exact = 1 / a if a == b else (log(a) - log(b)) / (a - b)
            assert computed[i, j].item() == pytest.approx(float(exact), rel=1e-14)
