"""Correlation pooling: the correlations between the features of a frame, over time."""

import torch
from pydantic import PositiveFloat

from soctk.pooling import spd
from soctk.pooling.layers import Pooling


class Correlation(Pooling):
    """Correlation pooling (Stafylakis et al. 2022, arXiv 2210.09513): correlations between the features over time.

    r_ij = sum_t (x_ti - m_i)(x_tj - m_j) / (n_i n_j), n_i^2 = sum_t (x_ti - m_i)^2. The descriptor is the triangle
    above the diagonal; the diagonal is 1. Correlations do not depend on the scale of a feature, unlike covariances: all
    pairs of features count equally. The layer has no parameters: the projection and the dropout that the paper trains
    before it are left out.

    A feature that is constant over time has the correlation 0 with all others; so has every feature of a single frame.

    Args:
        input_size: D; the descriptor has D(D-1)/2 numbers.
        eps: the lower limit of n_i^2; it gives constant features a finite gradient.
    """

    def __init__(self, input_size: int, eps: PositiveFloat = 1e-10):
        super().__init__(input_size, input_size * (input_size - 1) // 2)
        self.eps = eps

    def pool(self, frames, lengths):  # noqa: D102
        deviations = spd.deviations(frames, lengths)
        scaled = deviations / deviations.square().sum(1, keepdim=True).clamp(min=self.eps).sqrt()
        rows, columns = torch.triu_indices(self.input_size, self.input_size, 1, device=frames.device)
        result = (scaled.mT @ scaled).flatten(1).index_select(1, rows * self.input_size + columns)
        spd.require_finite(result)
        return result
