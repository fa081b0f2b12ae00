"""Functions on SPD matrices against numpy, pyriemann, mpmath, hand-worked numbers and finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyriemann.geometry.base import logm
from pyriemann.geometry.tangentspace import tangent_space, upper
from torch.autograd import gradcheck

from soctk.pooling import divided_differences, fast, spd

SEEDS = st.integers(0, 2**32 - 1)


def random_frames(seed: int, batch: int, time: int, d: int) -> torch.Tensor:
    return torch.randn(batch, time, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spd_matrix(eigenvalues: list[float], seed: int = 0) -> torch.Tensor:
    """A matrix (1, D, D) with these eigenvalues and a random orthogonal basis."""
    basis, _ = torch.linalg.qr(random_frames(seed, 1, len(eigenvalues), len(eigenvalues))[0])
    return (basis @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ basis.T)[None]


@given(SEEDS, st.lists(st.integers(2, 9), min_size=1, max_size=4))
def test_covariance_equals_numpys(seed, lengths):
    frames = random_frames(seed, len(lengths), 9, 3)
    covariance = spd.covariance(frames, torch.tensor(lengths))
    for result, utterance, length in zip(covariance, frames, lengths, strict=True):
        np.testing.assert_allclose(result, np.cov(utterance[:length].numpy(), rowvar=False), atol=1e-12)


@given(SEEDS, st.floats(-1e8, 1e8), st.sampled_from([torch.float32, torch.float64]))
def test_covariance_is_accurate_for_large_means(seed, offset, dtype):
    frames = (random_frames(seed, 2, 9, 3) + offset).to(dtype)
    covariance = spd.covariance(frames, torch.tensor([9, 6]))
    for result, utterance, length in zip(covariance, frames.double(), (9, 6), strict=True):
        expected = np.cov(utterance[:length].numpy(), rowvar=False)
        np.testing.assert_allclose(result, expected, atol=20 * torch.finfo(dtype).eps * np.abs(expected).max())


def test_covariance_in_float64_of_float32_frames_has_a_float32_gradient():
    frames = random_frames(0, 2, 9, 3).float().requires_grad_()
    covariance = spd.covariance(frames, torch.tensor([9, 6]), torch.float64)
    np.testing.assert_allclose(covariance[0].detach(), np.cov(frames[0].detach().double(), rowvar=False), rtol=1e-6)
    covariance.sum().backward()
    assert (covariance.dtype, frames.grad.dtype) == (torch.float64, torch.float32)


def test_covariance_gradient_equals_finite_differences():
    frames = random_frames(0, 3, 5, 3).requires_grad_()
    assert gradcheck(lambda x: spd.covariance(x, torch.tensor([5, 3, 1])), frames)


def test_deviations_of_constant_frames_and_padding_are_exactly_zero():
    assert not spd.deviations(torch.full((2, 7, 3), 0.1), torch.tensor([7, 4])).any()
    deviations = spd.deviations(random_frames(0, 2, 7, 3), torch.tensor([7, 4]))
    assert deviations[1, :4].all()
    assert not deviations[1, 4:].any()


def test_mean_equals_numpys():
    frames = random_frames(0, 2, 5, 3)
    result = spd.mean(frames, torch.tensor([5, 2]))
    np.testing.assert_allclose(result, [frames[0].numpy().mean(0), frames[1, :2].numpy().mean(0)], atol=1e-15)


def test_covariance_of_one_frame_is_zero():
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
def test_wrong_shapes_and_lengths_raise(shape, lengths, message):
    with pytest.raises(ValueError, match=message):
        spd.covariance(torch.zeros(shape), torch.tensor(lengths))


def test_trace_normalisation_equals_hand_worked_numbers():
    matrix = torch.tensor([[[3.0, 1.0], [1.0, 1.0]]], dtype=torch.float64)
    expected = [[[3 / 4.5 + 0.5, 1 / 4.5], [1 / 4.5, 1 / 4.5 + 0.5]]]
    np.testing.assert_allclose(spd.trace_normalise(matrix, eps=0.5), expected, rtol=1e-15)


def test_normalisation_to_another_trace_equals_hand_worked_numbers():
    matrix = torch.tensor([[[3.0, 1.0], [1.0, 1.0]]], dtype=torch.float64)
    expected = [[[3 / 2.5 + 0.5, 1 / 2.5], [1 / 2.5, 1 / 2.5 + 0.5]]]
    np.testing.assert_allclose(spd.trace_normalise(matrix, eps=0.5, trace=2.0), expected, rtol=1e-15)


def test_shrinkage_equals_hand_worked_numbers():
    matrix = torch.tensor([[[3.0, 1.0], [1.0, 1.0]]], dtype=torch.float64)
    np.testing.assert_allclose(spd.shrink(matrix, 0.25), [[[2.75, 0.75], [0.75, 1.25]]], rtol=1e-15)
    np.testing.assert_allclose(spd.shrink(matrix, 1.0), [[[2.0, 0.0], [0.0, 2.0]]], rtol=1e-15)


def test_upper_triangle_goes_row_by_row():
    matrix = torch.arange(9).reshape(1, 3, 3)
    assert spd.upper_triangle(matrix).tolist() == [[0, 1, 2, 4, 5, 8]]


def test_tangent_vectors_keep_inner_products_and_upper_triangles_do_not():
    first, second = (matrices + matrices.mT for matrices in (random_frames(0, 4, 5, 5), random_frames(1, 4, 5, 5)))
    expected = torch.einsum("aij,bij->ab", first, second)
    torch.testing.assert_close(spd.tangent_vector(first) @ spd.tangent_vector(second).T, expected)
    assert not torch.allclose(spd.upper_triangle(first) @ spd.upper_triangle(second).T, expected)


@given(SEEDS, st.lists(st.floats(1e-4, 1e4), min_size=2, max_size=6))
def test_logarithm_and_tangent_vector_equal_pyriemanns(seed, eigenvalues):
    matrix = spd_matrix(eigenvalues, seed)
    logarithm = spd.matrix_log(matrix)
    np.testing.assert_allclose(logarithm, logm(matrix.numpy()), atol=1e-9 * max(eigenvalues) / min(eigenvalues))
    np.testing.assert_allclose(spd.tangent_vector(logarithm), upper(logarithm.numpy()), rtol=1e-14, atol=1e-300)
    at_the_identity = tangent_space(matrix.numpy(), np.eye(len(eigenvalues)), metric="logeuclid")
    tolerance = 1e-9 * max(eigenvalues) / min(eigenvalues)
    np.testing.assert_allclose(spd.tangent_vector(logarithm), at_the_identity, atol=tolerance)


def dense_log(frames: torch.Tensor, lengths: torch.Tensor, shrinkage: float, eps: float, trace: float | None):
    """The logarithm of the regularised covariance, step by step, through D x D matrices."""
    covariance = spd.shrink(spd.covariance(frames, lengths), shrinkage)
    if trace is None:
        regularised = covariance + eps * torch.eye(frames.shape[-1], dtype=frames.dtype)
    else:
        regularised = spd.trace_normalise(covariance, eps, trace)
    return spd.matrix_log(regularised, floor=eps / 2)


@pytest.fixture(params=["kernels", "torch"])
def _implementation(request, monkeypatch):
    """Run a test twice: with numba's kernels, and with torch alone."""
    if request.param == "torch":
        monkeypatch.setattr(fast, "load", lambda purpose, dtype: None)
    elif fast.load("log and gradient", torch.float64) is None:
        pytest.skip("numba's kernels do not work here")


