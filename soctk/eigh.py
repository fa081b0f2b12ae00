"""Eigendecompositions of batches of symmetric matrices: on CPU, of small ones eight at a time, and by all threads.

torch has LAPACK take one matrix after another, whose rows are too short for what a processor's vectors could do. Here each
element of a vector belongs to another matrix, so that all of it is used at any size (tests/bench/README.md). The algorithm
is the textbook's: Householder's tridiagonalisation and QL with implicit shifts (Golub & Van Loan, Matrix Computations, 8.3;
Bowdler, Martin, Reinsch & Wilkinson 1968).
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ctypes import CDLL
from functools import cache

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

from soctk.simd import LANES, by_lanes, kernel, where

_MAX_SIZE = 192  # beyond it eight matrices are too much for a processor's caches, and LAPACK is as fast
_MIN_BATCH = 3  # below it most of the eight are missing
_MIN_SIZE_FOR_THREADS = 48  # below it a batch is decomposed sooner than a thread wakes up

# The largest element is between 1/2 and 1; off the diagonal, what is below this counts as 0. As in LAPACK, errors are
# relative to the largest eigenvalue.
_NEGLIGIBLE = 2.0**-53
_MAX_SWEEPS = 30  # for each eigenvalue, as in LAPACK; two are usual


def eigh(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return eigenvalues `(B, D)`, in no order, and eigenvectors `(B, D, D)`, in columns, of matrices `(B, D, D)`.

    The matrices are symmetric; their lower triangles are read. On CPU small ones are decomposed in double precision
    whatever their dtype, and what comes out for one does not depend on the others, bit for bit.

    Raises:
        torch.linalg.LinAlgError: elements are NaN or infinite.
    """
    if matrices.device.type != "cpu" or len(matrices) == 1:
        return tuple(torch.linalg.eigh(matrices))
    batch, size = matrices.shape[:2]
    threads = torch.get_num_threads()
    side_by_side = batch >= _MIN_BATCH and size <= _MAX_SIZE
    decompose, step = (_side_by_side, LANES) if side_by_side else (_one_by_one, -(-batch // (4 * threads)))
    spectrum, vectors = matrices.new_empty(batch, size), matrices.new_empty(matrices.shape)

    def work(start: int) -> None:
        decompose(*(tensor[start : start + step] for tensor in (matrices, spectrum, vectors)))

    starts = range(0, batch, step)
    if size < _MIN_SIZE_FOR_THREADS:
        for start in starts:
            work(start)
    else:
        _share(work, starts, threads)
    return spectrum, vectors


def _one_by_one(matrices: torch.Tensor, spectrum: torch.Tensor, vectors: torch.Tensor) -> None:
    spectrum[:], vectors[:] = torch.linalg.eigh(matrices)


def _side_by_side(matrices: torch.Tensor, spectrum: torch.Tensor, vectors: torch.Tensor) -> None:
    """Decompose up to eight matrices."""
    size = matrices.shape[1]
    # Loops that are unrolled run over the end; and rows of an odd length do not all begin in the same line of a cache.
    workspace = torch.empty(2 * size + 11, (size + 3) | 1, LANES, dtype=torch.float64)
    arrays = (tensor.detach().contiguous().numpy() for tensor in (matrices, spectrum, vectors, workspace))
    if not _decompose(*arrays, _MAX_SWEEPS * size):
        raise torch.linalg.LinAlgError("no eigenvalues: elements are NaN or infinite")


@kernel
def _decompose(matrices, spectrum, vectors, workspace, max_sweeps):
    """Return whether all converge within `max_sweeps`. Lanes beyond the last matrix repeat it."""
    batch, size = spectrum.shape
    a, q, rows = workspace[: size + 1], workspace[size + 1 : 2 * size + 4], workspace[2 * size + 4 :]
    workspace[size:] = 0.0
    for lane in range(LANES):
        matrix = matrices[min(lane, batch - 1)]
        scale = math.ldexp(1.0, -_exponent(matrix))
        for i in range(size):
            q[i, i, lane] = 1.0
            for j in range(i + 1):
                a[i, j, lane] = matrix[i, j] * scale
    _tridiagonalise(size, by_lanes(a), rows)
    _accumulate(size, by_lanes(a), by_lanes(q), rows)
    converged = _diagonalise(size, by_lanes(q), rows, max_sweeps)
    for lane in range(batch):
        scale = math.ldexp(1.0, _exponent(matrices[lane]))
        for i in range(size):
            spectrum[lane, i] = rows[0, i, lane] * scale
            for j in range(size):
                vectors[lane, i, j] = q[i, j, lane]
    return converged


@kernel
def _exponent(matrix):
    """Return that of the largest element, so that neither it nor its inverse overflows."""
    largest = 0.0
    for i in range(len(matrix)):
        for j in range(i + 1):
            largest = max(largest, abs(matrix[i, j]))
    return min(max(math.frexp(largest)[1], -1000), 1000)


@kernel
def _tridiagonalise(size, a, rows):
    """Turn A into T = Q'AQ: its diagonal into row 0, what is beside it into row 1.

    Q is the product of H_k = I - tau_k u_k u_k': tau into row 2, u into the columns of A below the diagonal. The update
    A - v w' - w v' of one step is made in the next, in the one pass over A that its product with u needs.
    """
    d, e, tau, u, p, v, w = (by_lanes(rows), by_lanes(rows[1:]), by_lanes(rows[2:]), by_lanes(rows[3:]), by_lanes(rows[4:]), by_lanes(rows[5:]), by_lanes(rows[6:]))  # fmt: skip
    for k in range(size - 1):
        d[k] = a[k, k] - 2.0 * v[k] * w[k]
        square = 0.0 * d[k]
        for j in range(k + 1, size):
            u[j] = a[j, k] - v[j] * w[k] - w[j] * v[k]
            square += u[j] * u[j]
        first = u[k + 1]
        turns = square - first * first > 0.0
        e[k] = where(turns, math.copysign(math.sqrt(square), -1.0 * first), first)
        tau[k] = where(turns, 1.0 - first / e[k], 0.0)
        factor = where(turns, 1.0 / (first - e[k]), 0.0)
        u[k + 1] = a[k + 1, k] = 1.0 + 0.0 * factor
        for j in range(k + 2, size):
            u[j] *= factor
            a[j, k] = u[j]
        _update_and_multiply(k + 1, size, a, u, p, v, w)
        product = 0.0 * factor
        for j in range(k + 1, size):
            product += p[j] * u[j]
        for j in range(k + 1, size):
            v[j] = u[j]
            w[j] = tau[k] * (p[j] - 0.5 * tau[k] * product * u[j])
    last = size - 1
    d[last] = a[last, last] - 2.0 * v[last] * w[last]


@kernel
def _update_and_multiply(start, size, a, u, p, v, w):
    """From row and column `start` on, set A to A - v w' - w v' and p to A u, two rows at a time."""
    for i in range(start, size, 2):
        u0, v0, w0, p0 = u[i], v[i], w[i], 0.0 * u[i]
        u1, v1, w1, p1 = u[i + 1], v[i + 1], w[i + 1], 0.0 * u[i]
        for j in range(start, i):
            uj, vj, wj = u[j], v[j], w[j]
            a0 = a[i, j] - v0 * wj - w0 * vj
            a1 = a[i + 1, j] - v1 * wj - w1 * vj
            a[i, j] = a0
            a[i + 1, j] = a1
            p0 += a0 * uj
            p1 += a1 * uj
            p[j] += a0 * u0 + a1 * u1
        a[i, i] -= 2.0 * v0 * w0
        a[i + 1, i] -= v1 * w0 + w1 * v0
        a[i + 1, i + 1] -= 2.0 * v1 * w1
        p[i] = p0 + a[i, i] * u0 + a[i + 1, i] * u1
        p[i + 1] = p1 + a[i + 1, i] * u0 + a[i + 1, i + 1] * u1


@kernel
def _accumulate(size, a, q, rows):
    """Turn the identity Q into H_0 H_1 ..., four columns at a time."""
    tau = by_lanes(rows[2:])
    for k in range(size - 2, -1, -1):
        for j in range(k + 1, size, 4):
            s0 = s1 = s2 = s3 = 0.0 * tau[k]
            for i in range(k + 1, size):
                u = a[i, k]
                s0 += u * q[i, j]
                s1 += u * q[i, j + 1]
                s2 += u * q[i, j + 2]
                s3 += u * q[i, j + 3]
            s0 *= tau[k]
            s1 *= tau[k]
            s2 *= tau[k]
            s3 *= tau[k]
            for i in range(k + 1, size):
                u = a[i, k]
                q[i, j] -= u * s0
                q[i, j + 1] -= u * s1
                q[i, j + 2] -= u * s2
                q[i, j + 3] -= u * s3


@kernel
def _diagonalise(size, q, rows, max_sweeps):
    """Turn T into its eigenvalues and the columns of Q into A's eigenvectors; return whether that took few sweeps.

    The eigenvalues come out from the top. Each lane has its own end, the first row that is not done: all lanes
    sweep from the bottom to the farthest one, in rotations by 0 beyond their own.
    """
    d, e, cosine, sine = by_lanes(rows), by_lanes(rows[1:]), by_lanes(rows[3:]), by_lanes(rows[4:])
    ends, shifted = by_lanes(rows[5:]), by_lanes(rows[6:])
    rows[5] = 0.0
    for _ in range(max_sweeps):
        end = size - 1
        for lane in range(LANES):
            rows[5, 0, lane] = own = _advance(size, rows[1, :, lane], int(rows[5, 0, lane]))
            rows[6, 0, lane] = _shifted(size, rows[0, :, lane], rows[1, :, lane], own)
            end = min(end, own)
        if end == size - 1:
            return True
        g, p, at = shifted[0], 0.0 * shifted[0], 0.0 * shifted[0] + (size - 2.0)
        c = s = 1.0 + p
        for i in range(size - 2, end - 1, -1):
            f, b = s * e[i], c * e[i]
            r = math.sqrt(f * f + g * g)
            turns = (at >= ends[0]) & (r > 0.0)
            at -= 1.0
            e[i + 1] = where(turns, r, g)
            c, s = where(turns, g / r, 1.0), where(turns, f / r, 0.0)
            cosine[i], sine[i] = c, s
            g = d[i + 1] - p
            r = (d[i] - g) * s + 2.0 * c * b
            p = s * r
            d[i + 1] = g + p
            g = c * r - b
        d[end] -= p
        e[end] = g
        _rotate(size, end, q, cosine, sine)
    return False


@kernel
def _advance(size, e, own):
    """Return the first row from `own` on whose element beside the diagonal is not negligible; the last one, if none is."""
    while own < size - 1 and abs(e[own]) <= _NEGLIGIBLE:
        own += 1
    return own


@kernel
def _shifted(size, d, e, own):
    """Return the last element of T less Wilkinson's shift: the eigenvalue of the 2 x 2 block at `own` next to d[own]."""
    if own == size - 1:
        return 0.0
    half = (d[own + 1] - d[own]) / (2.0 * e[own])
    return d[size - 1] - d[own] + e[own] / (half + math.copysign(math.sqrt(half * half + 1.0), half))


@kernel
def _rotate(size, end, q, cosine, sine):
    """Rotate neighbouring columns of Q, from the last to `end`, four rows at a time."""
    for k in range(0, size, 4):
        h0, h1, h2, h3 = q[k, size - 1], q[k + 1, size - 1], q[k + 2, size - 1], q[k + 3, size - 1]
        for i in range(size - 2, end - 1, -1):
            c, s = cosine[i], sine[i]
            f0, f1, f2, f3 = q[k, i], q[k + 1, i], q[k + 2, i], q[k + 3, i]
            q[k, i + 1] = s * f0 + c * h0
            q[k + 1, i + 1] = s * f1 + c * h1
            q[k + 2, i + 1] = s * f2 + c * h2
            q[k + 3, i + 1] = s * f3 + c * h3
            h0, h1, h2, h3 = c * f0 - s * h0, c * f1 - s * h1, c * f2 - s * h2, c * f3 - s * h3
        q[k, end], q[k + 1, end], q[k + 2, end], q[k + 3, end] = h0, h1, h2, h3


def _share(work: Callable[[int], None], starts: range, threads: int) -> None:
    """Call `work` for each start; whichever thread is free takes the next."""
    pending = list(starts)

    def take() -> None:
        while True:
            try:
                start = pending.pop()
            except IndexError:
                return
            work(start)

    # Or else torch's own threads, idle after an operation, would spin for some ms on the cores that ours need.
    for library in _openmp_libraries():
        library.omp_pause_resource_all(1)  # omp_pause_soft: the next operation makes them anew
    helpers = [_workers(threads).submit(take) for _ in range(min(threads, len(pending)) - 1)]
    torch.set_num_threads(1)
    try:
        take()
        for helper in helpers:
            if not helper.cancel():  # it has begun
                helper.result()
    finally:
        torch.set_num_threads(threads)


@cache
def _openmp_libraries() -> list[CDLL]:
    """Return those that are loaded, as far as they can pause (OpenMP 5.0)."""
    libraries = [each.dynlib for each in ThreadpoolController().select(user_api="openmp").lib_controllers]
    return [library for library in libraries if hasattr(library, "omp_pause_resource_all")]


@cache
def _workers(threads: int) -> ThreadPoolExecutor:
    """Return the threads that share a batch with the caller's."""

    def use_one_thread() -> None:
        torch.get_num_threads()  # the first call in a thread sets it to the process's number
        torch.set_num_threads(1)

    return ThreadPoolExecutor(threads - 1, thread_name_prefix="soctk-eigh", initializer=use_one_thread)
