"""ROBUSTNESS.md: the scores of experiments on disturbed recordings, as tables and pictures."""

import math
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from soctk import provenance
from soctk.corpus.disturbance import CLEAN, KINDS, NOISES, Condition
from soctk.files import atomic
from soctk.reporting import drawing
from soctk.reporting.drawing import WIDTH, Picture, series
from soctk.reporting.tables import bounds
from soctk.reporting.text import fill, markdown, markdown_code, markdown_list, narrow_table, table, wrap
from soctk.reporting.wording import (
    RECENTRING,
    TITLES,
    common_prefix,
    digits,
    label,
    overlaps,
    split_key,
    title,
)
from soctk.scoring import scales
from soctk.scoring.intervals import Interval
from soctk.scoring.robustness import Robustness, Row

NAME = "ROBUSTNESS.md"
_STYLES = ("png", "svg")
_HEADER = 16  # characters of a line of a header

MEANING = (
    "Each test recording is disturbed, and then classified by the model of its own fold, which was not trained on it. "
    "Scores are over the test utterances of all folds together, averaged over seeds; [] is their 95% interval over "
    "speakers. Change: the score minus that of clean, on the same utterances, with the 95% interval of this "
    "difference. The signal-to-noise ratio (SNR) is that of the mean squares of speech and noise, pauses included, at "
    "the sample rate of the encoder, or of the recording if it is lower."
)


def as_text(several: Sequence[Robustness]) -> str:
    """Return the tables for a terminal of 80 columns."""
    names = _names(several)
    parts = [_side_by_side(several, names, key, "simple") for key in _common(several)] if len(several) > 1 else []
    for one, name in zip(several, names, strict=True):
        if len(several) > 1:
            parts.append(f"{name}:")
        parts += [narrow_table(rows, headers) for headers, rows in _tables(one)]
    parts += [MEANING, *_notes(several)]
    return "\n\n".join(fill(part) for part in parts)


def as_markdown(several: Sequence[Robustness], command: str, pictures: Sequence[str]) -> str:
    """Return the text of ROBUSTNESS.md.

    Args:
        several: the experiments.
        command: the command that makes the file.
        pictures: the names of the picture files beside it.
    """
    names = _names(several)
    conditions = {row.condition.kind for one in several for row in one.rows}
    versions = provenance.versions("soctk", "torch", "numpy", "soundfile", "torchaudio")
    scored_with = ", ".join(f"{package} {version}" for package, version in versions.items())
    parts = [
        "# Robustness",
        f"Written by {markdown_code(command)} on {date.today()}.",
        MEANING,
        markdown_list(
            [
                *(f"{kind}: {KINDS[kind].about}." for kind in KINDS if kind in conditions),
                *_notes(several),
                f"Made with {scored_with}, commit {provenance.commit()}.",
            ]
        ),
        *(f"![{name}]({name})" for name in pictures if name.endswith("png")),
    ]
    if len(several) > 1:
        parts += [_side_by_side(several, names, key, "github") for key in _common(several)]
    for one in several:
        parts += [f"## {markdown(label(one.experiment))}"] if len(several) > 1 else []
        parts += [table(rows, headers, "github") for headers, rows in _tables(one)]
    return "\n\n".join(parts) + "\n"


def write(directory: Path, several: Sequence[Robustness], command: str) -> list[Path]:
    """Write ROBUSTNESS.md and its pictures into a directory; return their paths."""
    paths = []
    for picture in pictures(several):
        for style in _STYLES:
            paths.append(directory / f"{picture.name}.{style}")
            with atomic(paths[-1]) as temporary:
                drawing.write(picture.figure, temporary, style)
    text = as_markdown(several, command, [path.name for path in paths])
    with atomic(directory / NAME) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return [directory / NAME, *paths]


def pictures(several: Sequence[Robustness]) -> Iterator[Picture]:
    """Yield a picture for each main score that all experiments have: WA, or CCC of each dimension."""
    has_conditions = any(len(one.rows) > 1 for one in several)
    for key in _common(several) if has_conditions else []:
        part = split_key(key)[1]
        caption = (
            f"{title(key)} on disturbed test recordings (soctk-robustness) with its 95% interval over speakers. "
            "Dashed: clean recordings."
        )
        yield Picture(f"robustness{f'-{part}' if part else ''}", caption, draw(several, key))


def draw(several: Sequence[Robustness], key: str) -> Figure:
    """Draw a score over the signal-to-noise ratio, a panel for each noise, and as rows for the other conditions.

    Args:
        several: the experiments, one colour each.
        key: the key of the score.
    """
    conditions = sorted({row.condition for one in several for row in one.rows}, key=lambda each: each.place)
    noises = [kind for kind in NOISES if any(each.kind == kind for each in conditions)]
    others = [each for each in conditions if each.kind not in (*NOISES, CLEAN)]
    heights = [3.2] * bool(noises) + [0.5 + 0.36 * len(others)] * bool(others)
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.3 + 0.3 * len(several)), layout="constrained")
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    if noises:
        panels = parts[0].subplots(1, len(noises), sharey=True, squeeze=False)[0]
        for axes, kind in zip(panels, noises, strict=True):
            _draw_noise(axes, several, key, kind)
        panels[0].set_ylabel(_axis(key), fontsize=13)
    if others:
        _draw_others(parts[-1].subplots(), several, key, others)
    if len(several) > 1:
        handles = [figure.axes[0].plot([], [], **series(i))[0] for i in range(len(several))]
        names = [drawing.clipped(name, 60) for name in _names(several)]
        figure.legend(handles, names, loc="outside lower center", ncols=1, fontsize=12, frameon=False)
    return figure


