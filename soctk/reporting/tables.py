"""The tables of a report, in any table format of tabulate."""

import math
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from soctk.reporting.report import Report, listed, not_comparable
from soctk.reporting.text import table
from soctk.reporting.wording import (
    COMPARISON_MEANING,
    TITLES,
    digits,
    label,
    missing_classes,
    number,
    overlaps,
    title,
)
from soctk.scoring import choice, scales
from soctk.scoring.intervals import Interval
from soctk.scoring.metrics import METRICS
from soctk.scoring.score import ExperimentScores, Spread
from soctk.scoring.subgroups import Subgroup

COMPARISON_HEADERS = ("experiments", "metric", "difference", "p", "Holm", "McNemar", "Holm")
GAP_HEADERS = ("gap by", "metric", "groups", "highest", "lowest", "difference [95%]")
METRIC_TITLES = tuple(TITLES[metric] for metric in METRICS)
# If an attribute has more than twice this many values, its table shows this many with the lowest score and this many
# with the highest score.
SUBGROUPS_SHOWN = 12


def summary(report: Report, style: str) -> list[str]:
    """Return the tables about all experiments, and sentences about them."""
    parts = ["Scores over the test utterances of all folds together, with 95% intervals over speakers:"]
    parts += [table(_pooled_rows(same), ("all utterances", *_pooled_headers(same)), style) for same in by_scale(report)]
    parts.append("Means over folds, with standard deviations:")
    for same in by_scale(report):
        headers = (TITLES[metric] for metric in same[0].scale.compared)
        parts.append(table(_mean_rows(same), ("experiment", "folds", "seeds", *headers), style))
    parts += missing_classes(report.experiments)
    if report.comparison is not None:
        parts.append(COMPARISON_MEANING)
        for name in dict.fromkeys(report.comparison["metric"]):
            rows = comparison_rows(report.comparison[report.comparison["metric"] == name], labels(report))
            parts.append(table(rows, (title(name), "and", *COMPARISON_HEADERS[2:]), style))
    published = published_rows(report)
    if published:
        parts.append(table(published, ("published", "source", *METRIC_TITLES, "differences"), style))
    return parts


def details(experiment: ExperimentScores, style: str) -> list[str]:
    """Return a sentence about the training of one experiment, and its tables by fold, class and subgroup."""
    sentence = f"Protocol {experiment.protocol}, head {experiment.head}, seeds {listed(experiment.seeds)}."
    if experiment.predictions.left_out:
        sentence += f" Seeds left out because folds are missing: {listed(experiment.predictions.left_out)}."
    chosen = choice.describe_candidates(experiment.predictions.runs)
    if chosen:
        sentence += f" Chosen in each run by its inner cross-validation: {chosen}."
    scale = experiment.scale
    parts = [sentence, *overlaps([experiment])]
    parts.append(table(fold_rows(experiment, scale.columns), ("fold", "utterances", *map(title, scale.columns)), style))
    if len(experiment.per_class):
        classified = tuple(f"as {name}" for name in experiment.confusion)
        headers = ("class", "precision", "recall", "F1", "utterances", *classified)
        parts.append(table(_class_rows(experiment), headers, style))
    first, *others = _subgroup_columns(experiment)
    headers = ("subgroup", "value", "utterances", "speakers", f"{title(first)} [95%]", *map(title, others))
    parts.append(table(_subgroup_rows(experiment), headers, style))
    if experiment.gaps:
        parts.append(table(_gap_rows(experiment), GAP_HEADERS, style))
    return parts


def by_scale(report: Report) -> list[list[ExperimentScores]]:
    """Return groups of experiments with the same metrics: experiments on classes, and experiments on dimensions."""
    together: dict[tuple[str, ...], list[ExperimentScores]] = {}
    for experiment in report.experiments:
        together.setdefault(experiment.scale.compared, []).append(experiment)
    return list(together.values())


def part_label(experiment: ExperimentScores, part: str, name: str | None = None) -> str:
    """Return the printed name of an experiment, or of one of its dimensions."""
    name = label(experiment) if name is None else name
    return f"{name}: {part}" if part else name


def labels(report: Report) -> dict[str, str]:
    """Return name -> printed name for each experiment."""
    return {experiment.name: label(experiment) for experiment in report.experiments}


def published_rows(report: Report) -> list[tuple[str, ...]]:
    """Return a row for each experiment with published scores, followed by a row for each publication."""
    rows = []
    for experiment in report.experiments:
        figures = report.published_for(experiment).to_dict("records")
        if figures:
            means = (f"{experiment.over_folds()[metric].mean:.2f}" for metric in METRICS)
            rows.append((label(experiment), "this experiment, mean over folds", *means, ""))
        for figure in figures:
            values = ("" if math.isnan(figure[metric]) else f"{figure[metric]:.2f}" for metric in METRICS)
            differs = not_comparable(figure["differs"]) if figure["differs"] else "none known"
            rows.append(("", figure["source"], *values, differs))
    return rows


