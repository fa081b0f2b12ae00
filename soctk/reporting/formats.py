"""A report as text for the terminal, as RESULTS.md, scores.json and TSV, and as LaTeX for a paper."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

import pandas as pd

from soctk.files import atomic
from soctk.reporting import trivial
from soctk.reporting.report import Report
from soctk.reporting.tables import (
    COMPARISON_HEADERS,
    bounds,
    by_scale,
    comparison_rows,
    details,
    fold_rows,
    labels,
    part_label,
    summary,
)
from soctk.reporting.text import fill, latex, markdown, markdown_code, markdown_list, narrow_table, spreadsheet
from soctk.reporting.wording import (
    COMPARISON_MEANING,
    RECENTRING,
    TITLES,
    common_prefix,
    meaning,
    missing_classes,
    overlaps,
    split_key,
)
from soctk.scoring import scales
from soctk.scoring.metrics import METRICS
from soctk.scoring.score import ExperimentScores
from soctk.scoring.statistics import DISTRIBUTION_STATISTICS


def write(directory: Path, report: Report) -> None:
    """Write RESULTS.md and scores.json into a directory."""
    with atomic(directory / "RESULTS.md") as temporary:
        temporary.write_text(as_markdown(report), encoding="utf-8", errors="backslashreplace")
    with atomic(directory / "scores.json") as temporary:
        temporary.write_text(as_json(report), encoding="utf-8")


def as_text(report: Report) -> str:
    """Return the tables for a terminal of 80 columns."""
    prefix = common_prefix([experiment.name for experiment in report.experiments])
    names = {name: text.removeprefix(prefix) for name, text in labels(report).items()}
    parts = [f"All names begin with {prefix}"] if prefix else []
    for same in by_scale(report):
        parts.append(_narrow_scores(same, names, (*same[0].scale.compared, *same[0].scale.others[:1])))
        distributed = [e for e in same if set(DISTRIBUTION_STATISTICS) <= set(e.scale.others)]
        parts += [_narrow_scores(distributed, names, tuple(DISTRIBUTION_STATISTICS))] if distributed else []
    parts.append(
        "Scores over the test utterances of all folds together, averaged over seeds.\n"
        "[]: their 95% intervals over speakers. runs: folds x seeds."
    )
    if report.is_recentred:
        parts.append(RECENTRING)
    parts += overlaps(report.experiments)
    if len(report.experiments) == 1:
        e = report.experiments[0]
        parts += [
            narrow_table(
                fold_rows(e, [scales.key(metric, part) for metric in e.scale.compared]),
                (f"fold ({part})" if part else "fold", "utterances", *(TITLES[metric] for metric in e.scale.compared)),
            )
            for part in e.scale.parts
        ]
    parts += missing_classes(report.experiments)
    if report.comparison is not None:
        parts += [narrow_table(_narrow_comparison(report.comparison, names), COMPARISON_HEADERS), COMPARISON_MEANING]
    return "\n\n".join(fill(part) for part in [*parts, *report.notes()])


def _narrow_scores(experiments: Sequence[ExperimentScores], names: Mapping[str, str], metrics: Sequence[str]) -> str:
    rows = [row for e in experiments for row in _narrow_rows(e, names[e.name], metrics)]
    return narrow_table(rows, ("experiment", "runs", *(TITLES[metric] for metric in metrics)))


def _narrow_rows(e: ExperimentScores, name: str, metrics: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each dimension of an experiment, or one for its classes; an interval has a line of its own."""
    for part in e.scale.parts:
        keys = [scales.key(metric, part) for metric in metrics]
        digits = [1 if metric in METRICS else 2 for metric in metrics]
        cells = [f"{e.pooled[m].value:.2f}\n{bounds(e.pooled[m], n)}" for m, n in zip(keys, digits, strict=True)]
        if metrics[-1] == "log_loss":
            cells[-1] = cells[-1].partition("\n")[0]  # the interval does not fit
        yield part_label(e, part, name), f"{len(e.folds)} x {len(e.seeds)}", *cells


