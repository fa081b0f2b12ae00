"""The product of the frames of a batch with the projections of several models, and its gradient."""

import pytest
import torch

from soctk.training.projection import Utterances, project

ROWS = [40, 3, 17, 8, 11, 25, 30, 2, 9]


@pytest.fixture(scope="module")
def frames() -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(20 + row, 64) for row in ROWS]


def product_and_gradient(
    frames: list[torch.Tensor], rows: list[int], gradients: list[torch.Tensor], threads: int
) -> tuple[torch.Tensor, torch.Tensor]:
    weight = torch.linspace(-1, 1, 24 * 64).view(24, 64).requires_grad_()
    product = project(Utterances(frames, rows), weight, threads)
    product.backward(torch.cat(gradients))
    assert weight.grad is not None
    return product.detach(), weight.grad


def test_values_equal_those_of_torch_in_float64(frames):
    gradients = [torch.randn(len(one), 24) for one in frames]
    product, gradient = product_and_gradient(frames, ROWS, gradients, threads=2)
    weight = torch.linspace(-1, 1, 24 * 64).view(24, 64).double()
    all_frames = torch.cat(frames).double()
    torch.testing.assert_close(product.double(), all_frames @ weight.T, rtol=0, atol=2e-5)
    torch.testing.assert_close(gradient.double(), torch.cat(gradients).double().T @ all_frames, rtol=0, atol=2e-4)


@pytest.mark.parametrize("threads", [1, 3])
def test_utterances_without_a_gradient_change_no_bits(frames, threads):
    kept = [0, 2, 3, 5, 8]
    gradients = [torch.randn(len(one), 24) * (i in kept) for i, one in enumerate(frames)]
    _, of_all = product_and_gradient(frames, ROWS, gradients, threads)
    own = [[values[i] for i in kept] for values in (frames, ROWS, gradients)]
    _, of_kept = product_and_gradient(*own, threads=1)
    assert torch.equal(of_all, of_kept)
