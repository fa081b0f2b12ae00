"""Matrix products in float32 on a CPU by oneDNN, which comes with torch, where torch itself would have MKL's.

MKL leaves AVX-512 of an AMD EPYC unused: oneDNN is 1.8 to 2.4 times as fast there, and still faster where its own
instructions are held to AVX2 (tests/bench/README.md). The numbers differ by rounding only. torch reaches
oneDNN by operators that it keeps for its compiler; without them, and in any other dtype or place, products are torch's.
"""

import torch
from torch import nn
from torch.nn import functional


def linear(inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return X W' `(..., d)` for inputs X `(..., D)` and a weight W `(d, D)`, with a gradient."""
    if not _takes(inputs):
        return functional.linear(inputs, weight)
    return _Linear.apply(inputs, weight)


def bmm(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return `left @ right` `(B, M, N)` for `(B, M, K)` and `(B, K, N)`.

    oneDNN takes one product at a time, and torch's threads share it: those of less than 2 million multiplications a
    thread, and what needs a gradient, are torch's own.
    """
    needs_gradient = torch.is_grad_enabled() and (left.requires_grad or right.requires_grad)
    is_small = left.shape[1] * left.shape[2] * right.shape[2] < 2e6 * torch.get_num_threads()
    if needs_gradient or is_small or not _takes(left):
        return left @ right
    result = left.new_empty(len(left), left.shape[1], right.shape[2])
    for product, one, other in zip(result, left, right, strict=True):
        product.copy_(_product(one, other.T))
    return result


class Linear(nn.Linear):
    """nn.Linear without a bias, by `linear`."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__(in_features, out_features, bias=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return X W' `(..., out_features)` for inputs X `(..., in_features)`."""
        return linear(inputs, self.weight)


def pack(model: nn.Module) -> None:
    """Lay the weights of a frozen model's linear layers out as oneDNN wants them, once and for all products to come.

    The weights are there twice afterwards, so that a module may still read a layer's weight instead of calling it.
    """
    if not _is_there():
        return
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear and _takes(child.weight):
                setattr(parent, name, _Packed(child))


class _Packed(nn.Linear):
    def __init__(self, layer: nn.Linear):
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
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
        of_inputs, of_weight = ctx.needs_input_grad
        rows, columns = (tensor.reshape(-1, tensor.shape[-1]).T for tensor in (gradient, inputs))
        return (
            _product(gradient, weight.T) if of_inputs else None,
            _product(rows, columns) if of_weight else None,
        )


def _product(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")


def _takes(tensor: torch.Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu" and tensor.numel() > 0 and _is_there()


def _is_there() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
