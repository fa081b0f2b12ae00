"""Pooling layers on the GPU: values and gradients against float64 on the CPU; autocast; padding; silence."""

import copy

import pytest
import torch
from conftest import ROOT

from soctk import config, pooling
from soctk.pooling import products

pytestmark = pytest.mark.gpu

# Names for `pooling.create`, with options that differ from those in conf/pooling, and D.
LAYERS = {
    "mean": ("mean", [], 24),
    "stats": ("stats", [], 24),
    "asp": ("asp", ["pooling.asp.hidden=8"], 24),
    "corr": ("corr", [], 24),
    "soc d=8": ("soc", ["pooling.soc.d=8"], 24),
    "soc d=64": ("soc", ["pooling.soc.d=64"], 96),
    "soc with shrinkage": ("soc", ["pooling.soc.d=8", "pooling.soc.shrinkage=0.2"], 24),
    "soc_nolem": ("soc_nolem", ["pooling.soc_nolem.d=8"], 24),
    "soc_full, T > D": ("soc_full", [], 24),
    "soc_full, T < D": ("soc_full", [], 160),
    "soc_full, T < D, little shrinkage": ("soc_full", ["pooling.soc_full.shrinkage=0.05"], 160),
    "soc_full, projected": ("soc_full", ["pooling.soc_full.d=8"], 160),
    "mean+soc_full": ("mean+soc_full", [], 160),
}
LENGTHS = [50, 31, 7, 1]


def make(name: str) -> pooling.Pooling:
    poolings, overrides, size = LAYERS[name]
    torch.manual_seed(0)
    options = config.load([ROOT / "conf"], poolings, "mlp", overrides=overrides).pooling
    return pooling.create(poolings, size, options)


def speech(size: int, seed: int = 0) -> torch.Tensor:
    """Return a batch `(B, T, D)` of frames with variances over two decades; the padding is NaN."""
    generator = torch.Generator().manual_seed(seed)
    frames = 1 + torch.randn(len(LENGTHS), max(LENGTHS), size, generator=generator) * torch.logspace(0, -1, size)
    for row, length in zip(frames, LENGTHS, strict=True):
        row[length:] = torch.nan
    return frames


def pooled(layer, frames, lengths, gradient):
    """Return the descriptors, and the gradients of the frames and of all parameters, in float64 on the CPU."""
    layer.zero_grad()
    frames = frames.clone().requires_grad_()
    descriptors = layer(frames, lengths)
    descriptors.backward(gradient.to(descriptors))
    gradients = [frames.grad, *(parameter.grad for parameter in layer.parameters())]
    return [tensor.detach().double().cpu() for tensor in (descriptors, *gradients)]


def error(result: torch.Tensor, exact: torch.Tensor) -> float:
    return ((result - exact).norm() / exact.norm().clamp(min=1e-30)).item()


@pytest.fixture(params=LAYERS)
def layer(request) -> pooling.Pooling:
    return make(request.param)


def test_values_and_gradients_equal_those_in_float64_on_the_cpu(layer, device):
    frames, lengths = speech(layer.input_size), torch.tensor(LENGTHS)
    gradient = torch.randn(len(LENGTHS), layer.output_size, generator=torch.Generator().manual_seed(1))
    exact = pooled(copy.deepcopy(layer).double(), frames.double(), lengths, gradient)
    results = pooled(layer.to(device), frames.to(device), lengths.to(device), gradient)
    # The covariance of 7 frames is singular: the gradient of its logarithm multiplies the rounding of the projection.
    for result, expected, limit in zip(results, exact, [2e-5, *[1e-3] * len(exact)], strict=False):
        assert error(result, expected) <= limit


def test_an_utterance_has_the_same_descriptor_alone_and_in_a_batch(layer, device):
    layer = layer.to(device)
    frames = speech(layer.input_size)
    together = layer(frames.to(device), torch.tensor(LENGTHS, device=device))
    concatenated = torch.cat([row[:length] for row, length in zip(frames, LENGTHS, strict=True)]).to(device)
    joined = layer.pool_concatenated(concatenated, torch.tensor(LENGTHS, device=device))
    for row, length, result, other in zip(frames, LENGTHS, together, joined, strict=True):
        alone = layer(row[None, :length].to(device), torch.tensor([length], device=device))[0]
        torch.testing.assert_close(result, alone, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(other, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_has_no_effect(layer, device, dtype):
    layer = layer.to(device)
    frames, lengths = speech(layer.input_size).to(device), torch.tensor(LENGTHS, device=device)
    gradient = torch.randn(len(LENGTHS), layer.output_size, generator=torch.Generator().manual_seed(1))
    plain = pooled(layer, frames, lengths, gradient)
    with torch.autocast(device, dtype=dtype):
        within = pooled(layer, frames, lengths, gradient)
    for result, expected in zip(within, plain, strict=True):
        assert error(result, expected) <= 1e-5


@pytest.mark.parametrize("value", [0.0, 3.7])
def test_constant_frames_have_finite_values_and_gradients(layer, device, value):
    frames = torch.full((2, 40, layer.input_size), value, device=device)
    gradient = torch.ones(2, layer.output_size)
    results = pooled(layer.to(device), frames, torch.tensor([40, 1], device=device), gradient)
    assert all(result.isfinite().all() for result in results)


def test_frames_that_are_not_finite_are_named(layer, device):
    frames = torch.randn(3, 9, layer.input_size)
    frames[1, 4, 2] = torch.nan
    with pytest.raises(ValueError, match="frames of utterance 1 of the batch are NaN, infinite or too large"):
        layer.to(device)(frames.to(device), torch.full((3,), 9, device=device))


def test_a_gpu_computes_the_logarithm_by_products(device):
    assert products.are_faster(torch.zeros(1, 2, 8, device=device), 0.7) == (device == "cuda")
