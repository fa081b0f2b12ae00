"""Charts of scores: WA of all experiments, WA by speaker, confusion matrices and learning curves."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from soctk.errors import plural
from soctk.reporting import drawing
from soctk.reporting.drawing import COLOURS, WIDTH, series, short
from soctk.reporting.wording import label
from soctk.scoring.choice import of_chosen
from soctk.scoring.logs import read as read_log
from soctk.scoring.recorded import pooling_name, upstream_name, used_layers
from soctk.scoring.runs import RunDirectory
from soctk.scoring.score import ExperimentScores

# With more speakers, the chart by speaker shows their distribution instead of a row for each.
MOST_ROWS = 40


def accuracies(experiments: Sequence[ExperimentScores]) -> Figure:
    """Draw WA with its interval, one row per experiment, grouped by upstream and coloured by pooling.

    If all experiments have the same number of classes, a line shows chance: the WA of a class that is drawn at random.
    """
    rows = sorted(experiments, key=lambda e: (_upstream(e), e.pooled["WA"].value))
    poolings = {name: i for i, name in enumerate(dict.fromkeys(_pooling(e) for e in experiments))}
    figure = Figure(figsize=(WIDTH, 1.6 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for y, experiment in enumerate(rows):
        value, low, high = experiment.pooled["WA"]
        style = series(poolings[_pooling(experiment)])
        if not math.isnan(low):
            axes.plot([low, high], [y, y], color=style["color"], linewidth=2, solid_capstyle="butt")
        axes.plot(value, y, markersize=9, linestyle="", **style)
        axes.annotate(f"{value:.1f}", (value, y), (0, 7), textcoords="offset points", ha="center", fontsize=10)
    classes = {len(experiment.predictions.emotions) for experiment in rows}
    chance = 100 / max(classes)
    if len(classes) == 1 and axes.get_xlim()[0] < 2 * chance:
        axes.axvline(chance, color="0.4", linestyle=":", linewidth=1.5)
        axes.annotate("chance", (chance, len(rows) - 0.6), (4, 0), textcoords="offset points", color="0.3", fontsize=10)
    axes.set_yticks(range(len(rows)), [short(label(e)) for e in rows], fontsize=10)
    axes.set_ylim(-0.6, len(rows) - 0.3)
    axes.set_xlabel("WA (%)", fontsize=12)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    for boundary in [y for y in range(1, len(rows)) if _upstream(rows[y]) != _upstream(rows[y - 1])]:
        axes.axhline(boundary - 0.5, color="0.7", linewidth=1)
    if len(poolings) > 1:
        handles = [axes.plot([], [], linestyle="", **series(i))[0] for i in poolings.values()]
        figure.legend(handles, list(poolings), title="pooling", loc="outside lower center", ncols=4, fontsize=10)
    return figure


def speaker_accuracies(experiment: ExperimentScores) -> pd.DataFrame:
    """Return a row for each speaker, the highest WA first: utterances, and WA (in %, averaged over seeds)."""
    table = experiment.predictions.table
    correct = 100.0 * (table["ref"] == table["hyp"])
    predictions = experiment.predictions
    name_of = dict(zip(predictions.utterances["utt"], predictions.shown_speakers, strict=True))
    by_speaker = correct.groupby(table["utt"].map(name_of).rename("spk")).agg(["size", "mean"])
    by_speaker["size"] //= len(experiment.seeds)
    by_speaker.columns = pd.Index(["utterances", "WA"])
    return by_speaker.sort_values("WA", ascending=False, kind="stable")


def speakers(experiment: ExperimentScores) -> Figure:
    """Draw WA of each speaker: a row for each, or with more than MOST_ROWS speakers their distribution."""
    table, overall = speaker_accuracies(experiment), experiment.pooled["WA"].value
    draw = _speaker_rows if len(table) <= MOST_ROWS else _speaker_distribution
    figure = draw(table, overall)
    figure.suptitle(drawing.title(experiment), fontsize=12)
    return figure


def _speaker_rows(table: pd.DataFrame, overall: float) -> Figure:
    figure = Figure(figsize=(WIDTH, 1.5 + 0.22 * len(table)), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(table))[::-1]
    axes.hlines(rows, overall, table["WA"], color=COLOURS[4], linewidth=3)
    axes.plot(table["WA"], rows, "o", color=COLOURS[0], markersize=6)
    axes.axvline(overall, color="0.3", linewidth=1, linestyle="--")
    names = [f"{drawing.clipped(str(name))} ({n})" for name, n in table["utterances"].items()]
    axes.set_yticks(rows, names, fontsize=9)
    axes.set_ylim(-0.8, len(table) - 0.2)
    axes.set_ylabel("speaker (number of utterances)", fontsize=11)
    axes.set_xlabel(f"WA (%); dashed: all utterances, {overall:.1f}", fontsize=11)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    return figure


def _speaker_distribution(table: pd.DataFrame, overall: float) -> Figure:
    figure = Figure(figsize=(WIDTH, 4), layout="constrained")
    counts, by_size = figure.subplots(1, 2)
    counts.hist(table["WA"], bins=np.linspace(0, 100, 21), color=COLOURS[0], edgecolor="white", linewidth=0.5)
    counts.axvline(overall, color="0.3", linewidth=1, linestyle="--")
    counts.set_xlabel(f"WA (%); dashed: all utterances, {overall:.1f}", fontsize=11)
    counts.set_ylabel("number of speakers", fontsize=11)
    counts.yaxis.set_major_locator(MaxNLocator(integer=True))
    by_size.plot(table["utterances"], table["WA"], "o", color=COLOURS[0], markersize=4, alpha=0.4, markeredgewidth=0)
    by_size.axhline(overall, color="0.3", linewidth=1, linestyle="--")
    by_size.set_xlabel("number of utterances of the speaker", fontsize=11)
    by_size.set_ylabel("WA of the speaker (%)", fontsize=11)
    by_size.set_ylim(-3, 103)
    if table["utterances"].max() > 10 * table["utterances"].min():
        _set_log_scale(by_size, table["utterances"].tolist())
    else:
        by_size.xaxis.set_major_locator(MaxNLocator(integer=True))
    by_size.grid(color="0.9")
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
    names = [drawing.clipped(name) for name in counts.columns]
    axes.set_xticks(range(size), names, rotation=35, ha="right", rotation_mode="anchor", fontsize=11)
    axes.set_yticks(range(size), names, fontsize=11)
    axes.set_xlabel("classified as", fontsize=12)
    axes.set_ylabel("true class", fontsize=12)
    figure.colorbar(image, label="% of the utterances of the true class", pad=0.02)
    figure.suptitle(drawing.title(experiment), fontsize=12)
    return figure


def learning_curves(experiment: ExperimentScores) -> Figure | None:
    """Draw losses and validation WA (or CCC) over epochs, or over C; return None if no run has a train.jsonl.

    Raises:
        SoctkError: a train.jsonl is damaged.
    """
    logs = _logs(experiment)
    if not logs:
        return None
    figure = Figure(figsize=(WIDTH, 4), layout="constrained")
    losses, accuracy = figure.subplots(1, 2)
    has_classes = "valid_WA" in logs[0]
    for number, log in enumerate(logs):
        best = int(log["valid_loss"].to_numpy().argmin())
        labels = ("training", "validation", "chosen") if number == 0 else (None, None, None)
        if "train_loss" in log:
            losses.plot(log["train_loss"], color=COLOURS[1], alpha=0.6, linestyle="--", label=labels[0])
        losses.plot(log["valid_loss"], color=COLOURS[0], alpha=0.6, label=labels[1])
        losses.plot(log.index[best], log["valid_loss"].iloc[best], "o", color="black", markersize=4, label=labels[2])
        score = 100 * log["valid_WA"] if has_classes else log["valid_CCC"]
        accuracy.plot(score, color=COLOURS[0], alpha=0.6)
        accuracy.plot(log.index[best], score.iloc[best], "o", color="black", markersize=4)
    is_over_c = logs[0].index.name == "C"
    names = ("loss (nats)", "validation WA (%)") if has_classes else ("loss (1 - CCC)", "validation CCC")
    for axes, name in zip((losses, accuracy), names, strict=True):
        axes.set_xlabel("C (weaker regularisation to the right)" if is_over_c else "epoch", fontsize=11)
        axes.set_ylabel(name, fontsize=11)
        axes.grid(color="0.9")
        if is_over_c:
            _set_log_scale(axes, logs[0].index.tolist())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    losses.legend(fontsize=10)
    figure.suptitle(f"{drawing.title(experiment)}: {plural(len(logs), 'run')}", fontsize=12)
    return figure


def _set_log_scale(axes: Axes, values: Sequence[float]) -> None:
    """Make the horizontal axis logarithmic, with plain numbers; matplotlib's own labels are mathematical notation."""
    axes.set_xscale("log")
    is_short = max(values) < 100 * min(values)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if is_short else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _logs(experiment: ExperimentScores) -> list[pd.DataFrame]:
    """Return the losses and the validation score of each run with a train.jsonl, indexed by epoch or C.

    If a run chose among hidden states or pooling layers, they are those of its choice.
    """
    tables = []
    for fold, seed in zip(experiment.runs["fold"], experiment.runs["seed"], strict=True):
        run = RunDirectory(experiment.predictions.path, fold, seed)
        if run.log.is_file():
            log = pd.DataFrame(of_chosen(read_log(run)))
            columns = ["valid_loss", *log.columns.intersection(["valid_WA", "valid_CCC", "train_loss"])]
            tables.append(log.set_index("epoch" if "epoch" in log else "C")[columns].astype(float))
    return tables


def _upstream(experiment: ExperimentScores) -> str:
    settings = experiment.predictions.settings
    is_choice = settings.get("frames", {}).get("layers") == "auto"
    layers = "chosen in each fold" if is_choice else used_layers(settings)
    return f"{upstream_name(settings)} {layers}"


def _pooling(experiment: ExperimentScores) -> str:
    return pooling_name(experiment.predictions.settings) or "unknown"
