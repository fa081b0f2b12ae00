"""Compute soc_reference.npz anew with the layer as its authors published it.

    python tests/golden/make_soc_reference.py CHECKOUT

CHECKOUT is a clone of github secret-code-source/SOC at bc58014 (MIT). The inputs (x, weight, upstream_grad) are read
from soc_reference.npz; the outputs and gradients are computed by CHECKOUT's soc_ser/soc.py and compared with those
there, then written. None of that code is part of soctk.
"""

import sys
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).with_name("soc_reference.npz")


def recompute(case: dict[str, np.ndarray], layer_class: type[torch.nn.Module]) -> dict[str, np.ndarray]:
    x = torch.from_numpy(case["x"]).requires_grad_()
    d, input_size = case["weight"].shape
    layer = layer_class(input_size, d).to(x.dtype)
    layer.projection.weight.data = torch.from_numpy(case["weight"])
    out = layer(x)
    out.backward(torch.from_numpy(case["upstream_grad"]))
    return case | {
        "out": out.detach().numpy(),
        "grad_x": x.grad.numpy(),
        "grad_weight": layer.projection.weight.grad.numpy(),
    }


def main(checkout: str) -> None:
    sys.path.insert(0, checkout)
    from soc_ser.soc import SOCPooling

    with np.load(GOLDEN) as archive:
        stored = dict(archive)
    computed = {}
    for case in sorted({name.partition("/")[0] for name in stored}):
        arrays = {name.partition("/")[2]: array for name, array in stored.items() if name.startswith(f"{case}/")}
        for name, array in recompute(arrays, SOCPooling).items():
            largest = np.abs(array - arrays[name]).max()
            print(f"{case}/{name}: differs by at most {largest:.1e}")
            computed[f"{case}/{name}"] = array
    np.savez_compressed(GOLDEN, **computed)


if __name__ == "__main__":
    main(sys.argv[1])
