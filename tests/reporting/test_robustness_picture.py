from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure

from soctk.corpus.disturbance import CLEAN
from soctk.reporting import robustness
from soctk.scoring.intervals import Interval


def experiment(scores: dict[float, Interval]) -> SimpleNamespace:
    """Return an experiment with scores in white noise, SNR -> WA."""
    clean = SimpleNamespace(
        condition=SimpleNamespace(kind=CLEAN, value=None), scores={"WA": Interval(80.0, 75.0, 85.0)}
    )
    noisy = [
        SimpleNamespace(condition=SimpleNamespace(kind="white", value=snr), scores={"WA": score})
        for snr, score in scores.items()
    ]
    return SimpleNamespace(rows=[clean, *noisy])


@pytest.mark.parametrize("ratios", [[10.0], [20.0, 10.0]])
def test_an_interval_is_drawn_for_one_ratio_and_for_several(ratios):
    scores = {snr: Interval(60 + snr, 55 + snr, 66 + snr) for snr in ratios}
    axes = Figure().subplots()
    robustness._draw_noise(axes, [experiment(scores)], "WA", "white")
    kind = LineCollection if len(ratios) == 1 else PolyCollection
    (drawn,) = [each for each in axes.collections if isinstance(each, kind)]
    corners = np.concatenate([path.vertices for path in drawn.get_paths()])
    assert {(snr, bound) for snr in ratios for bound in scores[snr][1:]} <= set(map(tuple, corners))
    assert len(axes.collections) == 1
