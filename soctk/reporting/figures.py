"""Figures of results, 8 inches wide and legible at 800 pixels, in colours that colour-blind readers can distinguish."""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from soctk import progress
from soctk.errors import SoctkError
from soctk.files import atomic
from soctk.reporting.wording import common_start, label
from soctk.scoring.recorded import used_layers
from soctk.scoring.runs import RunDirectory
from soctk.scoring.score import ExperimentScores

WIDTH, DPI = 8, 150
# Okabe & Ito's palette (2008), with grey in place of yellow, which is hard to see on white. The markers repeat the same
# information as the colours.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
EIGENVECTORS = 24


@dataclass(frozen=True)
class Picture:
    """A figure with its caption.

    Attributes:
        name: the name of its file, without extension.
        caption: a sentence that describes the figure.
        figure: the figure.
        experiment: the name of the experiment; None for a figure of all experiments.
    """

    name: str
    caption: str
    figure: Figure
    experiment: str | None = None


def pictures(experiments: Sequence[ExperimentScores], store: Path | None, has_descriptors: bool) -> Iterator[Picture]:
    """Yield all pictures of the experiments.

    Args:
        experiments: the scores of the experiments.
        store: the feature store of all experiments; by default each experiment's own, if it still exists.
        has_descriptors: whether to draw the pictures that need descriptors: embeddings and mean log-covariances.

    Raises:
        SoctkError: a train.jsonl is damaged, or soctk.reporting.descriptors.of_run raises it.
    """
    caption = "WA of all test utterances with its 95% interval over speakers."
    yield Picture("WA", caption, accuracies(experiments))
    for experiment in experiments:
        yield from _experiment_pictures(experiment, store, has_descriptors)


def save(pictures: Iterator[Picture], directory: Path, style: str = "png") -> Iterator[Path]:
    """Write each picture into a directory as NAME.png (or svg, pdf), and yield its path."""
    for picture in pictures:
        path = directory / f"{picture.name}.{style}"
        with atomic(path) as temporary:
            picture.figure.savefig(temporary, format=style, dpi=DPI)
        yield path


