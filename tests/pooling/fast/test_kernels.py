"""The kernels against LAPACK, torch and exact arithmetic, and their independence of batch, threads and memory."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soctk.pooling import fast, spd

pytest.importorskip("numba", reason="the kernels need numba")
from numba.core import event

from soctk.pooling.fast import kernels
from soctk.pooling.fast.simd import LANES, by_lanes, kernel
from soctk.pooling.frames import Slices

SEEDS = st.integers(0, 2**32 - 1)
REGULARISATION = (0.1, 1e-5, 1.0, 1e-5)


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_spectrum(eigenvalues: np.ndarray, seed: int = 0) -> torch.Tensor:
    """A matrix (D, D) with these eigenvalues and a random orthogonal basis."""
    basis, _ = torch.linalg.qr(gaussian(len(eigenvalues), len(eigenvalues), seed=seed))
    matrix = basis @ torch.diag(torch.as_tensor(eigenvalues, dtype=torch.float64)) @ basis.T
    return (matrix + matrix.T) / 2


def check(matrices: torch.Tensor) -> None:
    """Check eigenvalues against LAPACK, and U diag(s) U' against the matrices, to the rounding of the largest one."""
    spectrum, vectors = kernels.eigh(matrices)
    size = matrices.shape[1]
    unit = torch.linalg.eigvalsh(matrices).abs().amax(1)
    unit = torch.where(unit > 0, unit, 1)
    back = (vectors * (spectrum / unit[:, None]).unsqueeze(1)) @ vectors.mT
    errors = (back - matrices / unit[:, None, None]).abs().amax((1, 2))
    distances = ((spectrum.sort().values - torch.linalg.eigvalsh(matrices)) / unit[:, None]).abs().amax(1)
    assert errors.max() <= 2e-15 * size**0.5
    assert distances.max() <= 2e-15 * size**0.5
    torch.testing.assert_close(vectors.mT @ vectors, torch.eye(size).expand_as(matrices).double(), rtol=0, atol=1e-13)


@given(SEEDS, st.integers(1, 17), st.integers(1, 20), st.sampled_from([-150, 0, 150]))
def test_eigenvalues_and_eigenvectors_of_random_matrices(seed, batch, size, exponent):
    matrices = gaussian(batch, size, size, seed=seed) * 10.0**exponent
    check(matrices + matrices.mT)


@pytest.mark.parametrize("size", [31, 32, 33, 64, 65, 130])
def test_eigenvalues_and_eigenvectors_of_covariances(size):
    frames = gaussian(9, size + 5, size)
    check(frames.mT @ frames)


SPECIAL = {
    "silence": torch.zeros(9, 9),
    "the identity": torch.eye(9),
    "an unsorted diagonal": torch.diag(torch.tensor([3.0, -1, 0, 7, 7, 1e-20, -5, 2, 3])),
    "rank one": torch.outer(gaussian(9), gaussian(9)),
    "rank one, all elements equal": torch.ones(24, 24),
    "rank two": gaussian(24, 2) @ gaussian(24, 2).T,
    "nearly equal eigenvalues": with_spectrum(1 + 1e-13 * np.arange(9)),
    "eigenvalues with multiplicity three": with_spectrum(np.repeat([1.0, 2.0, 5.0], 3)),
    "eigenvalues far apart": with_spectrum(10.0 ** -np.arange(20)),
    "small elements first": torch.diag(10.0 ** torch.arange(-20, 0)) + 1e-21,
    "large elements first": torch.diag(10.0 ** -torch.arange(0, 20.0)) + 1e-21,
    "Wilkinson's W21": torch.diag(torch.arange(-10.0, 11).abs()) + torch.diag(torch.ones(20), 1),
    "two separate blocks": torch.block_diag(with_spectrum(np.arange(1.0, 6)), with_spectrum(np.arange(7.0, 11), 1)),
    "an element of 1e-9 beside one of 1": torch.tensor([[0, 1, 1e-9], [1, 0, 0], [1e-9, 0, 0.5]]),
    "elements whose squares underflow": torch.eye(5) + 1e-161,
    "the smallest numbers": 1e-310 * (torch.eye(5, dtype=torch.float64) + 0.1),
    "small numbers": 1e-305 * with_spectrum(np.arange(1.0, 6)),
    "large numbers": 1e307 * with_spectrum(np.arange(1.0, 6)),
}


