"""Kernels that numba compiles for CPUs: each works on eight small matrices at once.

torch calls LAPACK for one matrix after another, and the rows of small matrices are too short for the processor's vector
instructions. Here each lane of a vector belongs to a different matrix, so the vectors are full at any size
(tests/bench/README.md). All work is in float64, whatever dtype comes in. The result for one matrix does not depend on
the other matrices of the batch, bit for bit.

Arrays are `(rows, columns, 8)`. Unrolled loops write up to 3 rows and columns past the end; arrays are padded by _ROOM.
The number of columns is odd: rows that are a power of two apart would share few lines of the processor's cache.

`soctk.pooling.fast.load` imports this module; nothing else should, because numba may be missing.
"""

# The type checker does not know what numba makes of these functions.
# mypy: disable-error-code="var-annotated, call-arg"

import math
import threading
from collections.abc import Callable

import numpy as np
import torch

from soctk.pooling.fast.simd import LANES, by_lanes, fma, kernel, where
from soctk.pooling.frames import Slices
from soctk.pooling.regularisation import regularise
from soctk.pooling.threads import share

_MIN_SIZE_FOR_THREADS = 48  # for smaller matrices, waking a thread takes longer than the work
_ROOM = 3  # rows and columns past the end, for loops that take four at a time

# Blocks that fit the fastest cache: columns in a product, and sweeps of QL that are applied to Q together.
_DEPTH = 64
_KEPT = 4

# Matrices are scaled to a norm of about 1 before their decomposition. Elements off the diagonal that are smaller than
# this count as 0: as in LAPACK, errors are relative to the largest eigenvalue.
_NEGLIGIBLE = 2.0**-53
_MAX_SWEEPS = 30  # for each eigenvalue, as in LAPACK; two are typical
# Rows of the workspace of a decomposition. Once A is tridiagonal, QL reuses the rows of tau, u and v.
_DIAGONAL, _BESIDE, _TAU, _U, _V, _W, _P = range(7)
_TOP, _BOTTOM, _SHIFTED, _COSINE = range(2, 6)
_SINE = _COSINE + _KEPT
_ROWS = _SINE + _KEPT

# Rows that the forward pass saves for the gradient, below the eigenvectors.
_SPECTRUM, _REGULARISED, _LOGARITHMS, _MEAN, _TERMS = range(5)
_SAVED = 5

_SILENCE = 1e-290  # the inverse of a smaller sum of squares overflows

_thread = threading.local()


