"""The tables of a report, in any table format of tabulate."""

import math
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from soctk.reporting.report import Report, listed, not_comparable
from soctk.reporting.text import table
from soctk.reporting.wording import COMPARISON_MEANING, TITLES, label, missing_classes
from soctk.scoring.intervals import Interval
from soctk.scoring.metrics import METRICS
from soctk.scoring.score import ExperimentScores, Spread
from soctk.scoring.subgroups import Subgroup

COMPARISON_HEADERS = ("experiments", "metric", "difference", "p", "Holm", "McNemar", "Holm")
METRIC_TITLES = tuple(TITLES[metric] for metric in METRICS)
# If an attribute has more than twice this many values, its table shows this many with the lowest WA and this many with
# the highest WA.
SUBGROUPS_SHOWN = 12


def summary(report: Report, style: str) -> list[str]:
    """Return the tables about all experiments, and sentences about them."""
    headers = (*(f"{title} [95%]" for title in METRIC_TITLES), "log-loss [95%]", "ECE")
    parts = [
        "Scores over the test utterances of all folds together, with 95% intervals over speakers:",
        table(_pooled_rows(report), ("all utterances", *headers), style),
        "Means over folds, with standard deviations:",
        table(_mean_rows(report), ("experiment", "folds", "seeds", *METRIC_TITLES), style),
        *missing_classes(report.experiments),
    ]
    if report.comparison is not None:
        parts.append(COMPARISON_MEANING)
        for metric in METRICS:
            rows = comparison_rows(report.comparison[report.comparison["metric"] == metric], labels(report))
            parts.append(table(rows, (TITLES[metric], "and", *COMPARISON_HEADERS[2:]), style))
    published = published_rows(report)
    if published:
        parts.append(table(published, ("published", "source", *METRIC_TITLES, "differences"), style))
    return parts


def details(experiment: ExperimentScores, style: str) -> list[str]:
    """Return a sentence about the training of one experiment, and its tables by fold, class and subgroup."""
    sentence = f"Protocol {experiment.protocol}, head {experiment.head}, seeds {listed(experiment.seeds)}."
    if experiment.predictions.left_out:
        sentence += f" Seeds left out because folds are missing: {listed(experiment.predictions.left_out)}."
    classified = tuple(f"as {name}" for name in experiment.confusion)
    return [
        sentence,
        table(fold_rows(experiment, tuple(TITLES)), ("fold", "utterances", *TITLES.values()), style),
        table(_class_rows(experiment), ("class", "precision", "recall", "F1", "utterances", *classified), style),
        table(
            _subgroup_rows(experiment),
            ("subgroup", "value", "utterances", "speakers", "WA [95%]", "UA", "macro-F1"),
            style,
        ),
    ]


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
        difference = f"{interval.value:+.2f} {bounds(interval)}".replace("-", "−")
        tests = (p_value(row[column]) for column in ("p", "p_holm", "mcnemar", "mcnemar_holm"))
        rows.append((names[row["first"]], names[row["second"]], difference, *tests))
    return rows


def fold_rows(experiment: ExperimentScores, metrics: Iterable[str]) -> list[tuple[object, ...]]:
    """Return a row for each fold, and rows with the mean and standard deviation over folds and over seeds."""
    metrics = tuple(metrics)
    rows: list[tuple[object, ...]] = [
        (fold, int(values["utterances"]), *(f"{values[metric]:.{_digits(metric)}f}" for metric in metrics))
        for fold, values in experiment.folds.to_dict("index").items()
    ]
    utterances = int(experiment.folds["utterances"].sum())
    spreads: list[tuple[str, object, dict[str, Spread]]] = [("folds", utterances, experiment.over_folds())]
    if len(experiment.seeds) > 1:
        spreads.append(("seeds", "", experiment.over_seeds()))
    for name, count, spread in spreads:
        cells = (plus_minus(spread[metric], _digits(metric)) for metric in metrics)
        rows.append((f"mean ± sd over {name}", count, *cells))
    return rows


def plus_minus(spread: Spread, digits: int = 2) -> str:
    """Return "mean ± sd", or the mean alone if there is only one value."""
    mean = f"{spread.mean:.{digits}f}"
    return mean if math.isnan(spread.sd) else f"{mean} ± {spread.sd:.{digits}f}"


def bounds(interval: Interval, digits: int = 2) -> str:
    """Return "[low, high]", or "" if there are too few speakers for an interval."""
    return "" if math.isnan(interval.low) else f"[{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def p_value(value: float) -> str:
    """Return a p value with three decimals; "" for NaN."""
    if math.isnan(value):
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _mean_rows(report: Report) -> list[tuple[object, ...]]:
    return [
        (label(e), len(e.folds), len(e.seeds), *(plus_minus(e.over_folds()[metric]) for metric in METRICS))
        for e in report.experiments
    ]


def _pooled_rows(report: Report) -> list[tuple[str, ...]]:
    return [
        (label(e), *(f"{e.pooled[m].value:.{_digits(m)}f} {bounds(e.pooled[m], _digits(m))}".rstrip() for m in TITLES))
        for e in report.experiments
    ]


def _class_rows(experiment: ExperimentScores) -> list[tuple[str, ...]]:
    digits = 0 if len(experiment.seeds) == 1 else 1
    rows = []
    confusion = zip(experiment.per_class.to_dict("index").items(), experiment.confusion.to_numpy(), strict=True)
    for (name, row), counts in confusion:
        scores = (f"{row[column]:.2f}" for column in ("precision", "recall", "F1"))
        rows.append((str(name), *scores, str(int(row["utterances"])), *(f"{count:.{digits}f}" for count in counts)))
    return rows


def _subgroup_rows(experiment: ExperimentScores) -> list[tuple[object, ...]]:
    return [
        (
            group.attribute,
            group.value,
            group.utterances,
            group.speakers,
            f"{group.scores['WA'].value:.2f} {bounds(group.scores['WA'])}".rstrip(),
            f"{group.scores['UA'].value:.2f}",
            f"{group.scores['F1'].value:.2f}",
        )
        for group in _shown(experiment.subgroups)
        if group.attribute != "fold"  # the folds have a table of their own
    ]


def _shown(subgroups: Sequence[Subgroup]) -> list[Subgroup]:
    """Return the subgroups; if an attribute has many values, only the values with the lowest and the highest WA."""
    shown = []
    for attribute in dict.fromkeys(group.attribute for group in subgroups):
        groups = [group for group in subgroups if group.attribute == attribute]
        if len(groups) > 2 * SUBGROUPS_SHOWN:
            ordered = sorted(groups, key=lambda group: group.scores["WA"].value)
            groups = ordered[:SUBGROUPS_SHOWN] + ordered[-SUBGROUPS_SHOWN:]
        shown += groups
    return shown


def _digits(metric: str) -> int:
    return 3 if metric == "log_loss" else 2
