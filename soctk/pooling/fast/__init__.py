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

MAX_SIZE = 256  # of a matrix: eight larger ones do not fit a processor's caches, and LAPACK is as fast

_OPTIONAL = ("numba", "llvmlite")  # the packages of the extra `fast`

Purpose = Literal["eigh", "log", "log and gradient"]

_lock = threading.Lock()
_compiled: set[tuple[Purpose, torch.dtype]] = set()
_failure: str | None = None


def load(purpose: Purpose, dtype: torch.dtype) -> ModuleType | None:
    """Return the module `soctk.pooling.fast.kernels`, compiled for a purpose; or None where that fails.

    The first call for each purpose and dtype computes a tiny example. This imports numba, compiles the kernels, and
    reads and writes numba's cache; later calls of the kernels do none of these, so they cannot fail for those reasons.
    After one failure all calls return None.

    Args:
        purpose: `eigh`, `log`, or `log and gradient`: the kernels that are needed.
        dtype: of the tensors that the kernels will take.

    Warns:
        RuntimeWarning: numba is installed, but the kernels fail; once per process, with the cause.
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
            lengths = torch.tensor([2], device="cpu")
            triangles, _, saved = kernels.log_of_covariance(example, lengths, (0.0, 1e-5, 1.0, 1e-5))
            if purpose == "log and gradient":
                kernels.gradient_of_log(triangles, example, lengths, saved)
        _compiled.add((purpose, dtype))
    except Exception as error:  # numba, LLVM, pickle and the file system raise errors of many kinds
        _failure = f"{type(error).__name__}: {error}"
        if isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] in _OPTIONAL:
            return  # the user has chosen to do without the extra `fast`
        remedy = (
            "Install the versions of soctk[fast]."
            if isinstance(error, ImportError)
            else f"Check that the folder of their cache, {folder()}, can be written and has space, or delete it."
        )
        warnings.warn(
            f"soctk computes by torch alone, which is slower: numba's kernels do not work ({_failure}). {remedy}",
            RuntimeWarning,
            stacklevel=2,
        )