OPTIONS = [(0.0, 1e-5, 1.0), (0.1, 1e-5, 1.0), (0.1, 1e-3, 11.0), (0.0, 1e-3, None), (0.2, 1e-3, None)]
LENGTHS = torch.tensor([6, 4, 1])


@pytest.mark.usefixtures("_implementation")
@pytest.mark.parametrize(("shrinkage", "eps", "trace"), OPTIONS)
@pytest.mark.parametrize("d", [4, 6, 11])
def test_log_covariance_equals_pyriemanns(d, shrinkage, eps, trace):
    frames = random_frames(0, 3, 6, d)
    logarithms = spd.log_covariance(frames, LENGTHS, shrinkage, eps, trace)
    for logarithm, utterance, length in zip(logarithms, frames.numpy(), LENGTHS, strict=True):
        covariance = np.cov(utterance[:length], rowvar=False) if length > 1 else np.zeros((d, d))
        shrunk = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / d * np.eye(d)
        divisor = np.trace(covariance) / trace + eps if trace else 1
        np.testing.assert_allclose(logarithm, logm(shrunk / divisor + eps * np.eye(d)), atol=1e-7)


@pytest.mark.parametrize(("shrinkage", "eps", "trace"), OPTIONS)
@pytest.mark.parametrize("d", [7, 11])
def test_gram_matrix_and_covariance_give_the_same_logarithm_and_gradient(d, shrinkage, eps, trace):
    frames = random_frames(0, 3, 6, d)
    upstream = random_frames(1, 3, d, d)
    results = []
    for function in (spd.log_covariance, dense_log):
        x = frames.clone().requires_grad_()
        logarithm = function(x, LENGTHS, shrinkage, eps, trace)
        logarithm.backward(upstream)
        results.append((logarithm.detach(), x.grad))
    for ours, theirs in zip(*results, strict=True):
        assert (ours - theirs).abs().max() <= 1e-7 * theirs.abs().max()


