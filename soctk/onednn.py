"""Matrix products in float32 on a CPU by oneDNN, a library that torch contains. torch itself would use MKL.

MKL does not use AVX-512 on AMD processors. oneDNN is 1.8 to 2.4 times as fast on an EPYC, and faster even when limited
to AVX2 (tests/bench/README.md). Results differ by rounding only. torch calls oneDNN by private operators, which may
change or disappear. Therefore they are tried once; if they fail, torch computes the products. torch also computes the
products of other dtypes and on other devices.
"""

from functools import cache

import torch
from torch import nn
from torch.nn import functional


@cache
def is_usable() -> bool:
    """Return whether torch's private oneDNN operators give the same product as torch itself; they are tried once."""
    if not torch.backends.mkldnn.is_available():
        return False
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        inputs, weight = (torch.linspace(-1, 1, 12, device="cpu").view(shape) for shape in ((3, 4), (3, 4)))
        bias = torch.ones(3, device="cpu")
        expected = functional.linear(inputs, weight, bias)
        try:
            products = _product(inputs, weight, bias), _product(inputs, _reorder(weight), bias)
            return all(torch.allclose(product, expected) for product in products)
        except Exception:  # a new version of torch may change the names, arguments and errors of its private operators
            return False


def linear(inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return X W' `(..., d)` for inputs X `(..., D)` and a weight W `(d, D)`; it is differentiable."""
    if not _is_suitable(inputs):
        return functional.linear(inputs, weight)
    return _Linear.apply(inputs, weight)


def bmm(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the matrix products `left @ right` `(B, M, N)` of `(B, M, K)` and `(B, K, N)`.

    oneDNN computes one product after the other, each with all threads, which is slow for small products. Therefore
    torch computes products with fewer than 2 million multiplications per thread, and products that need a gradient.
    """
    needs_gradient = torch.is_grad_enabled() and (left.requires_grad or right.requires_grad)
    is_small = left.shape[1] * left.shape[2] * right.shape[2] < 2e6 * torch.get_num_threads()
    if needs_gradient or is_small or not _is_suitable(left):
        return left @ right
    result = left.new_empty(len(left), left.shape[1], right.shape[2])
    for product, one, other in zip(result, left, right, strict=True):
        product.copy_(_product(one, other.T))
    return result


class Linear(nn.Linear):
    """nn.Linear without a bias, computed by `linear`.

    Args:
        in_features: D, the width of the inputs.
        out_features: d, the width of the outputs.
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__(in_features, out_features, bias=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return X W' `(..., d)` for inputs X `(..., D)`."""
        return linear(inputs, self.weight)


def pack(model: nn.Module) -> None:
    """Store the weights of a frozen model's linear layers in oneDNN's layout, once for all later products.

    The plain weights stay in memory too, for modules that read the weight of a layer instead of calling the layer.
    """
    if not is_usable():
        return
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear and _is_suitable(child.weight):
                setattr(parent, name, _Packed(child))


class _Packed(nn.Linear):
    def __init__(self, layer: nn.Linear):
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self._packed = _reorder(layer.weight.detach())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_compiling():  # the private operators are not part of exported or compiled programs
            return functional.linear(inputs, self.weight, self.bias)
        return _product(inputs, self._packed, self.bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs, weight):
        ctx.save_for_backward(inputs, weight)
        return _product(inputs, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        inputs, weight = ctx.saved_tensors
        inputs_need_gradient, weight_needs_gradient = ctx.needs_input_grad
        rows, columns = (tensor.reshape(-1, tensor.shape[-1]).T for tensor in (gradient, inputs))
        return (
            _product(gradient, weight.T) if inputs_need_gradient else None,
            _product(rows, columns) if weight_needs_gradient else None,
        )


def _product(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")


def _reorder(weight: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight)


def _is_suitable(tensor: torch.Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu" and tensor.numel() > 0 and is_usable()
