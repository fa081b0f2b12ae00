"""The logarithm by matrix products: against eigendecompositions in float64, and against the other methods of soctk."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_layers import DEGENERATE, D

from soctk.pooling import products, spd


def logarithms(module, frames, lengths, gradient=None, **options):
    """Return the logarithms and, for a gradient, that of the frames."""
    frames = frames.clone().requires_grad_()
    result = module.log_covariance(frames, lengths, **options)
    result.backward(torch.ones_like(result) if gradient is None else gradient.to(result.dtype))
    return result.detach(), frames.grad


@given(bound=st.floats(1e-6, 1000), seed=st.integers(0, 2**32 - 1))
def test_the_polynomial_is_log1p_divided_by_its_argument(bound, seed):
    generator = np.random.default_rng(seed)
    spectrum = np.concatenate([[0, bound], generator.uniform(0, bound, 6)])
    vectors = np.linalg.qr(generator.standard_normal((8, 8))).Q
    result = products.log1p_quotient(torch.from_numpy(vectors * spectrum @ vectors.T)[None], bound)[0].numpy()
    quotient = np.append(1, np.log1p(spectrum[1:]) / spectrum[1:])
    error = (result - vectors * quotient @ vectors.T) @ (vectors * spectrum @ vectors.T)
    assert np.linalg.norm(error, 2) <= 2e-6


@pytest.mark.parametrize("normalisation", [None, 1.0, 40.0])
@pytest.mark.parametrize("has_projection", [False, True])
def test_logarithm_and_gradient_equal_those_of_decompositions(normalisation, has_projection):
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(4, 30, 40, generator=generator) * torch.logspace(0, -2, 40)
    lengths = torch.tensor([30, 17, 2, 1])
    projection = torch.randn(3, 40, generator=generator) if has_projection else None
    gradient = torch.randn(4, 3, 3, generator=generator) if has_projection else torch.randn(4, 40, 40)
    options = {"shrinkage": 0.1, "eps": 1e-3, "trace": normalisation}
    wide = {**options, "projection": projection if projection is None else projection.double()}
    expected = logarithms(spd, frames.double(), lengths, gradient, **wide)
    results = logarithms(products, frames, lengths, gradient, **options, projection=projection)
    for result, exact in zip(results, expected, strict=True):
        assert (result - exact).norm() <= 1e-5 * exact.norm()


@pytest.mark.parametrize("frames", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_utterances_have_finite_values_and_gradients(frames):
    frames = frames.float()[:, : D - 1]
    options = {"shrinkage": 0.7, "eps": 1e-8, "trace": float(D)}
    results = logarithms(products, frames, torch.full((2,), frames.shape[1]), **options, projection=None)
    assert all(result.isfinite().all() for result in results)
    torch.testing.assert_close(results[0], spd.log_covariance(frames, torch.full((2,), frames.shape[1]), **options))


def test_products_are_chosen_on_a_gpu_for_float32_with_shrinkage():
    assert not products.are_faster(torch.zeros(1, 2, 3), 0.7)  # on the CPU
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "is_cuda", True)
        assert products.are_faster(torch.zeros(1, 2, 3), 0.7)
        assert not products.are_faster(torch.zeros(1, 2, 3), 0.0)
        assert not products.are_faster(torch.zeros(1, 2, 3), 1.0)  # the covariance is a multiple of the identity
        assert not products.are_faster(torch.zeros(1, 2, 3).double(), 0.7)
        assert not products.are_faster(torch.zeros(1, 2, 768), 0.4)


def test_log_covariance_gives_the_products_their_projection_and_autocast(monkeypatch):
    monkeypatch.setattr(products, "are_faster", lambda *_: True)
    generator = torch.Generator().manual_seed(0)
    frames, projection = torch.randn(2, 9, 12, generator=generator), torch.randn(3, 12, generator=generator)
    options = {"shrinkage": 0.7, "eps": 1e-8, "trace": 12.0, "projection": projection, "triangle": True}
    lengths = torch.tensor([9, 5])
    by_products = logarithms(spd, frames, lengths, **options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        in_autocast = logarithms(spd, frames, lengths, **options)
    monkeypatch.undo()
    for results in (by_products, in_autocast):
        for result, exact in zip(results, logarithms(spd, frames, lengths, **options), strict=True):
            torch.testing.assert_close(result, exact, rtol=1e-4, atol=1e-5)
