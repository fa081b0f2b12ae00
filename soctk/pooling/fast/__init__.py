"""Optional kernels for CPUs, compiled by numba: eigendecompositions, logarithms of small covariances, gradients.

`load` imports and compiles them at their first use. If numba is not installed or fails, it returns None, and torch
computes instead.
"""

import threading
import warnings
from importlib import import_module
from types import ModuleType
from typing import Literal

import torch

from soctk.pooling.fast.cache import folder
from soctk.pooling.frames import Slices

MAX_SIZE = 256  # the largest D: eight larger matrices do not fit a processor's caches, and LAPACK is as fast

_OPTIONAL = ("numba", "llvmlite")  # the packages of the extra `fast`

Purpose = Literal["eigh", "log", "log and gradient"]

_lock = threading.Lock()
_compiled: set[tuple[Purpose, torch.dtype]] = set()
_failure: str | None = None


def load(purpose: Purpose, dtype: torch.dtype) -> ModuleType | None:
    """Return the module `soctk.pooling.fast.kernels`, compiled for a purpose; or None if that fails.

    The first call for each purpose and dtype computes a tiny example. This imports numba, compiles the kernels, and
    reads and writes numba's cache; later calls of the kernels do none of this, so they cannot fail for these reasons.
    After one failure all calls return None.

    Args:
        purpose: the kernels to compile: `eigh`, `log`, or `log and gradient`.
        dtype: the dtype of the tensors that will be given to the kernels.

    Warns:
        RuntimeWarning: numba is installed, but the kernels fail; given once per process, with the cause.
    """
    with _lock:
        if _failure is None and (purpose, dtype) not in _compiled:
            _compile(purpose, dtype)
    return None if _failure is not None else import_module("soctk.pooling.fast.kernels")


def _compile(purpose: Purpose, dtype: torch.dtype) -> None:
    global _failure
    try:
        kernels = import_module("soctk.pooling.fast.kernels")
        example = torch.eye(2, dtype=dtype, device="cpu")[None]
        if purpose == "eigh":
            kernels.eigh(example)
        else:
            slices = Slices.of_batch(example, torch.tensor([2], device="cpu"))
            example = example.flatten(0, 1).unsqueeze(1)
            triangles, _, saved = kernels.log_of_covariance(example, slices, (0.0, 1e-5, 1.0, 1e-5))
            if purpose == "log and gradient":
                kernels.gradient_of_log(triangles, example, slices, saved)
        _compiled.add((purpose, dtype))
    except Exception as error:  # numba, LLVM, pickle and the file system raise errors of many kinds
        _failure = f"{type(error).__name__}: {error}"
        if isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] in _OPTIONAL:
            return  # without the extra `fast`, torch is the expected way
        remedy = (
            "Install compatible versions: pip install 'soctk[fast]'."
            if isinstance(error, ImportError)
            else f"Check that their cache folder, {folder()}, is writable and has space, or delete it."
        )
        warnings.warn(
            f"numba's kernels do not work, so soctk computes with torch alone, which is slower ({_failure}). {remedy}",
            RuntimeWarning,
            stacklevel=2,
        )