@pytest.mark.usefixtures("_implementation")
@pytest.mark.parametrize("d", [4, 7])
@pytest.mark.parametrize(("shrinkage", "trace"), [(0.0, 1.0), (0.1, 1.0), (0.1, 11.0), (0.0, None), (0.2, None)])
def test_log_covariance_gradient_equals_finite_differences(d, shrinkage, trace):
    frames, lengths = random_frames(2, 2, 6, d).requires_grad_(), torch.tensor([6, 4])
    assert gradcheck(lambda x: spd.log_covariance(x, lengths, shrinkage, 0.05, trace), frames)


@pytest.mark.usefixtures("_implementation")
@pytest.mark.parametrize("d", [2, 7])
@pytest.mark.parametrize("shrinkage", [0.0, 0.3])
def test_log_covariance_gradient_at_repeated_eigenvalues_equals_finite_differences(d, shrinkage):
    """Frames +-e_1 and +-e_2 have two equal variances; for d = 7 > T, five are 0, and the Gram matrix is used."""
    frames = torch.zeros(1, 4, d, dtype=torch.float64)
    frames[0, [0, 1, 2, 3], [0, 0, 1, 1]] = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    lengths = torch.tensor([4])
    assert gradcheck(lambda x: spd.log_covariance(x, lengths, shrinkage, 0.05), frames.requires_grad_())


@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 3, 1)])
def test_log_covariance_refuses_frames_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"frames \(B, T, D\) and lengths \(B,\) are needed"):
        spd.log_covariance(torch.randn(shape), torch.full(shape[:1], 5), 0.0, 1e-5)


@pytest.mark.usefixtures("_implementation")
@pytest.mark.parametrize("d", [4, 11])
@pytest.mark.parametrize("with_gradient", [False, True])
def test_projection_equals_the_matrix_product_after_the_logarithm(d, with_gradient):
    frames, weight = random_frames(0, 3, 6, d).requires_grad_(with_gradient), random_frames(1, 1, 3, d)[0]
    projected = spd.log_covariance(frames, LENGTHS, 0.1, 1e-5, projection=weight)
    expected = weight @ spd.log_covariance(frames, LENGTHS, 0.1, 1e-5) @ weight.T
    torch.testing.assert_close(projected, expected, rtol=1e-9, atol=1e-9)
    assert projected.requires_grad == with_gradient


@pytest.mark.usefixtures("_implementation")
@pytest.mark.parametrize("d", [4, 11])
@pytest.mark.parametrize("projected", [False, True])
def test_triangle_equals_the_upper_triangle_of_the_matrix(d, projected):
    frames, weight = random_frames(0, 3, 6, d), random_frames(1, 1, 3, d)[0] if projected else None
    matrices = spd.log_covariance(frames, LENGTHS, 0.1, 1e-5, projection=weight)
    triangles = spd.log_covariance(frames, LENGTHS, 0.1, 1e-5, projection=weight, triangle=True)
    torch.testing.assert_close(triangles, spd.upper_triangle(matrices), rtol=0, atol=0)
    torch.testing.assert_close(matrices, matrices.mT, rtol=0, atol=1e-13)


