"""Eight float64 values as one type in numba kernels, against numpy."""

import math

import numpy as np
import pytest

pytest.importorskip("numba", reason="the kernels need numba")
from numba.core.errors import TypingError

from soctk.pooling.fast.simd import LANES, by_lanes, fma, kernel, where

A = np.array([-8.0, -0.5, 0.0, 1e-300, 1.0, 2.25, 1e300, 3.0])
B = np.array([3.0, -0.5, 2.0, 1e300, -4.0, 2.25, -1e-3, 7.0])


@kernel
def apply(array):
    x = by_lanes(array)
    a, b = x[0], x[1]
    x[2] = a + b
    x[3] = a - b
    x[4] = a * b
    x[5] = a / b
    x[6] = -a
    x[7] = abs(a)
    x[8] = math.sqrt(abs(a))
    x[9] = math.copysign(a, b)
    x[10] = where(a > b, a, b)
    x[11] = where((a >= 0.0) & (a < 2.0), 1.0, 0.0)
    x[12] = where(a == b, a, -1.0)
    x[13] = where(a <= b, 1.0 - a, 2.0 * b)


def test_each_lane_equals_numpys_result():
    array = np.zeros((1, 14, LANES))
    array[0, 0], array[0, 1] = A, B
    apply(array)
    expected = [
        *(A, B, A + B, A - B, A * B, A / B, -A, abs(A), np.sqrt(abs(A)), np.copysign(A, B), np.maximum(A, B)),
        *((A >= 0) & (A < 2), np.where(A == B, A, -1), np.where(A <= B, 1 - A, 2 * B)),
    ]
    np.testing.assert_array_equal(array[0], np.array(expected, float))


@kernel
def multiply_and_add(array):
    x = by_lanes(array)
    x[0] = fma(x[0], x[1], x[2])


def test_fma_rounds_once():
    array = np.zeros((1, 3, LANES))
    array[0, :] = np.array([[1 + 2.0**-30], [1 - 2.0**-30], [-1.0]])
    multiply_and_add(array)
    assert (array[0, 0] == -(2.0**-60)).all()  # (1 + e)(1 - e) - 1; the product alone would be rounded to 1


@kernel
def sum_of_rows(array, result):
    x, y = by_lanes(array), by_lanes(result)
    total = 0.0
    for i in range(array.shape[0]):
        for j in range(array.shape[1]):
            x[i, j] *= 2.0
            total += x[i, j]
    y[0, 1] = total


def test_indexing_by_row_and_column_and_a_sum_that_starts_as_a_float():
    array, result = np.arange(3.0 * 5 * LANES).reshape(3, 5, LANES), np.zeros((1, 2, LANES))
    expected = 2 * array
    sum_of_rows(array, result)
    np.testing.assert_array_equal(array, expected)
    np.testing.assert_array_equal(result[0], [np.zeros(LANES), expected.sum((0, 1))])


@kernel
def view(array):
    by_lanes(array)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((1, 1, LANES), np.float32),
        np.zeros((1, LANES)),
        np.zeros((4, 4, LANES))[:, ::2],
    ],
    ids=["float32", "two dimensions", "gaps"],
)
def test_by_lanes_refuses_other_arrays(array):
    with pytest.raises(TypingError, match=r"a contiguous float64 array \(rows, columns, 8\) is needed, not"):
        view(array)


def test_a_mask_cannot_be_stored_as_a_number():
    @kernel
    def wrong(array):
        x = by_lanes(array)
        x[0] = x[0] > 0.0

    with pytest.raises(TypingError, match="bool x 8"):
        wrong(np.zeros((1, 1, LANES)))
