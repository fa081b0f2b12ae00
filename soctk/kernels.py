"""Kernels that numba compiles for CPUs, each for eight small matrices side by side.

torch has LAPACK take one matrix after another, whose rows are too short for what a processor's vectors could do. Here each
element of a vector belongs to another matrix, so that all of it is used at any size (tests/bench/README.md). All is in
float64, whatever comes in, and what comes out for one matrix does not depend on the others, bit for bit.

Loops that are unrolled run over the end of their arrays, which have room for that. The arrays have an odd number of
columns: rows a power of two apart would share the same few lines of a cache.
"""

import math
import threading
from collections.abc import Callable

import numpy as np
import torch

from soctk.simd import LANES, by_lanes, fma, kernel, where
from soctk.threads import share

MAX_SIZE = 192  # eight larger matrices are too much for a processor's caches: LAPACK is as fast

_MIN_SIZE_FOR_THREADS = 48  # below it a batch is done sooner than a thread wakes up
_PADDING = 3  # rows, for loops that take four at a time

# Matrices are scaled to a norm of about 1; off the diagonal, what is below this counts as 0. As in LAPACK, errors are
# relative to the largest eigenvalue.
_NEGLIGIBLE = 2.0**-53
_MAX_SWEEPS = 30  # for each eigenvalue, as in LAPACK; two are usual

# Of what does not fit the fastest cache as a whole, so much at a time.
_DEPTH = 64
_SWEEPS_KEPT = 4
_ROWS = 5 + 2 * _SWEEPS_KEPT  # that a decomposition needs
_SILENCE = 1e-290  # smaller squares have no inverse

_own = threading.local()


