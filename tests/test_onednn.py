"""Products by oneDNN: those of float64, in value and gradient, and torch's own where oneDNN is not to be had."""

import pytest
import torch
from torch import nn

from soctk import onednn
from soctk.parallel import one_thread

SHAPES = [((5, 7), 3), ((4, 30, 64), 8), ((2, 1, 16), 24), ((0, 7), 3), ((1, 7), 1), ((7,), 3)]


@pytest.fixture(params=["oneDNN", "torch"])
def library(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(onednn, "_is_there", lambda: False)
    elif not onednn._is_there():
        pytest.skip("this torch is built without oneDNN")
    return request.param


@pytest.mark.parametrize(("shape", "rows"), SHAPES)
def test_values_and_gradients_are_those_of_float64(library, shape, rows):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(shape, generator=generator, requires_grad=True)
    weight = torch.randn(rows, shape[-1], generator=generator, requires_grad=True)
    gradient = torch.randn(*shape[:-1], rows, generator=generator)
    exact_inputs, exact_weight = (tensor.detach().double().requires_grad_() for tensor in (inputs, weight))
    exact = exact_inputs @ exact_weight.T
    exact.backward(gradient.double())
    result = onednn.linear(inputs, weight)
    result.backward(gradient)
    pairs = [(result, exact), (inputs.grad, exact_inputs.grad), (weight.grad, exact_weight.grad)]
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs.float(), rtol=1e-5, atol=1e-5)


def test_inputs_laid_out_in_any_way_count_as_what_they_are():
    inputs, weight = torch.arange(12.0).view(3, 4), torch.arange(8.0).view(4, 2)
    torch.testing.assert_close(onednn.linear(inputs.T.contiguous().T, weight.T), inputs @ weight)
    torch.testing.assert_close(onednn.linear(inputs[::2], weight.T), inputs[::2] @ weight)


def test_float64_stays_float64():
    inputs, weight = torch.rand(3, 4).double(), torch.rand(2, 4).double()
    assert torch.equal(onednn.linear(inputs, weight), nn.functional.linear(inputs, weight))


def test_a_packed_model_gives_what_it_gave(library):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Sequential(nn.Linear(32, 8, bias=False))).eval()
    inputs = torch.randn(3, 5, 16)
    with torch.inference_mode():
        before = model(inputs)
        onednn.pack(model)
        torch.testing.assert_close(model(inputs), before)
    packed = [module for module in model.modules() if isinstance(module, onednn._Packed)]
    assert len(packed) == (2 if library == "oneDNN" else 0)


@pytest.mark.skipif(not onednn._is_there(), reason="this torch is built without oneDNN")
def test_a_module_that_reads_a_weight_itself_stays_right():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, inputs):
            return nn.functional.linear(inputs, self.layer.weight, self.layer.bias)

    model, inputs = Reads(), torch.randn(3, 4)
    with torch.no_grad():
        before = model(inputs)
        onednn.pack(model)
        assert isinstance(model.layer, onednn._Packed)
        assert torch.equal(model(inputs), before)


@pytest.mark.parametrize("size", [3, 200])
def test_products_of_batches_are_those_of_float64(library, size):
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(4, size, 150, generator=generator), torch.randn(4, size, 150, generator=generator)
    with one_thread():
        result = onednn.bmm(left, right.mT)
    torch.testing.assert_close(result, (left.double() @ right.double().mT).float(), rtol=1e-5, atol=1e-4)
    with_gradient = onednn.bmm(left.requires_grad_(), right.mT)
    torch.testing.assert_close(
        torch.autograd.grad(with_gradient.sum(), left)[0], right.sum(1, keepdim=True).expand_as(left)
    )
