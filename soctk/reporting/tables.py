"""Tables of results: for the terminal, for RESULTS.md, for scores.json, and for a paper."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import takewhile
from pathlib import Path

import pandas as pd
from tabulate import MIN_PADDING, tabulate

from soctk import provenance
from soctk.corpus.splits import DESCRIPTIONS
from soctk.files import atomic
from soctk.scoring import published
from soctk.scoring.compare import compare
from soctk.scoring.metrics import METRICS
from soctk.scoring.recorded import used_speeds
from soctk.scoring.resampling import FEWEST_SPEAKERS, Interval
from soctk.scoring.score import ExperimentScores, Spread, score
from soctk.scoring.subgroups import Subgroup

# Marks the scores of experiments that use unlabelled recordings of the test speakers (ExperimentScores.is_recentred).
RECENTRED = "†"
TITLES = {"WA": "WA", "UA": "UA", "F1": "macro-F1", "log_loss": "log-loss", "ECE": "ECE"}
HEADS = {
    "mlp": "two layers, trained on the training utterances; the best epoch is that with the lowest validation loss",
    "linear": "logistic regression; its regularisation is the one with the lowest loss on the other folds' speakers, "
    "each fold scored by a fit on the rest (protocol emobox: on the validation utterances), and it is then fitted on "
    "training and validation utterances together; the fit itself has no seed",
}
MEANING = (
    "WA is accuracy over utterances, UA the mean of the class recalls, macro-F1 the mean of the class F1 scores, all "
    "in %. A fold's value is the mean over seeds; the test set is scored once. ± is the sample standard deviation.",
    "95% intervals are bootstrap-t intervals over speakers, of the value over all utterances, folds together and seeds "
    "averaged: how the scores would vary with other speakers, not with other training.",
    "Log-loss (nats) and expected calibration error (ECE, in %, 15 bins) are of the posteriors.",
)
RECENTRING = (
    f"{RECENTRED} Re-centred: the mean descriptor of each test speaker, from unlabelled recordings of that speaker, is "
    "taken away. It is another task than one without such recordings: do not compare across."
)
COMPARISON_HEADERS = ("experiments", "metric", "difference", "p", "Holm", "McNemar", "Holm")
COMPARISON_MEANING = (
    "How much better the second experiment is, all folds together and seeds averaged, with the 95% interval over "
    "speakers; p by exchanging the two experiments' answers for whole speakers; Holm: p corrected for the number of "
    "pairs. McNemar's exact test is of the first seed, and takes utterances of a speaker for independent."
)
WIDTH = 80
# Of an attribute with more values than twice as many, RESULTS.md has those with the lowest and the highest WA.
SLICES_SHOWN = 12


@dataclass(frozen=True)
class Report:
    """What there is to tell.

    Attributes:
        title: the directories that were scored, as they were given.
        experiments: their scores.
        comparison: of every two of them (soctk.scoring.compare); None if not asked for.
        figures: published figures (soctk.scoring.published); None if there are none.
        command: the command that made the report.
    """

    title: str
    experiments: Sequence[ExperimentScores]
    comparison: pd.DataFrame | None
    figures: pd.DataFrame | None
    command: str

    def heading(self) -> list[str]:
        """Return lines that say when, by what and how the results came about, each an item of a list."""
        protocols = {e.protocol: DESCRIPTIONS.get(e.protocol, "its config.yaml is missing") for e in self.experiments}
        heads = sorted({e.head for e in self.experiments})
        made_with = sorted({line for e in self.experiments for line in e.predictions.made_with})
        scored_with = provenance.versions("soctk", "numpy", "pandas", "scikit-learn")
        versions = ", ".join(f"{package} {version}" for package, version in scored_with.items())
        return [
            *(f"Protocol {name}: {description}." for name, description in protocols.items()),
            *(f"Head {name}: {HEADS.get(name, 'its config.yaml is missing')}." for name in heads),
            *self._within_class(),
            *self._perturbed(),
            *([RECENTRING] if any(e.is_recentred for e in self.experiments) else []),
            *(f"Trained with {line}." for line in made_with),
            f"Scored with {versions}, commit {provenance.commit()}.",
        ]

    def _within_class(self) -> list[str]:
        """Return a line that says which descriptors are normalised within classes (soctk.training.linear.WithinClass)."""
        shrinkage = {
            e.name: e.predictions.settings["head"].get("within_class_shrinkage", 1)
            for e in self.experiments
            if e.head == "linear"
        }
        without = [name for name, value in shrinkage.items() if value == 1]
        if len(without) == len(shrinkage):
            return []
        line = "Before the head linear, within-class covariance normalisation of the descriptors"
        return [f"{line}, but not in {', '.join(without)}." if without else f"{line}."]

    def _perturbed(self) -> list[str]:
        """Return a line that says which experiments train and test with copies at other speeds (soctk.features.speed)."""
        speeds = {e.name: used_speeds(e.predictions.settings) for e in self.experiments}
        using = [f"{name} ({', '.join(f'{speed:g}' for speed in used)})" for name, used in speeds.items() if used]
        if not using:
            return []
        how = "trained on copies of each recording at other speeds too; posteriors are the mean over its copies"
        return [f"Speed perturbation, {how}: in {', '.join(using)}."]

    def published_rows(self) -> list[tuple[str, ...]]:
        """Return a row for each experiment that has published figures beside it, and one for each of these."""
        rows = []
        for experiment in self.experiments:
            found = self._published_for(experiment)
            if len(found):
                ours = (f"{experiment.over_folds()[metric].mean:.2f}" for metric in METRICS)
                rows.append((experiment.name, "this experiment", *ours, ""))
            for _, row in found.iterrows():
                theirs = ("" if math.isnan(row[metric]) else f"{row[metric]:.2f}" for metric in METRICS)
                differs = f"not comparable as it stands: {row['differs']}" if row["differs"] else "none known"
                rows.append(("", row["source"], *theirs, differs))
        return rows

    def _published_for(self, experiment: ExperimentScores) -> pd.DataFrame:
        if self.figures is None or experiment.data is None:
            return pd.DataFrame()
        settings = experiment.predictions.settings
        return published.matching(self.figures, experiment.data.path.resolve().name, settings)

    def notes(self) -> list[str]:
        """Return what a reader of the tables has to know, a line each."""
        lines = []
        for e in self.experiments:
            if e.predictions.left_out:
                lines.append(f"{e.name}: seeds {_listed(e.predictions.left_out)} are left out: folds are missing.")
            if e.data is None:
                lines.append(
                    f"{e.name}: no data directory is at hand (--data): not checked against it, slices by fold and "
                    "speaker alone."
                )
            elif e.predictions.folds != e.data.folds:
                lines.append(f"{e.name}: folds {_listed(e.predictions.folds)} of {_listed(e.data.folds)} alone.")
            if len(e.predictions.speakers[1]) < FEWEST_SPEAKERS:
                lines.append(f"{e.name}: fewer than {FEWEST_SPEAKERS} speakers, so no interval.")
        lines += [f"Warning: {row[1]}: {row[-1]}." for row in self.published_rows() if row[-1].startswith("not")]
        return list(dict.fromkeys(lines))


def make(
    exps: Sequence[Path], command: str, data: Path | None = None, is_compared: bool = False, figures: Path | None = None
) -> Report:
    """Score every experiment below the directories `exps`, and report on them.

    Args:
        exps: the directories.
        command: the command that asks for it.
        data: the data directory of all of them; by default each experiment's own, where it still is.
        is_compared: whether to test the difference of every two experiments.
        figures: the table of published figures; by default the checkout's.

    Raises:
        SoctkError: as soctk.scoring.score, soctk.scoring.compare and soctk.scoring.published say.
    """
    experiments = score(exps, data)
    if figures is None and published.DEFAULT.exists():
        figures = published.DEFAULT
    return Report(
        title=" ".join(map(str, exps)),
        experiments=experiments,
        comparison=compare(experiments) if is_compared else None,
        figures=published.read(figures) if figures else None,
        command=command,
    )


def write(directory: Path, report: Report) -> None:
    """Write RESULTS.md and scores.json into a directory."""
    with atomic(directory / "RESULTS.md") as temporary:
        temporary.write_text(as_markdown(report), encoding="utf-8")
    with atomic(directory / "scores.json") as temporary:
        temporary.write_text(as_json(report), encoding="utf-8")


def summary(report: Report, style: str) -> list[str]:
    """Return the tables over all experiments, and what they mean; `style` is a table format of tabulate."""
    spreads = [(e, e.over_folds()) for e in report.experiments]
    rows = [
        (e.name, len(e.folds), len(e.seeds), *(_plus_minus(over[metric]) for metric in METRICS)) for e, over in spreads
    ]
    parts = [_table(rows, ("experiment", "folds", "seeds", *map(TITLES.get, METRICS)), style)]
    rows = [
        (
            e.name,
            *(f"{e.pooled[metric].value:.2f} {_bounds(e.pooled[metric])}" for metric in METRICS),
            f"{over['log_loss'].mean:.3f} {_bounds(e.pooled['log_loss'])}",
            f"{over['ECE'].mean:.2f}",
        )
        for e, over in spreads
    ]
    headers = (*(f"{TITLES[metric]} [95%]" for metric in METRICS), "log-loss [95%]", "ECE")
    parts.append(_table(rows, ("all utterances", *headers), style))
    if report.comparison is not None:
        for metric, rows in report.comparison.groupby("metric", sort=False):
            parts.append(_table(_comparison_rows(rows), (TITLES[metric], "and", *COMPARISON_HEADERS[2:]), style))
        parts.insert(-len(METRICS), COMPARISON_MEANING)
    rows = report.published_rows()
    if rows:
        parts.append(_table(rows, ("published", "source", *map(TITLES.get, METRICS), "differences"), style))
    return parts


def details(experiment: ExperimentScores, style: str) -> list[str]:
    """Return how one experiment was made, and its tables; `style` is a table format of tabulate."""
    protocol = f"Protocol {experiment.protocol}, head {experiment.head}, seeds {_listed(experiment.seeds)}."
    if experiment.predictions.left_out:
        protocol += f" Left out, because folds are missing: seeds {_listed(experiment.predictions.left_out)}."
    parts = [protocol]
    parts.append(_table(_fold_rows(experiment, TITLES), ("fold", "utterances", *TITLES.values()), style))
    classes = experiment.per_class.join(experiment.confusion)
    rows = [
        (name, *(f"{row[c]:.2f}" for c in ("precision", "recall", "F1")), *_counts(row, experiment))
        for name, row in classes.iterrows()
    ]
    headers = ("class", "precision", "recall", "F1", "utterances", *(f"as {name}" for name in experiment.confusion))
    parts.append(_table(rows, headers, style))
    rows = [
        (part.attribute, part.value, part.utterances, part.speakers, *_slice_cells(part))
        for part in _shown(experiment.subgroups)
        if part.attribute != "fold"  # the folds have a table of their own
    ]
    parts.append(_table(rows, ("slice", "", "utterances", "speakers", "WA [95%]", "UA", "macro-F1"), style))
    return parts


def as_text(report: Report) -> str:
    """Return the tables for a terminal of 80 columns."""
    prefix = _common_prefix([experiment.name for experiment in report.experiments])
    names = {e.name: e.name.removeprefix(prefix) for e in report.experiments}
    rows = []
    for e in report.experiments:
        over_folds = e.over_folds()
        cells = (f"{_plus_minus(over_folds[m])}\n{_bounds(e.pooled[m], digits=1)}" for m in METRICS)
        rows.append((names[e.name], f"{len(e.folds)} x {len(e.seeds)}", *cells, f"{over_folds['log_loss'].mean:.2f}"))
    parts = [f"Names begin with {prefix}"] if prefix else []
    parts.append(_text_table(rows, ("experiment", "runs", *map(TITLES.get, METRICS), "log-loss")))
    parts.append("runs: folds x seeds. ±: standard deviation over folds.\n[]: 95% interval over speakers.")
    if any(e.is_recentred for e in report.experiments):
        parts.append(RECENTRING)
    if len(report.experiments) == 1:
        parts.append(
            _text_table(_fold_rows(report.experiments[0], METRICS), ("fold", "utterances", *map(TITLES.get, METRICS)))
        )
    if report.comparison is not None:
        shown = report.comparison[report.comparison["metric"].isin(("WA", "UA"))]
        parts += [_text_table(_comparison_rows(shown, names), COMPARISON_HEADERS), COMPARISON_MEANING]
    return "\n\n".join([_filled(part) for part in parts] + [_filled(note) for note in report.notes()])


def as_markdown(report: Report) -> str:
    """Return RESULTS.md."""
    parts = ["# Results", f"Written by `{report.command}` on {date.today()}.", *MEANING]
    parts.append("\n".join(f"- {line}" for line in report.heading()))
    parts += summary(report, "github")
    notes = report.notes()
    parts += ["\n".join(f"- {note}" for note in notes)] if notes else []
    for experiment in report.experiments:
        parts += [f"## {experiment.name}", *details(experiment, "github")]
    return "\n\n".join(parts) + "\n"


def as_latex(report: Report) -> str:
    """Return the summary as LaTeX tables, for the package booktabs."""
    text = "\n\n".join(part for part in summary(report, "latex_booktabs") if "tabular" in part)
    return text.replace("±", r"$\pm$").replace("−", "$-$")


def as_tsv(report: Report) -> str:
    """Return a row an experiment with plain numbers, for a spreadsheet; NaN is empty."""
    rows = []
    for e in report.experiments:
        row = {"experiment": e.name, "protocol": e.protocol, "head": e.head, "folds": len(e.folds)}
        row |= {"seeds": len(e.seeds), "utterances": int(e.folds["utterances"].sum())}
        over_folds, over_seeds = e.over_folds(), e.over_seeds()
        for metric in TITLES:
            row |= {metric: over_folds[metric].mean, f"{metric}_sd_folds": over_folds[metric].sd}
            row[f"{metric}_sd_seeds"] = over_seeds[metric].sd
            if metric in e.pooled:
                row |= {f"{metric}_{bound}": getattr(e.pooled[metric], bound) for bound in ("low", "high")}
        rows.append(row)
    return pd.DataFrame(rows).to_csv(sep="\t", index=False, float_format="%.4f").rstrip("\n")


def as_json(report: Report) -> str:
    """Return scores.json: everything, by experiment, and the comparisons, if any, under "comparisons"."""
    scores = {experiment.name: experiment.as_dict() for experiment in report.experiments}
    if report.comparison is not None:
        # By way of pandas, which writes NaN as null.
        scores["comparisons"] = json.loads(report.comparison.to_json(orient="records", double_precision=10))
    return json.dumps(scores, indent=2) + "\n"


FORMATS = {"text": as_text, "md": as_markdown, "tsv": as_tsv, "json": as_json, "latex": as_latex}


def common_start(names: Sequence[str]) -> str:
    """Return the letters that several names begin with; "" of a single one."""
    if len(names) < 2:
        return ""
    pairs = zip(min(names), max(names), strict=False)  # what these two share, those between them do
    return "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _fold_rows(experiment: ExperimentScores, metrics: Iterable[str]) -> list[tuple]:
    rows = [
        (fold, int(row["utterances"]), *(f"{row[metric]:.{_digits(metric)}f}" for metric in metrics))
        for fold, row in experiment.folds.iterrows()
    ]
    utterances = int(experiment.folds["utterances"].sum())
    for name, count, spreads in (
        ("folds", utterances, experiment.over_folds()),
        ("seeds", "", experiment.over_seeds()),
    ):
        if name == "folds" or len(experiment.seeds) > 1:
            cells = (_plus_minus(spreads[metric], _digits(metric)) for metric in metrics)
            rows.append((f"mean ± sd over {name}", count, *cells))
    return rows


def _comparison_rows(comparison: pd.DataFrame, names: dict[str, str] | None = None) -> list[tuple]:
    rows = []
    for _, row in comparison.iterrows():
        difference = f"{row['difference']:+.2f} {_bounds(Interval(*row[['difference', 'low', 'high']]))}"
        tests = (_p(row[column]) for column in ("p", "p_holm", "mcnemar", "mcnemar_holm"))
        if names is None:
            rows.append((row["first"], row["second"], difference.replace("-", "−"), *tests))
        else:
            pair = f"{names[row['first']]}\n{names[row['second']]}"
            rows.append((pair, TITLES[row["metric"]], difference.replace(" [", "\n["), *tests))
    return rows


def _shown(slices: Sequence[Subgroup]) -> list[Subgroup]:
    """Return the slices; of an attribute with very many values those with the lowest and the highest WA."""
    shown = []
    for attribute in dict.fromkeys(part.attribute for part in slices):
        parts = [part for part in slices if part.attribute == attribute]
        if len(parts) > 2 * SLICES_SHOWN:
            ordered = sorted(parts, key=lambda part: part.scores["WA"].value)
            parts = ordered[:SLICES_SHOWN] + ordered[-SLICES_SHOWN:]
        shown += parts
    return shown


def _slice_cells(part: Subgroup) -> tuple[str, ...]:
    values = {metric: f"{part.scores[metric].value:.2f}" for metric in METRICS}
    bounds = _bounds(part.scores["WA"])
    return f"{values['WA']} {bounds}".rstrip(), values["UA"], values["F1"]


def _counts(row: pd.Series, experiment: ExperimentScores) -> list[str]:
    digits = 0 if len(experiment.seeds) == 1 else 1
    return [str(int(row["utterances"])), *(f"{row[name]:.{digits}f}" for name in experiment.confusion)]


def _table(rows: Sequence[Sequence], headers: Sequence[str], style: str) -> str:
    """Return a table whose words are left-aligned and figures right; figures stand as they are written."""
    words = {"source", "differences", "and", "", "metric"}
    alignment = ("left", *("left" if header in words else "right" for header in headers[1:]))
    return tabulate(rows, headers, style, colalign=alignment, disable_numparse=True)


def _text_table(rows: Sequence[Sequence], headers: Sequence[str]) -> str:
    """Return a table for the terminal, its first column wrapped so that the whole fits."""
    taken = 0
    for i, header in enumerate(headers[1:], start=1):
        lines = [line for row in rows for line in str(row[i]).split("\n")]
        taken += 2 + max(len(header) + MIN_PADDING, *map(len, lines))
    width = max(WIDTH - taken, 8)
    wrapped = [("\n".join(_wrap(line, width) for line in str(row[0]).split("\n")), *row[1:]) for row in rows]
    return _table(wrapped, headers, "simple")


def _wrap(name: str, width: int) -> str:
    """Break a name after a hyphen, or where it must be broken."""
    lines = [""]
    for piece in name.replace("-", "-\0").replace("+", "+\0").replace(" ", " \0").split("\0"):
        if len(lines[-1] + piece.rstrip()) > width and lines[-1]:
            lines.append("")
        lines[-1] += piece
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return "\n".join(line.rstrip() for line in lines)


def _filled(part: str) -> str:
    """Break lines of prose that are too long; a table's are not."""
    return "\n".join(line if len(line) <= WIDTH else _wrap(line, WIDTH) for line in part.split("\n"))


def _common_prefix(names: Sequence[str]) -> str:
    """Return what several names have in common up to a hyphen or slash."""
    common = common_start(names)
    return common[: max(common.rfind("-"), common.rfind("/")) + 1]


def _plus_minus(spread: Spread, digits: int = 2) -> str:
    return (
        f"{spread.mean:.{digits}f}" if math.isnan(spread.sd) else f"{spread.mean:.{digits}f} ± {spread.sd:.{digits}f}"
    )


def _bounds(interval: Interval, digits: int = 2) -> str:
    return "" if math.isnan(interval.low) else f"[{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def _digits(metric: str) -> int:
    return 3 if metric == "log_loss" else 2


def _p(value: float) -> str:
    if math.isnan(value):
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