def test_factored_logarithm_equals_the_dense_one():
    frames = random_frames(0, 3, 6, 11)
    factored = spd.factored_log(frames, LENGTHS, 0.1, 1e-5)
    assert factored.factor.shape == (3, 6, 11)
    dense = factored.factor.mT @ factored.factor + factored.base[:, None, None] * torch.eye(11)
    torch.testing.assert_close(dense, dense_log(frames, LENGTHS, 0.1, 1e-5, 1.0), rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("_implementation")
def test_error_for_nan_and_infinity_numbers_the_utterances():
    frames = random_frames(0, 3, 6, 4)
    frames[1, 2, 3] = torch.nan
    frames[2, 0, 0] = -torch.inf
    with pytest.raises(ValueError, match="frames of utterance 1, 2 of the batch are NaN, infinite or too large"):
        spd.log_covariance(frames, torch.tensor([6, 6, 6]), 0.0, 1e-5)
    spd.log_covariance(frames[:2], torch.tensor([6, 2]), 0.0, 1e-5)  # padding may hold anything
    many = random_frames(0, 11, 6, 4)
    many[9] = torch.inf
    with pytest.raises(ValueError, match="frames of utterance 9 of the batch are NaN, infinite or too large"):
        spd.log_covariance(many, torch.full((11,), 6), 0.0, 1e-5)


def test_eigendecompositions_do_not_depend_on_the_number_of_threads(monkeypatch):
    monkeypatch.setattr(fast, "MAX_SIZE", 39)  # so that LAPACK decomposes them, in several threads
    matrices = torch.stack([spd_matrix(torch.rand(40).tolist(), seed)[0] for seed in range(7)]) + torch.eye(40)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        shared = spd.matrix_log(matrices)
        torch.set_num_threads(1)
        alone = spd.matrix_log(matrices)
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(shared, alone, rtol=0, atol=1e-13)
    torch.testing.assert_close(torch.linalg.matrix_exp(alone), matrices)


@given(SEEDS, st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=6))
def test_exponential_of_the_logarithm_is_the_matrix(seed, eigenvalues):
    matrix = spd_matrix(eigenvalues, seed)
    back = torch.linalg.matrix_exp(spd.matrix_log(matrix))
    torch.testing.assert_close(back, matrix, rtol=1e-7, atol=1e-9 * max(eigenvalues))


def test_eigenvalues_below_the_floor_are_replaced_by_it():
    log = spd.matrix_log(torch.diag(torch.tensor([1.0, -1e-9]))[None], floor=1e-7)
    torch.testing.assert_close(log[0], torch.diag(torch.tensor([0.0, np.log(1e-7)]).float()))


def test_gradient_is_zero_for_eigenvalues_below_the_floor():
    matrix = spd_matrix([1e-9, 1e-8, 0.5, 2.0]).requires_grad_()
    assert gradcheck(lambda m: spd.matrix_log((m + m.mT) / 2, floor=1e-4), matrix, eps=1e-6, atol=1e-3, rtol=1e-3)


EIGENVALUES = {
    "distinct": [0.1, 0.5, 1.0, 3.0],
    "repeated": [0.5, 0.5, 0.5, 2.0],
    "all equal": [1e-5] * 4,
    "nearly equal": [1.0, 1.0 + 1e-9, 1.0 + 2e-9, 1.0 + 1e-6],
    "far apart": [1e-5, 1e-3, 1.0, 10.0],
    "around three times as large": [1.0, 2.9999, 3.0001, 9.0],
}