@pytest.mark.parametrize("matrix", SPECIAL.values(), ids=SPECIAL)
def test_eigenvalues_and_eigenvectors_of_special_matrices(matrix):
    matrix = matrix.double().triu()
    matrix = matrix + matrix.triu(1).T
    check(torch.stack([matrix, matrix.flip(0, 1), torch.eye(len(matrix), dtype=torch.float64) * matrix.abs().max()]))


def test_float32_is_decomposed_in_double_precision():
    frames = gaussian(8, 20, 12)
    matrices = (frames.mT @ frames).float()
    spectrum, vectors = kernels.eigh(matrices)
    assert spectrum.dtype == vectors.dtype == torch.float32
    exact = torch.linalg.eigvalsh(matrices.double())
    torch.testing.assert_close(spectrum.sort().values.double(), exact, rtol=1e-7, atol=0)


def test_only_the_lower_triangle_is_read():
    matrices = gaussian(3, 7, 7)
    matrices = matrices + matrices.mT
    torch.testing.assert_close(kernels.eigh(matrices.tril()), kernels.eigh(matrices), rtol=0, atol=0)


@given(SEEDS, st.integers(2, 12))
def test_eigenvalues_and_eigenvectors_of_badly_scaled_matrices(seed, size):
    generator = np.random.default_rng(seed)
    scales = torch.from_numpy(10 ** -generator.uniform(0, 12, (3, size, 1)))
    matrices = gaussian(3, size, size, seed=seed) * scales * scales.mT
    check(matrices + matrices.mT)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
@pytest.mark.parametrize(("size", "place"), [(1, (0, 0)), (2, (1, 1)), (5, (3, 3)), (5, (3, 2)), (5, (4, 0))])
def test_nan_and_infinity_raise(wrong, size, place):
    matrices = gaussian(11, size, size)
    matrices[9][place] = wrong
    with pytest.raises(torch.linalg.LinAlgError, match="no eigenvalues: elements are NaN or infinite"):
        kernels.eigh(matrices)


@given(SEEDS, st.integers(2, 12), st.permutations(range(10)))
def test_a_matrix_has_the_same_decomposition_alone_and_in_any_batch(seed, size, order):
    matrices = gaussian(10, size, size, seed=seed)
    matrices = matrices + matrices.mT
    matrices[3] = torch.eye(size)
    together = kernels.eigh(matrices)
    shuffled = kernels.eigh(matrices[list(order)])
    alone = [kernels.eigh(matrix[None]) for matrix in matrices]
    for number, (whole, mixed) in enumerate(zip(together, shuffled, strict=True)):
        assert torch.equal(whole[list(order)], mixed)
        assert torch.equal(whole, torch.cat([each[number] for each in alone]))


@given(SEEDS, st.lists(st.integers(5, 9), min_size=1, max_size=10))
def test_an_utterance_has_the_same_logarithm_and_gradient_alone_and_in_any_batch(seed, lengths):
    frames = gaussian(len(lengths), 9, 5, seed=seed).float()
    upstream = gaussian(len(lengths), 15, seed=1).float()

    def results(part, time=9):
        triangles, _, grad_frames = outcome(frames[part, :time], torch.tensor(lengths)[part], upstream[part])
        return triangles, grad_frames

    together = results(slice(None))
    for number, length in enumerate(lengths):
        triangles, grad_frames = results(slice(number, number + 1), length)
        assert torch.equal(together[0][number], triangles[0])
        assert torch.equal(together[1][number, :length], grad_frames[0])
        assert not together[1][number, length:].any()


def outcome(frames: torch.Tensor, lengths: torch.Tensor, upstream: torch.Tensor) -> list[torch.Tensor]:
    inputs = frames.flatten(0, 1).unsqueeze(1), Slices.of_batch(frames, lengths)
    triangles, squares, saved = kernels.log_of_covariance(*inputs, REGULARISATION)
    return [triangles, squares, kernels.gradient_of_log(upstream, *inputs, saved).view(frames.shape)]


