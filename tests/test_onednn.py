"""oneDNN's products equal those in float64; torch computes the products if oneDNN's operators are faulty."""

import pytest
import torch
from torch import nn

from soctk import onednn
from soctk.parallel import one_thread

SHAPES = [((5, 7), 3), ((4, 30, 64), 8), ((2, 1, 16), 24), ((0, 7), 3), ((1, 7), 1), ((7,), 3)]


@pytest.fixture(params=["oneDNN", "torch"])
def library(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(onednn, "is_usable", lambda: False)
    elif not onednn.is_usable():
        pytest.skip("oneDNN does not work in this torch")
    return request.param


@pytest.fixture
def fresh_probe():
    """Clear the cached result of is_usable before and after the test."""
    onednn.is_usable.cache_clear()
    yield
    onednn.is_usable.cache_clear()


def fail(*arguments):
    raise RuntimeError("mkldnn::_linear_pointwise() expected at most 5 arguments")


FAULTS = {
    "the product raises": ("_linear_pointwise", fail),
    "the product is wrong": (
        "_linear_pointwise",
        lambda inputs, weight, *rest: inputs @ weight.T + 1,
    ),
    "the product has another shape": ("_linear_pointwise", lambda inputs, weight, *rest: inputs),
    "the layout raises": ("_reorder_linear_weight", fail),
    "the layout is wrong": ("_reorder_linear_weight", lambda weight: weight + 1),
}


@pytest.mark.parametrize(("operator", "replacement"), FAULTS.values(), ids=FAULTS)
@pytest.mark.usefixtures("fresh_probe")
def test_a_faulty_private_operator_leaves_all_products_to_torch(operator, replacement, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, operator, replacement)
    inputs, weight = torch.randn(2, 300, 200), torch.randn(3, 200, requires_grad=True)
    result = onednn.linear(inputs, weight)
    result.sum().backward()
    assert torch.equal(result, nn.functional.linear(inputs, weight))
    torch.testing.assert_close(weight.grad, inputs.sum((0, 1)).expand(3, 200), rtol=1e-5, atol=1e-4)
    assert torch.equal(onednn.bmm(inputs, inputs.mT), inputs @ inputs.mT)
    model = nn.Sequential(nn.Linear(4, 3))
    onednn.pack(model)
    assert type(model[0]) is nn.Linear


@pytest.mark.usefixtures("fresh_probe")
def test_is_usable_has_the_same_result_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = onednn.is_usable()
    onednn.is_usable.cache_clear()
    assert onednn.is_usable() == inside


@pytest.mark.parametrize(("shape", "rows"), SHAPES)
def test_values_and_gradients_equal_float64(library, shape, rows):
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


def test_strided_inputs_give_the_same_product():
    inputs, weight = torch.arange(12.0).view(3, 4), torch.arange(8.0).view(4, 2)
    torch.testing.assert_close(onednn.linear(inputs.T.contiguous().T, weight.T), inputs @ weight)
    torch.testing.assert_close(onednn.linear(inputs[::2], weight.T), inputs[::2] @ weight)


def test_float64_stays_float64():
    inputs, weight = torch.rand(3, 4).double(), torch.rand(2, 4).double()
    assert torch.equal(onednn.linear(inputs, weight), nn.functional.linear(inputs, weight))


def test_a_packed_model_gives_the_same_output(library):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Sequential(nn.Linear(32, 8, bias=False))).eval()
    inputs = torch.randn(3, 5, 16)
    with torch.inference_mode():
        before = model(inputs)
        onednn.pack(model)
        torch.testing.assert_close(model(inputs), before)
    replaced = [layer for layer in (model[0], model[2][0]) if type(layer) is not nn.Linear]
    assert len(replaced) == (2 if library == "oneDNN" else 0)


def test_a_module_that_reads_the_weight_of_a_packed_layer_gives_the_same_output():
    class ReadsWeight(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, inputs):
            return nn.functional.linear(inputs, self.layer.weight, self.layer.bias)

    model, inputs = ReadsWeight(), torch.randn(3, 4)
    with torch.no_grad():
        before = model(inputs)
        onednn.pack(model)
        assert torch.equal(model(inputs), before)


@pytest.mark.parametrize("size", [3, 200])
def test_batched_products_equal_float64(library, size):
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(4, size, 150, generator=generator), torch.randn(4, size, 150, generator=generator)
    with one_thread():
        result = onednn.bmm(left, right.mT)
    torch.testing.assert_close(result, (left.double() @ right.double().mT).float(), rtol=1e-5, atol=1e-4)
    with_gradient = onednn.bmm(left.requires_grad_(), right.mT)
    torch.testing.assert_close(
        torch.autograd.grad(with_gradient.sum(), left)[0], right.sum(1, keepdim=True).expand_as(left)
    )
