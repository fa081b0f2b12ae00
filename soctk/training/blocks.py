"""Blocks of descriptors with their inner products; descriptors are in memory, or are pooled again at each read."""

import os
import tempfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from scipy.linalg.blas import ssyrk

from soctk import progress
from soctk.errors import SoctkError
from soctk.features.disk_space import format_size
from soctk.parallel import one_thread
from soctk.pooling import Pooling
from soctk.training.frames import Frames, StreamedFrames

BlockKey = tuple[int, str]  # a hidden state, and the name of a pooling layer

_BATCH = 8  # utterances per batch of `pooled`; larger batches of soc_full make malloc release and re-request memory

_COLUMNS = 1 << 12  # of descriptors; `gram` centres this many at a time


class PooledAgain:
    """Descriptors `(N, P)` that are pooled again, batch by batch, whenever they are read: they need no memory.

    They stand for an array where it is multiplied from the left (`factors @ descriptors`) or read by rows.

    Args:
        pool: a pooling layer without trained parameters.
        frames: the frames of one hidden state, on the device on which they are pooled.
        nj: the number of threads.

    Attributes:
        shape: `(N, P)`.
        dtype: float32.
    """

    dtype = np.dtype(np.float32)
    __array_ufunc__ = None  # `array @ descriptors` calls __rmatmul__

    def __init__(self, pool: Pooling, frames: StreamedFrames, nj: int = 1):
        self._pool, self._frames, self._nj = deepcopy(pool).cpu(), frames, nj  # workers of a GPU get a pickled copy
        self.shape = (len(frames.lengths), pool.output_size)

    def __getitem__(self, row: int) -> np.ndarray:
        """Return the descriptor `(P,)` of one utterance."""
        with torch.inference_mode():
            return self._model()(*self._frames.batch([row])).cpu().numpy()[0]

    def __rmatmul__(self, factors: np.ndarray) -> np.ndarray:
        """Return the product `(..., K, P)` of factors `(..., K, N)` and the descriptors; see Block.times."""
        matrices = torch.from_numpy(factors.astype(np.float32)).reshape(-1, *factors.shape[-2:])
        products = [torch.zeros(factors.shape[-2], self.shape[1]) for _ in matrices]
        for indices, rows in pooled(self._model(), self._frames, self._nj):
            for matrix, product in zip(matrices, products, strict=True):
                product.addmm_(matrix[:, indices], rows)
        return torch.stack(products).reshape(*factors.shape[:-1], -1).numpy()

    def _model(self) -> Callable[..., torch.Tensor]:
        return partial(of_one_layer, deepcopy(self._pool).to(self._frames.device))


@dataclass(frozen=True)
class Block:
    """The descriptors of all N utterances from one pooling layer on one hidden state.

    Attributes:
        descriptors: `(N, P)`; an array if P < N, in float16 and in a file if it is large (Features.blocks).
        products: the inner products `gram(descriptors)`; None for P < N.
    """

    descriptors: np.ndarray | PooledAgain
    products: np.ndarray | None

    @property
    def size(self) -> int:
        """P."""
        return self.descriptors.shape[1]

    @property
    def is_kept(self) -> bool:
        """Whether the descriptors are in memory."""
        return isinstance(self.descriptors, np.ndarray)

    @property
    def array(self) -> np.ndarray:
        """The descriptors in memory (`is_kept`)."""
        assert isinstance(self.descriptors, np.ndarray)
        return self.descriptors

    def times(self, factors: np.ndarray) -> np.ndarray:
        """Return the product `(K, P)` of factors `(K, N)` and the descriptors, in float32.

        Several products are computed in one pass over the descriptors if the factors are `(M, K, N)`. Each matrix
        `(K, N)` is multiplied on its own: its product does not depend on the others.
        """
        factors = factors.astype(np.float32)
        if factors.ndim == 3 and self.is_kept:
            return np.stack([matrix @ self.descriptors for matrix in factors])
        return factors @ self.descriptors