@given(SEEDS, st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(1, 3))
def test_slices_that_lie_anywhere_equal_a_padded_batch(seed, lengths, blocks):
    generator = np.random.default_rng(seed)
    rows = 3 + sum(lengths)
    places = [(start, block, length) for block in range(blocks) for start, length in _laid_out(lengths, generator)]
    places = [places[i] for i in generator.permutation(len(places))]
    slices = Slices(*torch.tensor(places).T)
    frames, upstream = gaussian(rows, blocks, 5, seed=seed).float(), gaussian(len(places), 15, seed=1).float()
    padded = torch.zeros(len(places), max(lengths), 5)
    for own, (start, block, length) in zip(padded, places, strict=True):
        own[:length] = frames[start : start + length, block]
    triangles, squares, grad_padded = outcome(padded, slices.lengths, upstream)
    own, own_squares, saved = kernels.log_of_covariance(frames, slices, REGULARISATION)
    grad_frames = kernels.gradient_of_log(upstream, frames, slices, saved)
    assert torch.equal(own, triangles)
    assert torch.equal(own_squares, squares)
    expected = torch.zeros_like(frames)
    for part, (start, block, length) in zip(grad_padded, places, strict=True):
        expected[start : start + length, block] = part[:length]
    assert torch.equal(grad_frames, expected)


def _laid_out(lengths: list[int], generator: np.random.Generator) -> list[tuple[int, int]]:
    """Return a start and a length for each length, in random order and with up to three frames that none has."""
    order = generator.permutation(len(lengths))
    starts = generator.integers(0, 4) + np.cumsum([0, *(lengths[i] for i in order[:-1])])
    return [(int(start), lengths[i]) for start, i in zip(starts, order, strict=True)]