def accuracies(experiments: Sequence[ExperimentScores]) -> Figure:
    """Draw WA with its interval, one row per experiment, grouped by upstream and coloured by pooling."""
    rows = sorted(experiments, key=lambda e: (_upstream(e), e.pooled["WA"].value))
    poolings = {name: i for i, name in enumerate(dict.fromkeys(_pooling(e) for e in experiments))}
    figure = Figure(figsize=(WIDTH, 1.6 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for y, experiment in enumerate(rows):
        value, low, high = experiment.pooled["WA"]
        style = _style(poolings[_pooling(experiment)])
        if not math.isnan(low):
            axes.plot([low, high], [y, y], color=style["color"], linewidth=2, solid_capstyle="butt")
        axes.plot(value, y, markersize=9, linestyle="", **style)
        axes.annotate(f"{value:.1f}", (value, y), (0, 7), textcoords="offset points", ha="center", fontsize=10)
    chance = 100 / len(rows[0].predictions.emotions)
    if axes.get_xlim()[0] < 2 * chance:
        axes.axvline(chance, color="0.4", linestyle=":", linewidth=1.5)
        axes.annotate("chance", (chance, len(rows) - 0.6), (4, 0), textcoords="offset points", color="0.3", fontsize=10)
    axes.set_yticks(range(len(rows)), [_short(label(e)) for e in rows], fontsize=10)
    axes.set_ylim(-0.6, len(rows) - 0.3)
    axes.set_xlabel("WA (%)", fontsize=12)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    for boundary in [y for y in range(1, len(rows)) if _upstream(rows[y]) != _upstream(rows[y - 1])]:
        axes.axhline(boundary - 0.5, color="0.7", linewidth=1)
    if len(poolings) > 1:
        handles = [axes.plot([], [], linestyle="", **_style(i), label=name)[0] for name, i in poolings.items()]
        figure.legend(handles=handles, title="pooling", loc="outside lower center", ncols=4, fontsize=10)
    return figure


def confusion(experiment: ExperimentScores) -> Figure:
    """Draw the confusion matrix: the share of each true class that was classified as each class, in %."""
    counts = experiment.confusion
    shares = 100 * counts.div(counts.sum(axis=1).replace(0, 1), axis=0)
    size = len(counts)
    figure = Figure(figsize=(WIDTH, 2 + 0.62 * max(size, 4)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for (row, column), share in np.ndenumerate(shares.to_numpy()):
        colour = "black" if share > 55 else "white"
        axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=colour, fontsize=12 if size <= 10 else 8)
    axes.set_xticks(range(size), counts.columns, rotation=35, ha="right", rotation_mode="anchor", fontsize=11)
    axes.set_yticks(range(size), counts.index, fontsize=11)
    axes.set_xlabel("classified as", fontsize=12)
    axes.set_ylabel("true class", fontsize=12)
    figure.colorbar(image, label="% of the utterances of the true class", pad=0.02)
    figure.suptitle(_title(experiment), fontsize=12)
    return figure


def learning_curves(experiment: ExperimentScores) -> Figure | None:
    """Draw losses and validation WA over epochs, or over C; return None if no run has a train.jsonl."""
    logs = _logs(experiment)
    if not logs:
        return None
    figure = Figure(figsize=(WIDTH, 4), layout="constrained")
    losses, accuracy = figure.subplots(1, 2)
    for number, log in enumerate(logs):
        best = int(log["valid_loss"].to_numpy().argmin())
        labels = ("training", "validation", "chosen") if number == 0 else (None, None, None)
        if "train_loss" in log:
            losses.plot(log["train_loss"], color=COLOURS[1], alpha=0.6, linestyle="--", label=labels[0])
        losses.plot(log["valid_loss"], color=COLOURS[0], alpha=0.6, label=labels[1])
        losses.plot(log.index[best], log["valid_loss"].iloc[best], "o", color="black", markersize=4, label=labels[2])
        accuracy.plot(100 * log["valid_WA"], color=COLOURS[0], alpha=0.6)
        accuracy.plot(log.index[best], 100 * log["valid_WA"].iloc[best], "o", color="black", markersize=4)
    is_over_c = logs[0].index.name == "C"
    for axes, name in ((losses, "loss (nats)"), (accuracy, "validation WA (%)")):
        axes.set_xlabel("C (weaker regularisation to the right)" if is_over_c else "epoch", fontsize=11)
        axes.set_ylabel(name, fontsize=11)
        axes.grid(color="0.9")
        if is_over_c:
            axes.set_xscale("log")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    losses.legend(fontsize=10)
    figure.suptitle(f"{_title(experiment)}: {len(logs)} runs", fontsize=12)
    return figure


def embedding(experiment: ExperimentScores, points: np.ndarray, utterances: pd.DataFrame, method: str) -> Figure:
    """Draw descriptors in two dimensions, coloured by emotion on the left and by speaker on the right.

    Args:
        experiment: the experiment.
        points: the descriptors in two dimensions, `(N, 2)`.
        utterances: one row for each point: spk, and ref (the index of the emotion).
        method: the name of the method that computed the points, for the title.
    """
    figure = Figure(figsize=(WIDTH, 5.3), layout="constrained")
    by_emotion, by_speaker = figure.subplots(1, 2)
    emotions = experiment.predictions.emotions
    for index, emotion in enumerate(emotions):
        chosen = (utterances["ref"] == index).to_numpy()
        by_emotion.scatter(*points[chosen].T, s=18, alpha=0.8, linewidths=0, label=emotion, **_style(index))
    speakers = sorted(utterances["spk"].unique())
    common = common_start(speakers).rstrip("0123456789")
    for index, speaker in enumerate(speakers):
        chosen = (utterances["spk"] == speaker).to_numpy()
        by_speaker.scatter(*points[chosen].T, s=18, alpha=0.8, linewidths=0, **_style(index))
        if len(speakers) <= 30:
            position = _densest(points[chosen])
            box = {"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.75, "linewidth": 0}
            by_speaker.text(*position, speaker.removeprefix(common), fontsize=9, ha="center", va="center", bbox=box)
    count = f"{len(speakers)}: {common}…" if common else f"{len(speakers)}"
    for axes, name in ((by_emotion, "by emotion"), (by_speaker, f"by speaker ({count})")):
        axes.set_title(name, fontsize=11)
        axes.set_xticks([])
        axes.set_yticks([])
    columns = math.ceil(len(emotions) / 2) if len(emotions) > 5 else len(emotions)
    figure.legend(loc="outside lower center", ncols=columns, fontsize=10, markerscale=2)
    figure.suptitle(f"{_title(experiment)}\n{method} of {len(points)} descriptors", fontsize=12)
    return figure


def log_covariances(experiment: ExperimentScores, matrices: np.ndarray, references: np.ndarray) -> Figure:
    """Draw the mean log-covariance, and the difference of each emotion's mean from it.

    Matrices with more than 24 dimensions are drawn in the basis of the 24 leading eigenvectors of the overall mean.

    Args:
        experiment: the experiment.
        matrices: the log-covariances of N utterances, `(N, d, d)`.
        references: the index of the emotion of each utterance, `(N,)`.
    """
    size = matrices.shape[1]
    overall = matrices.mean(axis=0, dtype=np.float64)
    basis = np.eye(size)
    if size > EIGENVECTORS:
        basis = np.linalg.eigh(overall)[1][:, : -EIGENVECTORS - 1 : -1]
    emotions = [(i, name) for i, name in enumerate(experiment.predictions.emotions) if (references == i).any()]
    differences = [basis.T @ (matrices[references == i].mean(axis=0) - overall) @ basis for i, _ in emotions]
    columns = min(3, 1 + len(emotions))
    rows = math.ceil((1 + len(emotions)) / columns)
    figure = Figure(figsize=(WIDTH, 1 + 2.5 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    mean, limit = basis.T @ overall @ basis, np.abs(differences).max()
    panels = [(f"mean of all (scale ±{np.abs(mean).max():.2g})", mean, np.abs(mean).max())]
    panels += [(name, matrix, limit) for (_, name), matrix in zip(emotions, differences, strict=True)]
    for axes, (name, matrix, bound) in zip(grid, panels, strict=False):
        image = axes.imshow(matrix, cmap="PuOr", vmin=-bound, vmax=bound)
        axes.set_title(name, fontsize=11)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.colorbar(image, ax=list(grid), shrink=0.6, label="emotion's mean minus the mean of all")
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    shown = f"{EIGENVECTORS} leading eigenvectors of {size} dimensions" if size > EIGENVECTORS else f"d = {size}"
    figure.suptitle(f"{_title(experiment)}\nmean log-covariance, {shown}", fontsize=12)
    return figure


def _experiment_pictures(experiment: ExperimentScores, store: Path | None, has_descriptors: bool) -> Iterator[Picture]:
    name, title = experiment.name.replace("/", "_"), label(experiment)
    yield Picture(
        f"{name}-confusion",
        f"{title}: the share of each true class (row) that was classified as each class (column), in %.",
        confusion(experiment),
        experiment.name,
    )
    curves = learning_curves(experiment)
    if curves:
        caption = f"{title}: losses and validation WA, one line for each fold and seed."
        yield Picture(f"{name}-curves", caption, curves, experiment.name)
    if has_descriptors:
        yield from _descriptor_pictures(experiment, name, store)


def _descriptor_pictures(experiment: ExperimentScores, name: str, store: Path | None) -> Iterator[Picture]:
    # These modules import torch, which the other figures do not need.
    from soctk.reporting import descriptors
    from soctk.reporting.embedding import embed

    title = label(experiment)
    described = descriptors.of_run(experiment.predictions, store)
    if described is None:
        reason = "its feature store (--feats DIR) or its model was not found"
        progress.message(f"{title}: no pictures of its descriptors, because {reason}", file=sys.stderr)
        return
    stage = ", before re-centring" if experiment.is_recentred else ""
    source = f"of test utterances, by the model of fold {described.fold}, seed {described.seed}{stage}"
    for method, points in embed(described.values).items():
        yield Picture(
            f"{name}-{method.lower()}",
            f"{title}: {method} of the descriptors {source}.",
            embedding(experiment, points, described.utterances, method),
            experiment.name,
        )
    matrices = described.log_covariances()
    if matrices is not None:
        yield Picture(
            f"{name}-logcov",
            f"{title}: mean log-covariance {source}, and the difference of each emotion's mean from it.",
            log_covariances(experiment, matrices, described.utterances["ref"].to_numpy()),
            experiment.name,
        )


def _densest(points: np.ndarray, neighbours: int = 5) -> np.ndarray:
    """Return the point with the smallest sum of distances to its nearest neighbours, the place for a label."""
    distances = np.sort(np.linalg.norm(points[:, None] - points[None], axis=-1), axis=1)
    return points[distances[:, : neighbours + 1].sum(axis=1).argmin()]


def _logs(experiment: ExperimentScores) -> list[pd.DataFrame]:
    """Return the losses and the validation WA of each run with a train.jsonl, indexed by epoch or C."""
    logs = []
    for fold, seed in zip(experiment.runs["fold"], experiment.runs["seed"], strict=True):
        path = RunDirectory(experiment.predictions.path, fold, seed).log
        if path.is_file():
            try:
                log = pd.DataFrame([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])
                axis = "epoch" if "epoch" in log else "C"
                logs.append(log.set_index(axis)[["valid_loss", "valid_WA", *log.columns.intersection(["train_loss"])]])
            except (ValueError, KeyError) as error:
                raise SoctkError(
                    f"not a training log ({error})", remedy="Remove the run and train it again.", where=path
                ) from error
    return logs


def _style(index: int) -> dict[str, Any]:
    """Return the colour and the marker of a class; classes with the same colour have different markers."""
    turn = index // len(COLOURS)
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[(index + turn) % len(MARKERS)]}


def _upstream(experiment: ExperimentScores) -> str:
    settings = experiment.predictions.settings
    return f"{settings.get('features', {}).get('upstream', '')} {used_layers(settings)}"


def _pooling(experiment: ExperimentScores) -> str:
    return "+".join(experiment.predictions.settings.get("pooling", {})) or "unknown"


def _short(name: str, width: int = 34) -> str:
    """Break a long name into two lines after the hyphen, plus sign or slash nearest to its middle."""
    if len(name) <= width:
        return name
    breaks = [i for i, letter in enumerate(name) if letter in "-+/"] or [len(name) // 2]
    middle = min(breaks, key=lambda i: abs(i - len(name) // 2)) + 1
    return f"{name[:middle]}\n{name[middle:]}"


def _title(experiment: ExperimentScores) -> str:
    return _short(label(experiment), 70)