def eigh(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return eigenvalues `(B, D)`, in no order, and eigenvectors `(B, D, D)`, in columns, of matrices `(B, D, D)`.

    The matrices are symmetric; their lower triangles are read.

    Raises:
        torch.linalg.LinAlgError: elements are NaN or infinite.
    """
    batch, size = matrices.shape[:2]
    spectrum, vectors = matrices.new_empty(batch, size), matrices.new_empty(matrices.shape)
    rows = size + _PADDING

    def work(part: slice, number: int) -> None:
        arrays = _numpy(matrices[part], spectrum[part], vectors[part])
        if not _eigh(*arrays, *_workspace((rows, size), (rows, size), (_ROWS, size)), _MAX_SWEEPS * size):
            raise torch.linalg.LinAlgError("no eigenvalues: elements are NaN or infinite")

    _each_eight(work, batch, size)
    return spectrum, vectors


def log_of_covariance(
    frames: torch.Tensor, lengths: torch.Tensor, regularisation: tuple[float, float, float, float]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the upper triangles of the logarithms of frames' regularised covariances, and more.

    Args:
        frames: X `(B, T, D)`, T >= D.
        lengths: `(B,)` in frames.
        regularisation: the last arguments of `regularise`.

    Returns:
        The triangles, row by row, `(B, D(D+1)/2)`; of the frames less their mean over time, the sum of squares `(B,)`; and
        something for `gradient_of_log`. Where that sum is not finite, the others are of no use.
    """
    batch, time, size = frames.shape
    triangles, squares = frames.new_empty(batch, size * (size + 1) // 2), frames.new_empty(batch, dtype=torch.float64)
    rows = size + _PADDING
    saved = frames.new_empty(-(-batch // LANES), rows + 5, _columns(size), LANES, dtype=torch.float64)
    lengths = lengths.long()

    def work(part: slice, number: int) -> None:
        arrays = _numpy(frames[part], lengths[part], triangles[part], squares[part], saved[number])
        workspace = _workspace((rows, time), (rows, size), (_ROWS, size))
        _log_of_covariance(*arrays, *workspace, *regularisation, _MAX_SWEEPS * size)

    _each_eight(work, batch, size)
    return triangles, squares, saved


def gradient_of_log(gradient: torch.Tensor, saved: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return M `(B, D, D)` and b `(B, D)`: the gradient for frame y is M (y - first frame) - b.

    Args:
        gradient: that of the triangles, `(B, D(D+1)/2)`.
        saved: by `log_of_covariance`.
    """
    batch, size = len(gradient), saved.shape[1] - 5 - _PADDING
    products, offsets = gradient.new_empty(batch, size, size), gradient.new_empty(batch, size)

    def work(part: slice, number: int) -> None:
        arrays = _numpy(gradient[part], saved[number], products[part], offsets[part])
        _gradient_of_log(*arrays, *_workspace(*[(size + _PADDING, size)] * 3))

    _each_eight(work, batch, size)
    return products, offsets


def regularise(squares, degrees, size, shrinkage, eps, per_trace, floor):
    """Return what makes a covariance X'X / degrees positive definite, as a X'X + r I, of numbers or tensors.

    It is (1-alpha) C + alpha (tr C / D) I, divided by tr C per_trace + floor, plus eps I.

    Args:
        squares: tr X'X.
        degrees: of freedom.
        size: D.
        shrinkage: alpha.
        eps: what is added in the end.
        per_trace: of the divisor.
        floor: of the divisor.

    Returns:
        a, r, and the derivatives of both by tr X'X.
    """
    own = squares / degrees
    divisor, divisor_slope = own * per_trace + floor, per_trace / degrees
    scale, ridge = (1 - shrinkage) / divisor / degrees, shrinkage * own / size / divisor
    ridge_slope = shrinkage / size / divisor / degrees - ridge / divisor * divisor_slope
    return scale, ridge + eps, -scale / divisor * divisor_slope, ridge_slope


def _each_eight(work: Callable[[slice, int], None], batch: int, size: int) -> None:
    parts = range(0, batch, LANES)
    share(
        lambda start: work(slice(start, start + LANES), start // LANES), parts, alone=size < _MIN_SIZE_FOR_THREADS
    )


def _numpy(*tensors: torch.Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _columns(columns: int) -> int:
    return (columns + _PADDING + 1) | 1


def _workspace(*shapes: tuple[int, int]) -> list[np.ndarray]:
    """Return arrays `(rows, columns, 8)` with room for `shapes`, in memory that the thread keeps: new memory takes time."""
    shapes = [(rows, _columns(columns), LANES) for rows, columns in shapes]
    sizes = [math.prod(shape) for shape in shapes]
    if not hasattr(_own, "memory") or len(_own.memory) < sum(sizes):
        _own.memory = torch.empty(sum(sizes), dtype=torch.float64)  # at an address that is a multiple of 64
    parts = _own.memory[: sum(sizes)].split(sizes)
    return [part.view(shape).numpy() for part, shape in zip(parts, shapes, strict=True)]


@kernel
def _eigh(matrices, spectrum, vectors, a, q, rows, max_sweeps):
    batch, size = spectrum.shape
    a[size:] = 0.0
    q[:] = 0.0
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
    return converged


@kernel
def _exponent(matrix):
    """Return that of the Frobenius norm, within what has an inverse, by a sum that does not overflow."""
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
    return min(exponent + math.frexp(math.sqrt(squares))[1], 1000)


_regularise = kernel(regularise)


@kernel
def _log_of_covariance(
    frames, lengths, triangles, squares, saved, transposed, a, rows, shrinkage, eps, per_trace, floor, max_sweeps
):
    """With X'X = Q diag(s) Q' and its regularisation a X'X + r I: Q diag(log(a s + r)) Q'.

    Saved are Q; s; a s + r; its logarithm; the mean less the first frame; and a and the derivatives of a and r.
    """
    batch, _, size = frames.shape
    q, others = saved[:-5], saved[-5:]
    _scaled_gram(frames, lengths, transposed, a, others[3:], rows)
    squares[:] = rows[0, 0, :batch]
    if not np.isfinite(squares).all():
        return
    q[:] = 0.0
    _decompose(size, a, q, rows, max_sweeps)
    for lane in range(LANES):
        own = min(lane, batch - 1)
        degrees = max(lengths[own] - 1, 1)
        scale, ridge, scale_slope, ridge_slope = _regularise(
            squares[own], degrees, size, shrinkage, eps, per_trace, floor
        )
        others[4, 0, lane], others[4, 1, lane], others[4, 2, lane] = scale, scale_slope, ridge_slope
        for j in range(size):
            s = max(rows[0, j, lane], 0.0) * (squares[own] if squares[own] > _SILENCE else 1.0)
            others[0, j, lane], others[1, j, lane] = s, scale * s + ridge
            others[2, j, lane] = math.log(others[1, j, lane])
    _scale_columns(size, by_lanes(a), by_lanes(q), by_lanes(others[2:]))
    _multiply(by_lanes(transposed), by_lanes(a), by_lanes(q), size, size, True)
    k = 0
    for j in range(size):
        for i in range(j, size):
            for lane in range(batch):
                triangles[lane, k] = transposed[i, j, lane]
            k += 1


@kernel
def _scaled_gram(frames, lengths, transposed, a, average, rows):
    """Write X'X / tr X'X and, into row 0, tr X'X: X the frames less their mean over time, which is as in `soctk.spd.covariance`."""
    batch, time, size = frames.shape
    transposed[size:] = 0.0
    a[size:] = 0.0
    for t in range(time):
        for j in range(size):
            for lane in range(LANES):
                own = min(lane, batch - 1)
                transposed[j, t, lane] = frames[own, t, j] - frames[own, 0, j] if t < lengths[own] else 0.0
    for lane in range(LANES):
        rows[0, 0, lane] = lengths[min(lane, batch - 1)]
    _multiply(by_lanes(a), by_lanes(transposed), by_lanes(transposed), size, time, True)
    _centre_and_scale(time, size, by_lanes(transposed), by_lanes(a), by_lanes(average), by_lanes(rows))


@kernel
def _centre_and_scale(time, size, y, a, average, counts_then_trace):
    count, trace = counts_then_trace[0], 0.0 * counts_then_trace[0]
    for j in range(size):
        total = 0.0 * count
        for t in range(time):
            total += y[j, t]
        average[j] = total / count
    for i in range(size):
        for j in range(i + 1):
            a[i, j] -= count * average[i] * average[j]
        trace += a[i, i]
    counts_then_trace[0] = trace
    factor = where(trace > _SILENCE, 1.0 / trace, 1.0)
    for i in range(size):
        for j in range(i + 1):
            a[i, j] *= factor


@kernel
def _gradient_of_log(gradient, saved, products, offsets, g, product, transposed):
    """With G the gradient plus its transpose: Q (a L * Q'GQ + c I) Q', c what comes by a and r, L by `_multiply_by_slopes`."""
    batch, size = offsets.shape
    q, others = saved[:-5], saved[-5:]
    g[size:] = 0.0
    transposed[size:] = 0.0
    k = 0
    for j in range(size):
        for i in range(j, size):
            for lane in range(LANES):
                g[i, j, lane] = g[j, i, lane] = gradient[min(lane, batch - 1), k] * (2.0 if i == j else 1.0)
            k += 1
    _transpose(size, by_lanes(transposed), by_lanes(q))
    _multiply(by_lanes(product), by_lanes(transposed), by_lanes(g), size, size, False)
    _multiply(by_lanes(g), by_lanes(product), by_lanes(transposed), size, size, True)
    _multiply_by_slopes(size, by_lanes(g), by_lanes(others[1:]), by_lanes(others[2:]))
    _multiply(by_lanes(product), by_lanes(q), by_lanes(g), size, size, False)
    _multiply(by_lanes(transposed), by_lanes(product), by_lanes(q), size, size, True)
    for lane in range(batch):
        of_squares = 0.0
        for j in range(size):
            of_squares += g[j, j, lane] * (others[4, 1, lane] * others[0, j, lane] + others[4, 2, lane])
        for j in range(size):
            transposed[j, j, lane] += of_squares / others[4, 0, lane]
    for lane in range(batch):
        scale = others[4, 0, lane]
        for i in range(size):
            for j in range(i + 1):
                products[lane, i, j] = products[lane, j, i] = scale * transposed[i, j, lane]
            offsets[lane, i] = 0.0
        for i in range(size):
            for j in range(size):
                offsets[lane, j] += others[3, i, lane] * products[lane, i, j]


@kernel
def _transpose(size, result, q):
    for i in range(size):
        for j in range(size):
            result[j, i] = q[i, j]


@kernel
def _scale_columns(size, result, q, factors):
    for i in range(size):
        for j in range(size):
            result[i, j] = q[i, j] * factors[j]


@kernel
def _multiply_by_slopes(size, g, values, logarithms):
    """Multiply G, of which the lower triangle is there, by L_ij = (log a - log b)/(a - b); 1/a where a = b.

    Near values cancel in that. With z = (a - b)/(a + b), log a - log b = 2 artanh z = 2 (z + z^3/3 + z^5/5 + ...).
    """
    for i in range(size):
        for j in range(i + 1):
            difference, inverse = values[i] - values[j], 1.0 / (values[i] + values[j])
            square = (difference * inverse) * (difference * inverse)
            series = 2.0 * inverse * (1.0 + square * (1.0 / 3 + square * (1.0 / 5 + square * (1.0 / 7))))
            g[i, j] *= where(square > 4e-4, (logarithms[i] - logarithms[j]) / difference, series)
            g[j, i] = g[i, j]


@kernel
def _multiply(c, a, b, size, inner, lower):
    """Set C to A B', D x D from D x K each, or only its lower triangle, four rows and four columns at a time."""
    for i in range(size + _PADDING):
        for j in range(size + _PADDING):
            c[i, j] = 0.0 * a[0]
    for start in range(0, inner, _DEPTH):
        stop = min(start + _DEPTH, inner)
        for i in range(0, size, 4):
            for j in range(0, i + 4 if lower else size, 4):
                _add_block(c, a, b, i, j, start, stop)


@kernel
def _add_block(c, a, b, i, j, start, stop):
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
    """Write eigenvalues into row 0 and eigenvectors into the columns of Q; return whether they converge.

    Householder's tridiagonalisation and QL with implicit shifts (Golub & Van Loan, Matrix Computations, 8.3; Bowdler,
    Martin, Reinsch & Wilkinson 1968). Of A the lower triangle is read, and overwritten; Q is 0 before.
    """
    for i in range(size):
        for lane in range(LANES):
            q[i, i, lane] = 1.0
    rows[:] = 0.0
    _tridiagonalise(size, by_lanes(a), rows)
    _accumulate(size, by_lanes(a), by_lanes(q), rows)
    return _diagonalise(size, by_lanes(q), rows, max_sweeps)


@kernel
def _tridiagonalise(size, a, rows):
    """Turn A into T = Q'AQ: its diagonal into row 0, what is beside it into row 1.

    Q is the product of H_k = I - tau_k u_k u_k': tau into row 2, u into the rows of A above the diagonal. The update
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
        u[k + 1] = a[k, k + 1] = 1.0 + 0.0 * factor
        for j in range(k + 2, size):
            u[j] *= factor
            a[k, j] = u[j]
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
    """Turn the identity Q into H_0 H_1 ..., four columns at a time: they stay in the fastest cache.

    The pass that reflects by H_k makes the products with u_(k-1), too.
    """
    tau = by_lanes(rows[2:])
    for j in range(0, size, 4):
        last = min(j + 2, size - 2)
        s0 = s1 = s2 = s3 = 0.0 * tau[0]
        for k in range(last, -1, -1):
            row = k + 1
            s0 += q[row, j]
            s1 += q[row, j + 1]
            s2 += q[row, j + 2]
            s3 += q[row, j + 3]
            t0, t1, t2, t3 = tau[k] * s0, tau[k] * s1, tau[k] * s2, tau[k] * s3
            s0 = s1 = s2 = s3 = 0.0 * tau[0]
            before = max(k - 1, 0)
            for i in range(row, size):
                u, v = a[k, i], a[before, i]
                q0, q1 = q[i, j] - u * t0, q[i, j + 1] - u * t1
                q2, q3 = q[i, j + 2] - u * t2, q[i, j + 3] - u * t3
                q[i, j], q[i, j + 1], q[i, j + 2], q[i, j + 3] = q0, q1, q2, q3
                s0 += v * q0
                s1 += v * q1
                s2 += v * q2
                s3 += v * q3


@kernel
def _diagonalise(size, q, rows, max_sweeps):
    """Turn T into its eigenvalues and the columns of Q into A's eigenvectors; return whether that took few sweeps.

    The eigenvalues come out from the top. A lane sweeps from `bottom`, below which its T falls apart, to `top`, its
    first row that is not done; where it has nothing to do, while others have, it rotates by 0.
    """
    d, e, cosine, sine = by_lanes(rows), by_lanes(rows[1:]), by_lanes(rows[5:]), by_lanes(rows[5 + _SWEEPS_KEPT :])
    top, bottom, shifted = by_lanes(rows[2:]), by_lanes(rows[3:]), by_lanes(rows[4:])
    rows[2] = 0.0
    ends, kept = np.empty(_SWEEPS_KEPT, np.int64), 0
    for _ in range(max_sweeps):
        end = size - 1
        for lane in range(LANES):
            own = int(rows[2, 0, lane])
            while own < size - 1 and abs(rows[1, own, lane]) <= _NEGLIGIBLE:
                own += 1
            rows[2, 0, lane] = own
            end = min(end, own)
        if end == size - 1 or kept == _SWEEPS_KEPT:
            _rotate(size, ends[:kept], q, cosine, sine)
            kept = 0
        if end == size - 1:
            return True
        bottom[0] = _first_negligible(size, end, e, top[0])
        for lane in range(LANES):
            rows[4, 0, lane] = _shifted(rows[0, :, lane], rows[1, :, lane], int(rows[2, 0, lane]), int(rows[3, 0, lane]))
        none = 0.0 * d[0]
        c, s, g, p, at = none + 1.0, none, none, none, none + (size - 2.0)
        for i in range(size - 2, end - 1, -1):
            begins = (at >= bottom[0] - 1.0) & (bottom[0] - 1.0 >= at)
            g, s = where(begins, shifted[0], g), where(begins, 1.0, s)
            f, b = s * e[i], c * e[i]
            r = math.sqrt(f * f + g * g)
            turns = (at >= top[0]) & (bottom[0] > at) & (r > 0.0)
            e[i + 1] = where(turns & (bottom[0] - 1.0 > at), r, where(turns, 0.0, g))
            c, s = where(turns, g / r, 1.0), where(turns, f / r, 0.0)
            cosine[kept, i], sine[kept, i] = c, s
            g = d[i + 1] - p
            r = (d[i] - g) * s + 2.0 * c * b
            p = s * r
            d[i + 1] = g + p
            g = c * r - b
            at -= 1.0
        d[end] -= p
        e[end] = g
        ends[kept] = end
        kept += 1
    return False


@kernel
def _first_negligible(size, end, e, top):
    """Return the first row from `top` on whose element beside the diagonal is negligible; the last row, if none is."""
    result, at = 0.0 * top + (size - 1.0), 0.0 * top + (size - 2.0)
    for i in range(size - 2, end - 1, -1):
        result = where((at >= top) & (_NEGLIGIBLE >= abs(e[i])), at, result)
        at -= 1.0
    return result


@kernel
def _shifted(d, e, top, bottom):
    """Return the last element of T less Wilkinson's shift: the eigenvalue of the first 2 x 2 block next to its first."""
    if top == bottom:
        return 0.0
    half = (d[top + 1] - d[top]) / (2.0 * e[top])
    return d[bottom] - d[top] + e[top] / (half + math.copysign(math.sqrt(half * half + 1.0), half))


@kernel
def _rotate(size, ends, q, cosine, sine):
    """Rotate neighbouring columns of Q, from the last to an end, in sweep after sweep, four rows at a time."""
    for k in range(0, size, 4):
        for sweep, end in enumerate(ends):
            h0, h1, h2, h3 = q[k, size - 1], q[k + 1, size - 1], q[k + 2, size - 1], q[k + 3, size - 1]
            for i in range(size - 2, end - 1, -1):
                c, s = cosine[sweep, i], sine[sweep, i]
                f0, f1, f2, f3 = q[k, i], q[k + 1, i], q[k + 2, i], q[k + 3, i]
                q[k, i + 1] = c * h0 + s * f0
                q[k + 1, i + 1] = c * h1 + s * f1
                q[k + 2, i + 1] = c * h2 + s * f2
                q[k + 3, i + 1] = c * h3 + s * f3
                h0, h1, h2, h3 = fma(-s, h0, c * f0), fma(-s, h1, c * f1), fma(-s, h2, c * f2), fma(-s, h3, c * f3)
            q[k, end], q[k + 1, end], q[k + 2, end], q[k + 3, end] = h0, h1, h2, h3