@given(SEEDS, st.integers(1, 18), st.integers(1, 20), st.integers(1, 80), st.sampled_from([0.0, torch.nan, torch.inf]))
def test_results_do_not_depend_on_the_previous_content_of_memory(seed, batch, size, time, poison):
    frames, upstream = gaussian(batch, time, size, seed=seed), gaussian(batch, size * (size + 1) // 2, seed=seed)
    lengths = torch.from_numpy(np.random.default_rng(seed).integers(1, time + 1, batch))
    expected = outcome(frames, lengths, upstream)
    matrices = frames.mT @ frames
    decomposed = kernels.eigh(matrices)
    torch.use_deterministic_algorithms(True)  # then torch fills new memory with NaN
    try:
        kernels._thread.memory.fill_(poison)
        results = outcome(frames, lengths, upstream)
        kernels._thread.memory.fill_(poison)
        results += kernels.eigh(matrices)
    finally:
        torch.use_deterministic_algorithms(False)
    for result, own in zip(results, [*expected, *decomposed], strict=True):
        assert torch.equal(result, own)


def test_strided_tensors_and_other_integer_types_give_the_same_result():
    frames, upstream, lengths = gaussian(3, 9, 4), gaussian(3, 10, seed=1), torch.tensor([9, 5, 7])
    expected = outcome(frames, lengths, upstream)
    turned = frames.mT.contiguous().mT, lengths.to(torch.int16), upstream.T.contiguous().T
    strided = frames.repeat_interleave(2, 2)[..., ::2], lengths.int(), upstream.repeat_interleave(2, 0)[::2]
    for inputs in (turned, strided):
        assert all(map(torch.equal, outcome(*inputs), expected))
    alike = outcome(frames, lengths, upstream[:1].expand(3, 10))
    assert all(map(torch.equal, alike, outcome(frames, lengths, upstream[:1].repeat(3, 1))))


def test_training_works_after_inference_mode():
    frames, lengths, upstream = gaussian(20, 70, 50), torch.full((20,), 70), gaussian(20, 1275, seed=1)
    with torch.inference_mode():
        kernels._thread.__dict__.clear()
        inferred = spd.log_covariance(frames, lengths, 0.1, 1e-5, triangle=True)
    x = frames.clone().requires_grad_()
    trained = spd.log_covariance(x, lengths, 0.1, 1e-5, triangle=True)
    trained.backward(upstream)
    assert torch.equal(inferred, trained.detach())
    assert torch.equal(x.grad, outcome(frames, lengths, upstream)[2])


class Recorder(event.Listener):
    """Records the functions that numba compiles."""

    def __init__(self):
        self.compiled = []

    def on_start(self, event):
        self.compiled.append(event.data["dispatcher"])

    def on_end(self, event):
        pass


def test_after_loading_no_call_compiles_again():
    """For any types of options, shapes and strides. So no later call reads or writes numba's cache."""
    for purpose, dtype in itertools.product(("eigh", "log", "log and gradient"), (torch.float32, torch.float64)):
        assert fast.load(purpose, dtype) is kernels
    recorder = Recorder()
    with event.install_listener("numba:compile", recorder):
        for dtype, batch in itertools.product((torch.float32, torch.float64), (1, 3, 20)):
            for time, size in ((1, 1), (9, 4), (70, 50), (9, 20)):
                frames, lengths = gaussian(batch, time, size).to(dtype), torch.full((batch,), time, dtype=torch.int32)
                for strided in (frames, frames.mT.contiguous().mT, frames.repeat_interleave(2, 2)[..., ::2]):
                    x = strided.detach().requires_grad_()
                    spd.log_covariance(x, lengths, 0, 1, 2).sum().backward()
                    spd.log_covariance(x, lengths, np.float64(0.1), 1e-5, triangle=True).sum().backward()
                spd.matrix_log(frames.mT @ frames)
    assert not recorder.compiled


def test_the_number_of_threads_does_not_change_a_bit():
    frames, lengths, upstream = gaussian(20, 70, 50), torch.full((20,), 70), gaussian(20, 1275, seed=1)
    threads, results = torch.get_num_threads(), []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            results.append(outcome(frames, lengths, upstream))
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("d", [1, 2, 5, 63, 64, 65, 130])
def test_kernels_and_torch_agree_in_value_and_gradient(d, monkeypatch):
    lengths = torch.tensor([140, 135, 150, 131, 140, 140, 149, 150, 131, 133, 140])
    frames, upstream = gaussian(11, 150, d) + 3, gaussian(11, d * (d + 1) // 2, seed=1)
    results = []
    for largest in (fast.MAX_SIZE, 0):
        monkeypatch.setattr(fast, "MAX_SIZE", largest)
        x = frames.clone().requires_grad_()
        triangles = spd.log_covariance(x, lengths, 0.05, 1e-4, triangle=True)
        triangles.backward(upstream)
        results.append((triangles.detach(), x.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-15 + 1e-11 * theirs.abs().max().item())


@kernel
def slopes(size, g, values, logarithms):
    kernels._multiply_by_slopes(size, by_lanes(g), by_lanes(values), by_lanes(logarithms))


@given(st.floats(1e-12, 1e12), st.sampled_from([0.0, 1e-15, 1e-9, 1e-4, 0.02, 0.0404, 0.0409, 0.05, 1.0, 1e5, 1e12]))
def test_slopes_equal_exact_arithmetic(value, gap):
    from mpmath import log, mp, mpf

    mp.dps = 60
    values = np.zeros((1, 3, LANES)) + np.array([[value], [value * (1 + gap)], [1.0]])
    g = np.ones((3, 3, LANES))
    slopes(2, g, values, np.log(values))
    a, b = mpf(values[0, 0, 0]), mpf(values[0, 1, 0])
    expected = 1 / a if a == b else (log(a) - log(b)) / (a - b)
    np.testing.assert_allclose(g[[0, 1], [1, 0]], float(expected), rtol=2e-12 if gap < 0.1 else 1e-13)
    np.testing.assert_allclose(g[0, 0], 1 / value, rtol=1e-15)


def test_the_memory_that_a_thread_reuses_outlives_a_block_of_inference_mode():
    def work():
        with torch.inference_mode():
            kernels.eigh(torch.eye(3)[None])
        return kernels._thread.memory.is_inference()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() is False
