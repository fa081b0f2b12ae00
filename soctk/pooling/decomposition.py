"""Eigendecompositions of a batch of symmetric matrices, by the fastest method for their size and device."""

import os

import torch

from soctk.pooling import fast
from soctk.pooling.threads import share

_FASTER_ON_CPU = range(33, fast.MAX_SIZE + 1)  # D of matrices on a GPU


def eigh(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the eigenvalues `(B, D)`, unsorted, and the eigenvectors `(B, D, D)`, in columns.

    On a CPU, batches of small matrices go to `soctk.pooling.fast`. Large matrices go to LAPACK, one thread for each,
    because LAPACK gains little or nothing from several threads within one matrix. A GPU decomposes matrices of medium
    size one after the other, so the CPU is faster in spite of the copies (tests/bench/README.md).

    Args:
        matrices: `(B, D, D)`, symmetric; only their lower triangles are read.

    Raises:
        torch.linalg.LinAlgError: elements are NaN or infinite.
    """
    batch, size = matrices.shape[:2]
    if matrices.is_cuda and size in _FASTER_ON_CPU:
        threads = torch.get_num_threads()
        torch.set_num_threads(os.cpu_count() or 1)  # training on a GPU has one thread
        try:
            spectrum, vectors = eigh(matrices.cpu())
        finally:
            torch.set_num_threads(threads)
        return spectrum.to(matrices.device), vectors.to(matrices.device)
    if matrices.device.type != "cpu" or batch <= 2:
        spectrum, vectors = torch.linalg.eigh(matrices)
        return spectrum, vectors
    if size <= fast.MAX_SIZE and (kernels := fast.load("eigh", matrices.dtype)) is not None:
        return kernels.eigh(matrices)
    spectrum, vectors = matrices.new_empty(batch, size), torch.empty_like(matrices)
    step = -(-batch // (4 * torch.get_num_threads()))
    is_small = size < 32  # waking a thread would take longer than the whole batch

    def work(start: int) -> None:
        part = slice(start, start + step)
        with torch.inference_mode():
            spectrum[part], vectors[part] = torch.linalg.eigh(matrices[part])

    share(work, range(0, batch, step), alone=is_small)
    return spectrum, vectors
