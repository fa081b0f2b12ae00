"""Charts of dimensions: CCC of all experiments, and predicted against labelled values."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from soctk.reporting import drawing
from soctk.reporting.drawing import COLOURS, WIDTH, series, short
from soctk.reporting.wording import label
from soctk.scoring import scales
from soctk.scoring.score import ExperimentScores


def concordances(experiments: Sequence[ExperimentScores]) -> Figure:
    """Draw CCC with its interval, one row per experiment and dimension, coloured by dimension."""
    parts = list(dict.fromkeys(part for e in experiments for part in e.scale.parts))
    rows = [(part, e) for part in parts for e in experiments if part in e.scale.parts]
    figure = Figure(figsize=(WIDTH, 1.6 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for y, (part, experiment) in enumerate(rows):
        value, low, high = experiment.pooled[scales.key("CCC", part)]
        style = series(parts.index(part))
        if not math.isnan(low):
            axes.plot([low, high], [y, y], color=style["color"], linewidth=2, solid_capstyle="butt")
        axes.plot(value, y, markersize=9, linestyle="", **style)
        axes.annotate(f"{value:.2f}", (value, y), (0, 7), textcoords="offset points", ha="center", fontsize=10)
    axes.set_yticks(range(len(rows)), [short(f"{label(e)}: {part}") for part, e in rows], fontsize=10)
    axes.set_ylim(-0.6, len(rows) - 0.3)
    axes.set_xlabel("CCC", fontsize=12)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    return figure


def predicted(experiment: ExperimentScores) -> Figure:
    """Draw the predicted value of each test utterance over its labelled value, one chart per dimension.

    A line marks equal values. Values are those of the first seed.
    """
    table, names = experiment.predictions.table, experiment.predictions.dimensions
    table = table[table["seed"] == experiment.seeds[0]]
    figure = Figure(figsize=(WIDTH, 0.9 + WIDTH / max(2, len(names))), layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        labels, values = table[f"ref_{name}"], table[f"hyp_{name}"]
        low, high = min(labels.min(), values.min()), max(labels.max(), values.max())
        opacity = min(0.6, max(0.05, 60 / math.sqrt(len(table)) / 10))
        axes.plot(labels, values, "o", color=COLOURS[0], markersize=4, alpha=opacity, markeredgewidth=0)
        axes.plot([low, high], [low, high], color="0.3", linewidth=1, linestyle="--")
        axes.set_aspect("equal", adjustable="box")
        axes.set_xlabel(f"labelled {name}", fontsize=11)
        axes.set_ylabel(f"predicted {name}", fontsize=11)
        axes.set_title(f"CCC {experiment.pooled[scales.key('CCC', name)].value:.3f}", fontsize=11)
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
    figure.suptitle(drawing.title(experiment), fontsize=12)
    return figure