def _draw_noise(axes: Axes, several: Sequence[Robustness], key: str, kind: str) -> None:
    """Draw the curve of each experiment over the signal-to-noise ratio."""
    ratios: set[float] = set()
    for index, one in enumerate(several):
        style = series(index)
        _draw_clean(axes.axhline, one, key, style["color"])
        points = [(row.condition.value or 0.0, row.scores[key]) for row in one.rows if row.condition.kind == kind]
        if points:
            x, scores = zip(*points, strict=True)
            value, low, high = np.array(scores).T
            if len(x) > 1:
                axes.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)
            else:
                axes.vlines(x, low, high, color=style["color"], linewidth=2)
            axes.plot(x, value, markersize=7, linewidth=2, **style)
            ratios.update(x)
    axes.set_xticks(sorted(ratios), [f"{x:g}" for x in sorted(ratios)], fontsize=12)
    axes.invert_xaxis()
    axes.tick_params(axis="y", labelsize=12)
    axes.set_title(kind, fontsize=13)
    axes.set_xlabel("SNR (dB)", fontsize=12)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)


def _draw_others(axes: Axes, several: Sequence[Robustness], key: str, conditions: Sequence[Condition]) -> None:
    """Draw a row for each condition without noise."""
    step = 0.6 / len(several)
    for index, one in enumerate(several):
        style = series(index)
        _draw_clean(axes.axvline, one, key, style["color"])
        for row in one.rows:
            if row.condition in conditions:
                y = conditions.index(row.condition) + step * (index - (len(several) - 1) / 2)
                value, low, high = row.scores[key]
                if not math.isnan(low):
                    axes.plot([low, high], [y, y], color=style["color"], linewidth=2, solid_capstyle="butt")
                axes.plot(value, y, markersize=7, linestyle="", **style)
    axes.set_yticks(range(len(conditions)), [condition.title for condition in conditions], fontsize=12)
    axes.set_ylim(len(conditions) - 0.4, -0.6)
    axes.tick_params(axis="x", labelsize=12)
    axes.set_xlabel(_axis(key), fontsize=13)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)


def _draw_clean(line, one: Robustness, key: str, colour: str) -> None:
    """Draw the score of clean recordings by `axhline` or `axvline`."""
    line(one.rows[0].scores[key].value, color=colour, linestyle="--", linewidth=1.2)


def _axis(key: str) -> str:
    return f"{title(key)} (%)" if split_key(key)[0] in ("WA", "UA", "F1") else title(key)


def _common(several: Sequence[Robustness]) -> list[str]:
    """Return the main scores that all experiments have, in order."""
    return [key for key in several[0].main if all(key in one.main for one in several)]


def _names(several: Sequence[Robustness]) -> list[str]:
    """Return the names of the experiments without their common prefix."""
    prefix = common_prefix([one.experiment.name for one in several])
    return [label(one.experiment).removeprefix(prefix) for one in several]


def _tables(one: Robustness) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Yield the headers and the rows of a table: of all classes, or of each dimension."""
    scale = one.experiment.scale
    for part in scale.parts:
        keys = [scales.key(metric, part) for metric in scale.compared[:2]]
        names = [TITLES[metric] for metric in scale.compared[:2]]
        headers = [part or "condition", *(f"{name} [95%]" for name in names), f"change of {names[0]}"]
        yield (
            headers,
            [
                [row.condition.title, *(_score(row.scores[key], key) for key in keys), _change(row, keys[0])]
                for row in one.rows
            ],
        )


def _side_by_side(several: Sequence[Robustness], names: Sequence[str], key: str, style: str) -> str:
    """Return a table of one score with a column for each experiment."""
    found = [{row.condition: row.scores[key] for row in one.rows} for one in several]
    conditions = sorted(set().union(*found), key=lambda condition: condition.place)
    rows = [
        [condition.title, *(_score(scores[condition], key) if condition in scores else "" for scores in found)]
        for condition in conditions
    ]
    headers = [wrap(name, _HEADER) for name in names] if style == "simple" else names
    return table(rows, [f"{title(key)} [95%]", *headers], style)


def _score(interval: Interval, key: str) -> str:
    """Return a score and its interval; one digit is enough beside the width of the intervals."""
    places = digits(key) - 1
    return f"{interval.value:.{places}f} {bounds(interval, places)}".rstrip()


def _change(row: Row, key: str) -> str:
    if row.condition.kind == CLEAN:
        return ""
    places, change = digits(key) - 1, row.changes[key]
    value = round(change.value, places) or 0.0  # no -0.0
    return f"{value:+.{places}f} {bounds(change, places)}".rstrip().replace("-", "−")


def _notes(several: Sequence[Robustness]) -> list[str]:
    experiments = [one.experiment for one in several]
    notes = [
        f"{label(one.experiment)}: only the folds {', '.join(map(str, one.folds))} were tested."
        for one in several
        if list(one.folds) != one.experiment.predictions.folds
    ]
    if any(experiment.is_recentred for experiment in experiments):
        notes.append(f"{RECENTRING} These recordings are disturbed in the same way as the test recordings.")
    return [*notes, *overlaps(experiments)]