@pytest.mark.parametrize("eigenvalues", EIGENVALUES.values(), ids=EIGENVALUES)
def test_logarithm_gradient_equals_finite_differences(eigenvalues):
    matrix = spd_matrix(eigenvalues).requires_grad_()
    # The step must keep matrices positive definite, and must be far larger than the rounding of the largest value.
    smallest = min(eigenvalues)
    step = 1e-3 * smallest
    assert gradcheck(lambda m: spd.matrix_log((m + m.mT) / 2), matrix, eps=step, atol=1e-6 / smallest, rtol=1e-4)


@pytest.mark.parametrize(("scale", "dtype"), [(1e20, torch.float32), (1e-30, torch.float64)])
def test_logarithm_gradient_is_inverse_to_the_scale(scale, dtype):
    matrix = (scale * torch.eye(3, dtype=dtype))[None].requires_grad_()
    spd.matrix_log(matrix, floor=0.0).backward(torch.eye(3, dtype=dtype)[None])
    torch.testing.assert_close(matrix.grad[0] * scale, torch.eye(3, dtype=dtype))


@pytest.mark.usefixtures("_implementation")
@pytest.mark.parametrize("d", [5, 24], ids=["d x d", "T x T"])
@pytest.mark.parametrize("eps", [1e-5, 1e-11])
@pytest.mark.parametrize("amplitude", [0.0, 1e-8])
def test_silence_has_a_finite_gradient(d, eps, amplitude):
    frames = (amplitude * random_frames(0, 2, 10, d).float()).requires_grad_()
    spd.log_covariance(frames, torch.tensor([10, 4]), 0.0, eps).sum().backward()
    assert frames.grad.isfinite().all()


@pytest.mark.usefixtures("_implementation")
def test_loud_frames_have_an_accurate_logarithm():
    frames = 100 * random_frames(0, 2, 10, 24).float()
    lengths = torch.tensor([10, 10])
    exact = spd.log_covariance(frames.double(), lengths, 0.0, 1e-8, None)
    torch.testing.assert_close(spd.log_covariance(frames, lengths, 0.0, 1e-8, None).double(), exact, rtol=0, atol=2e-3)


@pytest.mark.parametrize("eigenvalues", EIGENVALUES.values(), ids=EIGENVALUES)
def test_divided_differences_of_the_logarithm_equal_exact_arithmetic(eigenvalues):
    from mpmath import log, mp, mpf

    mp.dps = 60
    computed = divided_differences.floored_log_slopes(torch.tensor([eigenvalues], dtype=torch.float64), 1e-7)[0]
    for i, a in enumerate(map(mpf, eigenvalues)):
        for j, b in enumerate(map(mpf, eigenvalues)):
            exact = 1 / a if a == b else (log(a) - log(b)) / (a - b)
            assert computed[i, j].item() == pytest.approx(float(exact), rel=1e-14)


@given(
    st.lists(st.just(0.0) | st.floats(1e-12, 1e6), min_size=1, max_size=3),
    st.sampled_from([0.0, 1e-9, 1e-3, 1e-1]),
    st.floats(1e-3, 1e3),
)
def test_divided_differences_of_the_gram_weight_equal_exact_arithmetic(values, gap, ratio):
    from mpmath import log, mp, mpf

    mp.dps = 100
    values = values + [value * (1 + gap) for value in values]
    spectrum = torch.tensor([values], dtype=torch.float64)
    scale, ridge = torch.tensor([[2 * ratio], [2.0]], dtype=torch.float64)
    computed = ratio**2 * divided_differences.gram_weight_slopes(spectrum, scale, ridge, torch.float64)[0]
    c = mpf(scale.item()) / mpf(ridge.item())

    def weight(s):
        return log(1 + c * s) / s if s else c

    def slope(s, t):
        if s == t:  # the derivative; its limit at 0 is -c^2/2
            return c / (s * (1 + c * s)) - log(1 + c * s) / s**2 if s else -(c**2) / 2
        return (weight(s) - weight(t)) / (s - t)

    for i, s in enumerate(map(mpf, values)):
        for j, t in enumerate(map(mpf, values)):
            # For small eigenvalues the difference cancels; the gradient multiplies it by a factor that is as small.
            relative = 1e-13 + 1e-15 / max(float(c * max(s, t)), 1e-8)
            assert computed[i, j].item() == pytest.approx(float(slope(s, t)), rel=relative)