def comparison_rows(comparison: pd.DataFrame, names: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return a row for each pair (first, second, and COMPARISON_HEADERS from "difference" on).

    Args:
        comparison: some rows of soctk.scoring.compare.compare.
        names: name -> printed name of each experiment.
    """
    rows = []
    for row in comparison.to_dict("records"):
        interval = Interval(row["difference"], row["low"], row["high"])
        places = digits(row["metric"])
        difference = f"{interval.value:+.{places}f} {bounds(interval, places)}".replace("-", "−")
        tests = (p_value(row[column]) for column in ("p", "p_holm", "mcnemar", "mcnemar_holm"))
        rows.append((names[row["first"]], names[row["second"]], difference, *tests))
    return rows


def fold_rows(experiment: ExperimentScores, metrics: Iterable[str]) -> list[tuple[object, ...]]:
    """Return a row for each fold, and rows with the mean and standard deviation over folds and over seeds."""
    metrics = tuple(metrics)
    rows: list[tuple[object, ...]] = [
        (fold, int(values["utterances"]), *(number(values[metric], metric) for metric in metrics))
        for fold, values in experiment.folds.to_dict("index").items()
    ]
    utterances = int(experiment.folds["utterances"].sum())
    spreads: list[tuple[str, object, dict[str, Spread]]] = [("folds", utterances, experiment.over_folds())]
    if len(experiment.seeds) > 1:
        spreads.append(("seeds", "", experiment.over_seeds()))
    for name, count, spread in spreads:
        cells = (plus_minus(spread[metric], digits(metric)) for metric in metrics)
        rows.append((f"mean ± sd over {name}", count, *cells))
    return rows


def plus_minus(spread: Spread, places: int = 2) -> str:
    """Return "mean ± sd", or the mean alone if there is only one value; "" for a mean that is not defined."""
    if math.isnan(spread.mean):
        return ""
    mean = f"{spread.mean:.{places}f}"
    return mean if math.isnan(spread.sd) else f"{mean} ± {spread.sd:.{places}f}"


def bounds(interval: Interval, places: int = 2) -> str:
    """Return "[low, high]", or "" if there are too few speakers for an interval."""
    return "" if math.isnan(interval.low) else f"[{interval.low:.{places}f}, {interval.high:.{places}f}]"


def with_bounds(interval: Interval, name: str) -> str:
    """Return "value [low, high]" of a score."""
    return f"{number(interval.value, name)} {bounds(interval, digits(name))}".rstrip()


def p_value(value: float) -> str:
    """Return a p value with three decimals; "" for NaN."""
    if math.isnan(value):
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _mean_rows(experiments: Sequence[ExperimentScores]) -> list[tuple[object, ...]]:
    rows = []
    for e in experiments:
        means = e.over_folds()
        for part in e.scale.parts:
            names = [scales.key(metric, part) for metric in e.scale.compared]
            cells = (plus_minus(means[name], digits(name)) for name in names)
            rows.append((part_label(e, part), len(e.folds), len(e.seeds), *cells))
    return rows


def _pooled_metrics(experiments: Sequence[ExperimentScores]) -> list[str]:
    return list(dict.fromkeys(metric for e in experiments for metric in e.scale.metrics))


def _pooled_headers(experiments: Sequence[ExperimentScores]) -> list[str]:
    without_interval = {"ECE"}
    names = _pooled_metrics(experiments)
    return [TITLES[name] if name in without_interval else f"{TITLES[name]} [95%]" for name in names]


def _pooled_rows(experiments: Sequence[ExperimentScores]) -> list[tuple[str, ...]]:
    rows = []
    for e in experiments:
        for part in e.scale.parts:
            names = [scales.key(metric, part) for metric in _pooled_metrics(experiments)]
            cells = (with_bounds(e.pooled[name], name) if name in e.pooled else "" for name in names)
            rows.append((part_label(e, part), *cells))
    return rows


def _class_rows(experiment: ExperimentScores) -> list[tuple[str, ...]]:
    digits = 0 if len(experiment.seeds) == 1 else 1
    rows = []
    confusion = zip(experiment.per_class.to_dict("index").items(), experiment.confusion.to_numpy(), strict=True)
    for (name, row), counts in confusion:
        scores = (f"{row[column]:.2f}" for column in ("precision", "recall", "F1"))
        rows.append((str(name), *scores, str(int(row["utterances"])), *(f"{count:.{digits}f}" for count in counts)))
    return rows


def _subgroup_columns(experiment: ExperimentScores) -> list[str]:
    """Return the scores of subgroups: all metrics of classes, or CCC of each dimension."""
    scale = experiment.scale
    shown = scale.compared if scale.parts == ("",) else scale.compared[:1]
    return [scales.key(metric, part) for part in scale.parts for metric in shown]


def _subgroup_rows(experiment: ExperimentScores) -> list[tuple[object, ...]]:
    first, *others = _subgroup_columns(experiment)
    return [
        (
            group.attribute,
            group.value,
            group.utterances,
            group.speakers,
            with_bounds(group.scores[first], first),
            *(number(group.scores[name].value, name) for name in others),
        )
        for group in _shown(experiment.subgroups, first)
        if group.attribute != "fold"  # the folds have a table of their own
    ]


def _gap_rows(experiment: ExperimentScores) -> list[tuple[object, ...]]:
    return [
        (
            gap.attribute,
            title(gap.metric),
            gap.groups,
            gap.highest,
            gap.lowest,
            with_bounds(gap.difference, gap.metric).replace("-", "−"),
        )
        for gap in experiment.gaps
    ]


def _shown(subgroups: Sequence[Subgroup], name: str) -> list[Subgroup]:
    """Return the subgroups; if an attribute has many values, only the values with the lowest and the highest score."""
    shown = []
    for attribute in dict.fromkeys(group.attribute for group in subgroups):
        groups = [group for group in subgroups if group.attribute == attribute]
        if len(groups) > 2 * SUBGROUPS_SHOWN:
            ordered = sorted(groups, key=lambda group: group.scores[name].value)
            groups = ordered[:SUBGROUPS_SHOWN] + ordered[-SUBGROUPS_SHOWN:]
        shown += groups
    return shown