def gram(descriptors: np.ndarray) -> np.ndarray | None:
    """Return the inner products `(N, N)` of centred descriptors `(N, P)`; None if P < N (soctk.training.coordinates).

    The descriptors are centred a part of their columns at a time, so no centred copy of all is needed.
    """
    count, size = descriptors.shape
    if size < count:
        return None
    lower = np.zeros((count, count), np.float32, order="F")
    for start in range(0, size, _COLUMNS):
        part = descriptors[:, start : start + _COLUMNS]
        # BLAS adds the products to the lower triangle alone, in place.
        lower = ssyrk(1, (part - part.mean(0)).T, beta=1, c=lower, trans=1, lower=1, overwrite_c=1)
    return np.tril(lower) + np.tril(lower, -1).T


def describe(model: Callable[..., torch.Tensor], frames: Frames | StreamedFrames, nj: int = 1) -> torch.Tensor:
    """Return the descriptors `(N, P)` of all utterances, on the CPU; see `pooled`."""
    batches = pooled(model, frames, nj)
    indices, rows = next(batches)
    descriptors = rows.new_empty(len(frames.lengths), rows.shape[1])
    descriptors[indices] = rows
    for indices, rows in batches:
        descriptors[indices] = rows
    return descriptors


def describe_to_file(
    model: Callable[..., torch.Tensor], frames: Frames | StreamedFrames, size: int, nj: int = 1
) -> np.ndarray:
    """Return the descriptors `(N, P)` of all utterances in float16, in a temporary file that disappears with the array.

    Args:
        model: see `pooled`.
        frames: see `pooled`.
        size: P.
        nj: see `pooled`.

    Raises:
        SoctkError: numbers overflow float16, or the disk is full.
    """
    with tempfile.TemporaryFile() as file:
        _allocate(file.fileno(), 2 * size * len(frames.lengths))
        descriptors = np.memmap(file, np.float16, "r+", shape=(len(frames.lengths), size))
    for indices, rows in pooled(model, frames, nj):
        descriptors[indices] = rows.numpy()
        if not np.isfinite(descriptors[indices]).all():
            raise SoctkError(
                "numbers of the descriptors are too large for float16",
                remedy="Check the store for extreme features (soctk-check), or use --set frames.layer_norm=true.",
            )
    return descriptors


def _allocate(file: int, size: int) -> None:
    """Reserve disk space for a temporary file. Without it, writing to a mapped file could end the process.

    Raises:
        SoctkError: there is less space.
    """
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        raise SoctkError(
            f"the descriptors need {format_size(size)} of disk space ({error.strerror})",
            remedy="Name a folder with more space (export TMPDIR=FOLDER), or shorten the descriptors "
            "(--set pooling.soc_full.d=64).",
            where=tempfile.gettempdir(),
        ) from error


def pooled(
    model: Callable[..., torch.Tensor], frames: Frames | StreamedFrames, nj: int = 1
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Yield the indices of some utterances and their descriptors `(B, P)`, on the CPU, until all have been pooled.

    Utterances of similar length share a batch. Each of the `nj` threads takes one batch at a time; neither the
    descriptors nor their order depend on the number of threads.

    Args:
        model: computes the descriptors `(B, P)` of a batch, given its frames and lengths (Frames.batch).
        frames: the frames of N utterances.
        nj: the number of threads.
    """
    by_length = sorted(range(len(frames.lengths)), key=frames.lengths.__getitem__)
    batches = [by_length[start : start + _BATCH] for start in range(0, len(by_length), _BATCH)]

    @torch.inference_mode()
    def pool_batch(indices: list[int]) -> tuple[list[int], torch.Tensor]:
        return indices, model(*frames.batch(indices)).cpu()

    with one_thread():
        run: Any = Parallel(nj, backend="threading", return_as="generator")
        yield from progress.track(run(map(delayed(pool_batch), batches)), "pool", "batch", len(batches))


def of_one_layer(pool: Pooling, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the descriptors of frames `(sum of T, 1, D)`."""
    return pool.pool_concatenated(frames[:, 0], lengths)