def as_markdown(report: Report) -> str:
    """Return the text of RESULTS.md."""
    parts = [
        "# Results",
        f"Written by {markdown_code(report.command)} on {date.today()}.",
        *meaning(report.experiments),
    ]
    parts.append(markdown_list(report.heading()))
    parts += _markdown_parts([*summary(report, "github"), *trivial.parts(report, "github")])
    parts += [markdown_list(report.notes())] if report.notes() else []
    for experiment in report.experiments:
        parts += [f"## {markdown(labels(report)[experiment.name])}"]
        parts += _markdown_parts(details(experiment, "github"))
    return "\n\n".join(parts) + "\n"


def as_latex(report: Report) -> str:
    """Return the tables about all experiments in LaTeX, for its package booktabs, and what their marks mean."""
    tables = [part for part in summary(report, "latex_booktabs") if part.startswith(r"\begin{tabular}")]
    marks = [*([RECENTRING] if report.is_recentred else []), *overlaps(report.experiments)]
    return "\n\n".join([*tables, *map(latex, marks)])


def as_tsv(report: Report) -> str:
    """Return a tab-separated row for each experiment, for a spreadsheet; NaN becomes an empty cell.

    METRIC is the score over all utterances, with the bounds of its interval, METRIC_low and METRIC_high. METRIC_folds
    is the mean over folds, and METRIC_sd_folds and METRIC_sd_seeds are standard deviations.
    """
    rows = []
    for e in report.experiments:
        row = {"experiment": e.name, "protocol": e.protocol, "head": e.head, "is_recentred": e.is_recentred}
        row |= {"speaker_overlap": e.speaker_overlap}
        row |= {"folds": len(e.folds), "seeds": len(e.seeds), "utterances": int(e.folds["utterances"].sum())}
        over_folds, over_seeds = e.over_folds(), e.over_seeds()
        for metric in e.scale.columns:
            row |= {metric: e.pooled[metric].value, f"{metric}_folds": over_folds[metric].mean}
            row |= {f"{metric}_sd_folds": over_folds[metric].sd, f"{metric}_sd_seeds": over_seeds[metric].sd}
            if metric != "ECE":
                row |= {f"{metric}_{bound}": getattr(e.pooled[metric], bound) for bound in ("low", "high")}
        rows.append({name: spreadsheet(cell) for name, cell in row.items()})
    return pd.DataFrame(rows).to_csv(sep="\t", index=False, float_format="%.4f").rstrip("\n")


def as_json(report: Report) -> str:
    """Return the text of scores.json: all scores under "experiments", and the comparisons, if any, "comparisons"."""
    scores: dict[str, object] = {"experiments": {e.name: e.as_dict() for e in report.experiments}}
    if report.comparison is not None:
        # pandas writes NaN as null.
        scores["comparisons"] = json.loads(report.comparison.to_json(orient="records", double_precision=10))
    return json.dumps(scores, indent=2, allow_nan=False) + "\n"


FORMATS = {"text": as_text, "md": as_markdown, "tsv": as_tsv, "json": as_json, "latex": as_latex}


def _markdown_parts(parts: Sequence[str]) -> list[str]:
    """Escape the sentences; tables are escaped already."""
    return [part if part.startswith("|") else markdown(part) for part in parts]


def _narrow_comparison(comparison: pd.DataFrame, names: dict[str, str]) -> list[tuple[str, ...]]:
    """Return the rows of WA, UA and CCC; the two names take two lines, and so do the difference and its interval."""
    rows = []
    shown = [name for name in dict.fromkeys(comparison["metric"]) if split_key(name)[0] in ("WA", "UA", "CCC")]
    for metric in shown:
        for first, second, difference, *tests in comparison_rows(comparison[comparison["metric"] == metric], names):
            difference = difference.replace("−", "-").replace(" [", "\n[")
            rows.append((f"{first}\n{second}", " ".join(filter(None, split_key(metric))), difference, *tests))
    return rows
