"""The figure of emotions over time shows each window at its place, with the mean posteriors of its columns."""

import itertools
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from soctk.inference.outputs import Prediction
from soctk.inference.result import Result
from soctk.reporting import drawing, timeline

EMOTIONS = ["calm", "angry"]


def window(start: float, end: float, angry: float, file: str = "a.wav") -> Prediction:
    posteriors = {"calm": 1 - angry, "angry": angry}
    return Prediction(file, start, end, Result("angry" if angry > 0.5 else "calm", posteriors), is_window=True)


def labels(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_columns_have_the_mean_of_their_windows_and_gaps_are_masked():
    windows = [window(0, 2, 0.8), window(1, 3, 0.2), window(4, 6, 1.0)]
    # The first two meet at 1.5 s; there is nothing from 3 to 4 s.
    means = timeline._means(windows, EMOTIONS, np.arange(7.0))
    expected = [[0.2, 0.5, 0.8, np.nan, 0.0, 0.0], [0.8, 0.5, 0.2, np.nan, 1.0, 1.0]]
    np.testing.assert_allclose(means.filled(np.nan), expected, atol=1e-12)
    half = timeline._means(windows, EMOTIONS, np.array([2.5, 3.5]))  # half of this column has no window
    np.testing.assert_allclose(half[:, 0], [0.8, 0.2])


@given(
    bounds=st.lists(st.integers(0, 10_000), min_size=2, max_size=60, unique=True).map(sorted),
    columns=st.integers(1, 50),
    seed=st.integers(0, 99),
)
def test_the_mean_over_all_columns_is_the_mean_over_all_windows(bounds, columns, seed):
    generator = np.random.default_rng(seed)
    pairs = list(zip(bounds[::2], bounds[1::2], strict=False))
    values = generator.uniform(size=len(pairs))
    windows = [window(start / 100, end / 100, value) for (start, end), value in zip(pairs, values, strict=True)]
    edges = np.linspace(windows[0].start, windows[-1].end, columns + 1)
    means = timeline._means(windows, EMOTIONS, edges)
    np.testing.assert_allclose(means.sum(axis=0).compressed(), 1)
    covered = [
        sum(max(0, min(high, one.end) - max(low, one.start)) for one in windows)
        for low, high in itertools.pairwise(edges)
    ]
    durations = np.array([one.end - one.start for one in windows])
    assert (means[1].filled(0) * covered).sum() == pytest.approx((values * durations).sum(), rel=1e-6)


def test_the_line_is_in_the_row_of_the_highest_posterior():
    windows = [window(0, 2, 0.8), window(2, 4, 0.9), window(4, 5, 0.1), window(6, 8, 0.3)]
    means = timeline._means(windows, EMOTIONS, np.arange(9.0))
    assert list(timeline._runs(means)) == [(0, 4, 1), (4, 5, 0), (6, 8, 0)]


@pytest.mark.parametrize(
    ("start", "end", "ticks"),
    [
        (0, 1.5, ["0", "0.375", "0.75", "1.12", "1.5"]),
        (0, 10, [str(i) for i in range(11)]),
        (12, 45, ["15", "20", "25", "30", "35", "40", "45"]),
        (0, 95, ["0:00", "0:10", "0:20", "0:30", "0:40", "0:50", "1:00", "1:10", "1:20", "1:30"]),
        (0, 3600, ["0:00:00", "0:10:00", "0:20:00", "0:30:00", "0:40:00", "0:50:00", "1:00:00"]),
        (0, 90_000, ["0:00:00", "4:00:00", "8:00:00", "12:00:00", "16:00:00", "20:00:00", "24:00:00"]),
        (0, 1e6, ["0:00:00", "27:46:40"]),
    ],
)
def test_ticks_are_at_round_times(start, end, ticks):
    found = [timeline._clock(tick, end) for tick in timeline._ticks(start, end)]
    assert found[: len(ticks)] == ticks
    assert len(found) <= 11


@pytest.mark.parametrize("style", ["png", "svg", "pdf"])
def test_an_hour_and_one_window_are_drawn_in_every_format(style):
    hour = [window(i, i + 3, (i % 100) / 100) for i in range(3600)]
    for windows in (hour, [window(0, 0.06, 0.4)]):
        buffer = BytesIO()
        drawing.write(timeline.draw(windows, EMOTIONS), buffer, style)
        assert 2_000 < len(buffer.getvalue()) < 200_000


def test_long_names_are_clipped_and_other_names_are_drawn_as_they_are():
    emotions = ["$calm_{", "a" * 60]
    result = Result("$calm_{", dict.fromkeys(emotions, 0.5))
    figure = timeline.draw([Prediction("d" * 300 + "/a.wav", 0, 3, result, is_window=True)], emotions)
    drawing.write(figure, BytesIO())
    found = labels(figure)
    assert {"$calm_{", "a" * 12 + "…" + "a" * 12} <= set(found)
    assert max(map(len, found)) < 100
    assert any(text.endswith("/a.wav") for text in found)


def test_sound_from_a_pipe_has_a_title():
    assert "sound from a pipe" in labels(timeline.draw([window(0, 3, 0.2, "-")], EMOTIONS))