def eigh(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the eigenvalues `(B, D)`, unsorted, and the eigenvectors `(B, D, D)`, in columns.

    Args:
        matrices: `(B, D, D)`, symmetric; only their lower triangles are read.

    Raises:
        torch.linalg.LinAlgError: elements are NaN or infinite.
    """
    batch, size = matrices.shape[:2]
    spectrum, vectors = matrices.new_empty(batch, size), matrices.new_empty(matrices.shape)

    def work(first: int, stop: int) -> None:
        workspace = _workspace((size + _ROOM, size), (size + _ROOM, size), (_ROWS, size))
        for start in range(first * LANES, min(stop * LANES, batch), LANES):
            part = slice(start, start + LANES)
            _require(_eigh(*_numpy(matrices[part], spectrum[part], vectors[part]), *workspace, _MAX_SWEEPS * size))

    _share_groups(work, batch, size)
    return spectrum, vectors


def log_of_covariance(
    frames: torch.Tensor, slices: Slices, regularisation: tuple[float, float, float, float]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the upper triangles of the logarithms of the regularised covariances of B slices of frames.

    Args:
        frames: `(R, N, D)`.
        slices: B slices of the frames, on the CPU.
        regularisation: the last four arguments of `regularise`.

    Returns:
        The triangles, row by row, `(B, D(D+1)/2)`; tr X'X `(B,)` of the centred frames X; and the tensor that
        `gradient_of_log` needs. Where a trace is not finite, the triangles are undefined.
    """
    batch, size = len(slices.starts), frames.shape[2]
    triangles, squares = frames.new_empty(batch, size * (size + 1) // 2), frames.new_empty(batch, dtype=torch.float64)
    saved = frames.new_empty(-(-batch // LANES), size + _ROOM + _SAVED, _columns(size), LANES, dtype=torch.float64)
    arrays = _numpy(frames, *_long(slices), triangles, squares, saved)

    def work(first: int, stop: int) -> None:
        workspace = _workspace((size + _ROOM, max(size, _DEPTH)), (size + _ROOM, size), (_ROWS, size))
        _require(_logs_of_covariances(first, stop, *arrays, *workspace, *regularisation, _MAX_SWEEPS * size))

    _share_groups(work, batch, size)
    return triangles, squares, saved


def gradient_of_log(gradient: torch.Tensor, frames: torch.Tensor, slices: Slices, saved: torch.Tensor) -> torch.Tensor:
    """Return the gradient `(R, N, D)` for the frames; it is 0 outside the slices, which must not overlap.

    In memory it is `(N, D, R)`, the layout that the gradient of the projection reads without a copy.

    Args:
        gradient: the gradient `(B, D(D+1)/2)` for the triangles.
        frames: as given to `log_of_covariance`.
        slices: as given to `log_of_covariance`.
        saved: the third result of `log_of_covariance`.
    """
    batch, (rows, blocks, size) = len(slices.starts), frames.shape
    grad_frames = frames.new_zeros(blocks, size, rows)
    arrays = _numpy(gradient, frames, *_long(slices), saved, grad_frames)

    def work(first: int, stop: int) -> None:
        square, wide, tall = (size, size), (size, max(size, _DEPTH)), (_DEPTH, size)
        workspace = _workspace(*((rows + _ROOM, columns) for rows, columns in (square, wide, square, tall)))
        _gradients_of_logs(first, stop, *arrays, *workspace)

    _share_groups(work, batch, size)
    return grad_frames.permute(2, 0, 1)


def _long(slices: Slices) -> list[torch.Tensor]:
    return [numbers.long() for numbers in slices]


def _share_groups(work: Callable[[int, int], None], batch: int, size: int) -> None:
    """Call `work(first, stop)` for groups of eight matrices: for all small ones at once, for large ones in threads."""
    groups = -(-batch // LANES)
    if size < _MIN_SIZE_FOR_THREADS:
        work(0, groups)
    else:
        share(lambda number: work(number, number + 1), range(groups), caller_works=True)


def _require(converged: bool) -> None:
    if not converged:
        raise torch.linalg.LinAlgError("no eigenvalues: elements are NaN or infinite")


def _numpy(*tensors: torch.Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _columns(columns: int) -> int:
    return (columns + _ROOM + 1) | 1


def _workspace(*shapes: tuple[int, int]) -> list[np.ndarray]:
    """Return an array for each (rows, columns), in memory that the thread reuses, because allocation takes time."""
    if getattr(_thread, "shapes", None) != shapes:
        padded = [(rows, _columns(columns), LANES) for rows, columns in shapes]
        sizes = [math.prod(shape) for shape in padded]
        if not hasattr(_thread, "memory") or len(_thread.memory) < sum(sizes):
            # torch aligns memory for vector instructions; numpy does not. The memory outlives a block of
            # inference_mode.
            with torch.inference_mode(False):
                _thread.memory = torch.empty(sum(sizes), dtype=torch.float64, device="cpu")
        parts = _thread.memory[: sum(sizes)].split(sizes)
        _thread.arrays = [part.view(shape).numpy() for part, shape in zip(parts, padded, strict=True)]
        _thread.shapes = shapes
    return _thread.arrays


# In a group of fewer than eight matrices, the remaining lanes repeat the last matrix.


@kernel
def _eigh(matrices, spectrum, vectors, a, q, rows, max_sweeps):
    """Write the eigenvalues and eigenvectors; return False if they did not converge or are not finite."""
    batch, size = spectrum.shape
    for lane in range(LANES):
        matrix = matrices[min(lane, batch - 1)]
        scale = math.ldexp(1.0, -_exponent(matrix))
        for i in range(size):
            for j in range(i + 1):
                a[i, j, lane] = matrix[i, j] * scale
    converged = _decompose(size, a, q, rows, max_sweeps)
    for lane in range(batch):
        scale = math.ldexp(1.0, _exponent(matrices[lane]))
        for i in range(size):
            spectrum[lane, i] = rows[0, i, lane] * scale
            for j in range(size):
                vectors[lane, i, j] = q[i, j, lane]
    return converged and np.isfinite(spectrum).all()


@kernel
def _exponent(matrix):
    """Return the binary exponent of the Frobenius norm, within -1000..1000 so that 2^exponent has an inverse.

    The sum of squares is scaled by the largest element, so it does not overflow.
    """
    size = len(matrix)
    largest = 0.0
    for i in range(size):
        for j in range(i + 1):
            largest = max(largest, abs(matrix[i, j]))
    exponent = min(max(math.frexp(largest)[1], -1000), 1000)
    scale, squares = math.ldexp(1.0, -exponent), 0.0
    for i in range(size):
        for j in range(i + 1):
            squares += (1.0 if i == j else 2.0) * (matrix[i, j] * scale) ** 2
    return min(max(exponent + math.frexp(math.sqrt(squares))[1], -1000), 1000)


_regularise = kernel(regularise)


@kernel
def _logs_of_covariances(
    first,
    stop,
    frames,
    starts,
    blocks,
    lengths,
    triangles,
    squares,
    saved,
    product,
    a,
    rows,
    shrinkage,
    eps,
    per_trace,
    floor,
    max_sweeps,
):
    """Call `_log_of_covariance` for the groups of eight slices from `first` to `stop`."""
    converged = True
    for number in range(first, stop):
        own = slice(number * LANES, (number + 1) * LANES)
        done = _log_of_covariance(
            frames,
            starts[own],
            blocks[own],
            lengths[own],
            triangles[own],
            squares[own],
            saved[number],
            product,
            a,
            rows,
            shrinkage,
            eps,
            per_trace,
            floor,
            max_sweeps,
        )
        converged = converged and done
    return converged


@kernel
def _log_of_covariance(
    frames,
    starts,
    blocks,
    lengths,
    triangles,
    squares,
    saved,
    product,
    a,
    rows,
    shrinkage,
    eps,
    per_trace,
    floor,
    max_sweeps,
):
    """Write triangles, squares and saved; return False if the eigenvalues did not converge although squares are finite.

    With X'X = Q diag(s) Q' and its regularisation a X'X + r I, the logarithm is Q diag(log(a s + r)) Q'.
    """
    batch, size = triangles.shape[0], frames.shape[2]
    q, saved_rows = saved[:-_SAVED], saved[-_SAVED:]
    _scaled_gram(frames, starts, blocks, lengths, product, a, saved_rows[_MEAN:], rows)
    squares[:] = rows[0, 0, :batch]
    if not np.isfinite(squares).all():
        return True
    converged = _decompose(size, a, q, rows, max_sweeps)
    for lane in range(LANES):
        own = min(lane, batch - 1)
        scale, ridge, scale_slope, ridge_slope = _regularise(
            squares[own], max(lengths[own] - 1, 1), size, shrinkage, eps, per_trace, floor
        )
        for j in range(size):
            s = max(rows[0, j, lane], 0.0) * (squares[own] if squares[own] > _SILENCE else 1.0)
            saved_rows[_SPECTRUM, j, lane] = s
            saved_rows[_REGULARISED, j, lane] = scale * s + ridge
            saved_rows[_LOGARITHMS, j, lane] = math.log(scale * s + ridge)
        saved_rows[_TERMS, 0, lane] = scale
        saved_rows[_TERMS, 1, lane] = scale_slope
        saved_rows[_TERMS, 2, lane] = ridge_slope
    _scale_columns(size, by_lanes(a), by_lanes(q), by_lanes(saved_rows[_LOGARITHMS:]))
    _multiply(size, size, size, by_lanes(product), by_lanes(a), by_lanes(q), True)
    k = 0
    for j in range(size):
        for i in range(j, size):
            for lane in range(batch):
                triangles[lane, k] = product[i, j, lane]
            k += 1
    return converged


@kernel
def _scaled_gram(frames, starts, blocks, lengths, part, a, mean, rows):
    """Write X'X / tr X'X into A, tr X'X into rows[0, 0], and the mean m into `mean`, for the centred frames X.

    With y_t = x_t - x_1 and m their mean, X'X = sum_t y_t y_t' - T m m', as in `soctk.pooling.spd.covariance`.
    """
    batch, size, time = len(lengths), frames.shape[2], lengths.max()
    a[:] = 0.0
    part[size:] = 0.0
    mean[0] = 0.0
    for start in range(0, time, _DEPTH):
        columns = min(_DEPTH, time - start)
        for lane in range(LANES):
            own = min(lane, batch - 1)
            first, block = starts[own], blocks[own]
            inside = min(columns, lengths[own] - start)
            for t in range(inside):
                for j in range(size):
                    part[j, t, lane] = np.float64(frames[first + start + t, block, j]) - frames[first, block, j]
            for t in range(max(inside, 0), columns):
                for j in range(size):
                    part[j, t, lane] = 0.0
        _add_sums(size, columns, by_lanes(mean), by_lanes(part))
        _add_product(size, size, by_lanes(a), by_lanes(part), by_lanes(part), 0, columns, True)
    for lane in range(LANES):
        rows[0, 0, lane] = lengths[min(lane, batch - 1)]
    _centre_and_scale(size, by_lanes(a), by_lanes(mean), by_lanes(rows))


@kernel
def _add_sums(size, columns, sums, part):
    for j in range(size):
        total = sums[j]
        for t in range(columns):
            total += part[j, t]
        sums[j] = total


@kernel
def _centre_and_scale(size, a, mean, row):
    """Turn sums over time into means; subtract T m m' from A; divide A by its trace, and write the trace into row[0].

    row[0] holds the number of frames T at first.
    """
    count, trace = row[0], 0.0 * row[0]
    for i in range(size):
        mean[i] /= count
        for j in range(i + 1):
            a[i, j] -= count * mean[i] * mean[j]
        trace += a[i, i]
    row[0] = trace
    factor = where(trace > _SILENCE, 1.0 / trace, 1.0)
    for i in range(size):
        for j in range(i + 1):
            a[i, j] *= factor


@kernel
def _gradients_of_logs(
    first, stop, gradient, frames, starts, blocks, lengths, saved, grad_frames, g, product, transposed, part
):
    """Call `_gradient_of_log` for the groups of eight slices from `first` to `stop`."""
    for number in range(first, stop):
        own = slice(number * LANES, (number + 1) * LANES)
        _gradient_of_log(
            gradient[own],
            frames,
            starts[own],
            blocks[own],
            lengths[own],
            saved[number],
            grad_frames,
            g,
            product,
            transposed,
            part,
        )


@kernel
def _gradient_of_log(gradient, frames, starts, blocks, lengths, saved, grad_frames, g, product, transposed, part):
    """Write the gradient X M for the frames, M = Q (a L * (Q'GQ) + c I) Q', L as in `_multiply_by_slopes`.

    G is the incoming gradient plus its transpose, which contains the factor 2 of the gradient of X'X. c is the gradient
    of tr X'X, on which a and r depend.
    """
    size = frames.shape[2]
    q, saved_rows = saved[:-_SAVED], saved[-_SAVED:]
    g[size:] = 0.0
    transposed[size:] = 0.0
    k = 0
    for j in range(size):
        for i in range(j, size):
            for lane in range(LANES):
                own = gradient[min(lane, len(gradient) - 1), k]
                g[i, j, lane] = g[j, i, lane] = own * (2.0 if i == j else 1.0)
            k += 1
    _transpose(size, by_lanes(transposed), by_lanes(q))
    _multiply(size, size, size, by_lanes(product), by_lanes(transposed), by_lanes(g), False)
    _multiply(size, size, size, by_lanes(g), by_lanes(product), by_lanes(transposed), True)
    _multiply_by_slopes(size, by_lanes(g), by_lanes(saved_rows[_REGULARISED:]), by_lanes(saved_rows[_LOGARITHMS:]))
    _add_trace(size, by_lanes(g), by_lanes(saved_rows[_SPECTRUM:]), by_lanes(saved_rows[_TERMS:]))
    _multiply(size, size, size, by_lanes(product), by_lanes(q), by_lanes(g), False)
    _multiply(size, size, size, by_lanes(g), by_lanes(product), by_lanes(q), True)
    _mirror(size, by_lanes(g))
    _multiply_frames(frames, starts, blocks, lengths, saved_rows[_MEAN:], g, product, part, grad_frames)


@kernel
def _add_trace(size, g, spectrum, terms):
    """Turn G = L * (Q'GQ) into a G + c I; the terms are a and the derivatives of a and r with respect to tr X'X."""
    scale, scale_slope, ridge_slope = terms[0], terms[1], terms[2]
    grad_squares = 0.0
    for j in range(size):
        grad_squares += g[j, j] * (scale_slope * spectrum[j] + ridge_slope)
    for i in range(size):
        for j in range(size):
            g[i, j] *= scale
        g[i, i] += grad_squares


@kernel
def _multiply_frames(frames, starts, blocks, lengths, mean, g, product, part, grad_frames):
    """Write M (x - x_1 - m) for each frame x, M in `g`."""
    batch, size, time = len(lengths), frames.shape[2], lengths.max()
    for start in range(0, time, _DEPTH):
        count = min(_DEPTH, time - start)
        for lane in range(LANES):
            own = min(lane, batch - 1)
            first, block = starts[own], blocks[own]
            inside = min(count, lengths[own] - start)
            for t in range(inside):
                for j in range(size):
                    shifted = np.float64(frames[first + start + t, block, j]) - frames[first, block, j]
                    part[t, j, lane] = shifted - mean[0, j, lane]
            for t in range(max(inside, 0), count):
                for j in range(size):
                    part[t, j, lane] = 0.0
        _multiply(size, count, size, by_lanes(product), by_lanes(g), by_lanes(part), False)
        for lane in range(batch):
            first, block = starts[lane] + start, blocks[lane]
            for i in range(size):
                for t in range(min(count, lengths[lane] - start)):
                    grad_frames[block, i, first + t] = product[i, t, lane]


@kernel
def _transpose(size, result, q):
    for i in range(size):
        for j in range(size):
            result[j, i] = q[i, j]


@kernel
def _mirror(size, g):
    for i in range(size):
        for j in range(i):
            g[j, i] = g[i, j]


@kernel
def _scale_columns(size, result, q, factors):
    for i in range(size):
        for j in range(size):
            result[i, j] = q[i, j] * factors[j]


@kernel
def _multiply_by_slopes(size, g, values, logarithms):
    """Multiply G elementwise by L_ij = (log a - log b) / (a - b), or 1/a where a = b; the lower triangle of G is read.

    For close values the quotient cancels, and a series replaces it: with z = (a - b)/(a + b),
    log a - log b = 2 artanh z = 2 (z + z^3/3 + z^5/5 + ...).
    """
    for i in range(size):
        for j in range(i + 1):
            difference, inverse = values[i] - values[j], 1.0 / (values[i] + values[j])
            square = (difference * inverse) * (difference * inverse)
            series = 2.0 * inverse * (1.0 + square * (1.0 / 3 + square * (1.0 / 5 + square * (1.0 / 7))))
            g[i, j] *= where(square > 4e-4, (logarithms[i] - logarithms[j]) / difference, series)
            g[j, i] = g[i, j]


@kernel
def _multiply(rows, columns, inner, c, a, b, lower):
    """Set C (rows x columns) to A B', A (rows x inner), B (columns x inner); with `lower` only its lower triangle."""
    for i in range(rows + _ROOM):
        for j in range(columns + _ROOM):
            c[i, j] = 0.0
    for start in range(0, inner, _DEPTH):
        _add_product(rows, columns, c, a, b, start, min(start + _DEPTH, inner), lower)


@kernel
def _add_product(rows, columns, c, a, b, start, stop, lower):
    """Add A B', summed over columns from `start` to `stop`, to C, or to its lower triangle only; 4 x 4 at a time."""
    for i in range(0, rows, 4):
        for j in range(0, i + 4 if lower else columns, 4):
            c00, c01, c02, c03 = c[i, j], c[i, j + 1], c[i, j + 2], c[i, j + 3]
            c10, c11, c12, c13 = c[i + 1, j], c[i + 1, j + 1], c[i + 1, j + 2], c[i + 1, j + 3]
            c20, c21, c22, c23 = c[i + 2, j], c[i + 2, j + 1], c[i + 2, j + 2], c[i + 2, j + 3]
            c30, c31, c32, c33 = c[i + 3, j], c[i + 3, j + 1], c[i + 3, j + 2], c[i + 3, j + 3]
            for k in range(start, stop):
                b0, b1, b2, b3 = b[j, k], b[j + 1, k], b[j + 2, k], b[j + 3, k]
                each = a[i, k]
                c00, c01, c02, c03 = c00 + each * b0, c01 + each * b1, c02 + each * b2, c03 + each * b3
                each = a[i + 1, k]
                c10, c11, c12, c13 = c10 + each * b0, c11 + each * b1, c12 + each * b2, c13 + each * b3
                each = a[i + 2, k]
                c20, c21, c22, c23 = c20 + each * b0, c21 + each * b1, c22 + each * b2, c23 + each * b3
                each = a[i + 3, k]
                c30, c31, c32, c33 = c30 + each * b0, c31 + each * b1, c32 + each * b2, c33 + each * b3
            c[i, j], c[i, j + 1], c[i, j + 2], c[i, j + 3] = c00, c01, c02, c03
            c[i + 1, j], c[i + 1, j + 1], c[i + 1, j + 2], c[i + 1, j + 3] = c10, c11, c12, c13
            c[i + 2, j], c[i + 2, j + 1], c[i + 2, j + 2], c[i + 2, j + 3] = c20, c21, c22, c23
            c[i + 3, j], c[i + 3, j + 1], c[i + 3, j + 2], c[i + 3, j + 3] = c30, c31, c32, c33


@kernel
def _decompose(size, a, q, rows, max_sweeps):
    """Write the eigenvalues of A into rows[0] and its eigenvectors into the columns of Q; return whether they converge.

    Householder's tridiagonalisation and QL with implicit shifts (Golub & Van Loan, Matrix Computations, 8.3; Bowdler,
    Martin, Reinsch & Wilkinson 1968). Only the lower triangle of A is read; all of A is overwritten.
    """
    a[size:] = 0.0
    q[:] = 0.0
    rows[:] = 0.0
    for i in range(size):
        for lane in range(LANES):
            q[i, i, lane] = 1.0
    _tridiagonalise(size, by_lanes(a), rows)
    _accumulate(size, by_lanes(a), by_lanes(q), by_lanes(rows[_TAU:]))
    return _diagonalise(size, by_lanes(q), rows, max_sweeps)


@kernel
def _tridiagonalise(size, a, rows):
    """Turn A into the tridiagonal T = Q'AQ, and write its diagonal and the elements beside it.

    Q is the product of H_k = I - tau_k u_k u_k'; u_k is kept in row k of A, above the diagonal. The update
    A - v w' - w v' of a step is delayed to the next step, so that one pass over A computes it and the product A u.
    """
    d, e, tau = by_lanes(rows[_DIAGONAL:]), by_lanes(rows[_BESIDE:]), by_lanes(rows[_TAU:])
    u, v, w, p = by_lanes(rows[_U:]), by_lanes(rows[_V:]), by_lanes(rows[_W:]), by_lanes(rows[_P:])
    for k in range(size - 1):
        d[k] = a[k, k] - 2.0 * v[k] * w[k]
        for j in range(k + 1, size):
            u[j] = a[j, k] - v[j] * w[k] - w[j] * v[k]
        first, rest, product = u[k + 1], 0.0 * u[k + 1], 0.0
        for j in range(k + 2, size):
            rest += u[j] * u[j]
        turns = rest > _SILENCE
        e[k] = where(turns, math.copysign(math.sqrt(first * first + rest), -first), first)
        tau[k] = where(turns, 1.0 - first / e[k], 0.0)
        factor = where(turns, 1.0 / (first - e[k]), 0.0)
        u[k + 1] = a[k, k + 1] = 1.0
        for j in range(k + 2, size):
            u[j] *= factor
            a[k, j] = u[j]
        _update_and_multiply(k + 1, size, a, u, v, w, p)
        for j in range(k + 1, size):
            product += p[j] * u[j]
        for j in range(k + 1, size):
            v[j] = u[j]
            w[j] = tau[k] * (p[j] - 0.5 * tau[k] * product * u[j])
    last = size - 1
    d[last] = a[last, last] - 2.0 * v[last] * w[last]


@kernel
def _update_and_multiply(start, size, a, u, v, w, p):
    """Set A to A - v w' - w v' and p to A u, for rows and columns from `start` on, two rows at a time."""
    for i in range(start, size, 2):
        u0, v0, w0, p0 = u[i], v[i], w[i], 0.0
        u1, v1, w1, p1 = u[i + 1], v[i + 1], w[i + 1], 0.0
        for j in range(start, i):
            a0 = a[i, j] - v0 * w[j] - w0 * v[j]
            a1 = a[i + 1, j] - v1 * w[j] - w1 * v[j]
            a[i, j], a[i + 1, j] = a0, a1
            p0 += a0 * u[j]
            p1 += a1 * u[j]
            p[j] += a0 * u0 + a1 * u1
        a[i, i] -= 2.0 * v0 * w0
        a[i + 1, i] -= v1 * w0 + w1 * v0
        a[i + 1, i + 1] -= 2.0 * v1 * w1
        p[i] = p0 + a[i, i] * u0 + a[i + 1, i] * u1
        p[i + 1] = p1 + a[i + 1, i] * u0 + a[i + 1, i + 1] * u1


@kernel
def _accumulate(size, a, q, tau):
    """Turn the identity Q into H_0 H_1 ..., four columns at a time, which stay in the fastest cache.

    The pass that multiplies by H_k also computes the products with the u of the next reflection.
    """
    for j in range(0, size, 4):
        s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
        for k in range(min(j + 2, size - 2), -1, -1):
            row, following = k + 1, max(k - 1, 0)
            t0, t1 = tau[k] * (s0 + q[row, j]), tau[k] * (s1 + q[row, j + 1])
            t2, t3 = tau[k] * (s2 + q[row, j + 2]), tau[k] * (s3 + q[row, j + 3])
            s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
            for i in range(row, size):
                u = a[k, i]
                q0, q1 = q[i, j] - u * t0, q[i, j + 1] - u * t1
                q2, q3 = q[i, j + 2] - u * t2, q[i, j + 3] - u * t3
                q[i, j], q[i, j + 1], q[i, j + 2], q[i, j + 3] = q0, q1, q2, q3
                u = a[following, i]
                s0, s1, s2, s3 = s0 + u * q0, s1 + u * q1, s2 + u * q2, s3 + u * q3


@kernel
def _diagonalise(size, q, rows, max_sweeps):
    """Turn T into its eigenvalues and the columns of Q into the eigenvectors of A; return False after `max_sweeps`.

    Eigenvalues converge from the top. Each lane has its own `top`, the first row that has not converged, and its own
    `bottom`, the end of the block that begins there; a sweep goes from bottom to top. In a row where
    only other lanes have work, a lane rotates by an angle of 0.
    """
    d, e, cosine, sine = rows[_DIAGONAL:], rows[_BESIDE:], by_lanes(rows[_COSINE:]), by_lanes(rows[_SINE:])
    tops, bottoms, shifts = rows[_TOP, 0], rows[_BOTTOM, 0], rows[_SHIFTED, 0]
    top, bottom, shifted = by_lanes(rows[_TOP:]), by_lanes(rows[_BOTTOM:]), by_lanes(rows[_SHIFTED:])
    ends, kept = np.empty(_KEPT, np.int64), 0
    tops[:] = 0.0
    for _ in range(max_sweeps):
        for lane in range(LANES):
            tops[lane] = _first_significant(e[0, :size, lane], int(tops[lane]))
        end = int(tops.min())
        if end == size - 1 or kept == _KEPT:
            _rotate(size, q, cosine, sine, ends[:kept])
            kept = 0
        if end == size - 1:
            return True
        bottom[0] = _first_negligible(size, by_lanes(e), top[0], end)
        for lane in range(LANES):
            shifts[lane] = _difference_to_shift(d[0, :, lane], e[0, :, lane], int(tops[lane]), int(bottoms[lane]))
        _sweep(size, by_lanes(d), by_lanes(e), top[0], bottom[0], shifted[0], end, cosine, sine, kept)
        ends[kept] = end
        kept += 1
    return False


@kernel
def _first_significant(e, start):
    """Return the first row from `start` on whose element beside the diagonal is not negligible, or the last row."""
    while start < len(e) - 1 and abs(e[start]) <= _NEGLIGIBLE:
        start += 1
    return start


@kernel
def _first_negligible(size, e, top, end):
    """Return the first row from `top` >= `end` on whose element beside the diagonal is negligible, or the last row."""
    result = 0.0 * top + float(size - 1)
    for i in range(size - 2, end - 1, -1):
        result = where((top <= float(i)) & (abs(e[i]) <= _NEGLIGIBLE), float(i), result)
    return result


@kernel
def _difference_to_shift(d, e, top, bottom):
    """Return d[bottom] minus Wilkinson's shift: the eigenvalue nearest to d[top] of the 2 x 2 block from there on."""
    if top == bottom:
        return 0.0
    half = (d[top + 1] - d[top]) / (2.0 * e[top])
    return d[bottom] - d[top] + e[top] / (half + math.copysign(math.sqrt(half * half + 1.0), half))


@kernel
def _sweep(size, d, e, top, bottom, shifted, end, cosine, sine, number):
    """Do one QL sweep: rotate neighbouring rows from `bottom` to `top`, and store the cosines and sines."""
    c, s, g, p = 1.0, 0.0, 0.0, 0.0
    for i in range(size - 2, end - 1, -1):
        begins = bottom == float(i + 1)
        g, s = where(begins, shifted, g), where(begins, 1.0, s)
        f, b = s * e[i], c * e[i]
        r = math.sqrt(f * f + g * g)
        turns = (top <= float(i)) & (float(i) < bottom) & (r > 0.0)
        e[i + 1] = where(turns, where(begins, 0.0, r), g)
        c, s = where(turns, g / r, 1.0), where(turns, f / r, 0.0)
        cosine[number, i], sine[number, i] = c, s
        g = d[i + 1] - p
        r = (d[i] - g) * s + 2.0 * c * b
        p = s * r
        d[i + 1] = g + p
        g = c * r - b
    d[end] -= p
    e[end] = g


@kernel
def _rotate(size, q, cosine, sine, ends):
    """Apply the stored sweeps to Q: rotate neighbouring columns, from the last one to `end`, four rows at a time."""
    for k in range(0, size, 4):
        for sweep, end in enumerate(ends):
            h0, h1, h2, h3 = q[k, size - 1], q[k + 1, size - 1], q[k + 2, size - 1], q[k + 3, size - 1]
            for i in range(size - 2, end - 1, -1):
                c, s = cosine[sweep, i], sine[sweep, i]
                f0, f1, f2, f3 = q[k, i], q[k + 1, i], q[k + 2, i], q[k + 3, i]
                q[k, i + 1], q[k + 1, i + 1] = c * h0 + s * f0, c * h1 + s * f1
                q[k + 2, i + 1], q[k + 3, i + 1] = c * h2 + s * f2, c * h3 + s * f3
                h0, h1, h2, h3 = fma(-s, h0, c * f0), fma(-s, h1, c * f1), fma(-s, h2, c * f2), fma(-s, h3, c * f3)
            q[k, end], q[k + 1, end], q[k + 2, end], q[k + 3, end] = h0, h1, h2, h3
