"""Tables of results, for the terminal, for RESULTS.md and for scores.json."""

import json
import math
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from tabulate import tabulate

from soctk.files import atomic
from soctk.protocol import DESCRIPTIONS
from soctk.score import METRICS, ExperimentScores, Spread

HEADERS = ("WA", "UA", "macro-F1")
HEADS = {
    "mlp": "two layers, trained on the training utterances; the best epoch is that with the lowest validation loss",
    "linear": "logistic regression; its regularisation is the one with the lowest loss on the other folds' speakers, "
    "each fold scored by a fit on the rest (protocol emobox: on the validation utterances), and it is then fitted on "
    "training and validation utterances together; the fit itself has no seed",
}


def tables(experiments: Sequence[ExperimentScores], style: str = "simple") -> str:
    """Return a table of all experiments, and one of each with a row a fold; `style` is a table format of tabulate."""
    return "\n\n".join([_overview(experiments, style), *(_folds(experiment, style) for experiment in experiments)])


def write(exp: Path, experiments: Sequence[ExperimentScores]) -> None:
    """Write RESULTS.md and scores.json into the directory `exp`."""
    with atomic(exp / "RESULTS.md") as temporary:
        temporary.write_text(f"{_heading(exp, experiments)}\n\n{tables(experiments, 'github')}\n", encoding="utf-8")
    scores = {experiment.name: _as_json(experiment) for experiment in experiments}
    with atomic(exp / "scores.json") as temporary:
        temporary.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")


def _overview(experiments: Sequence[ExperimentScores], style: str) -> str:
    rows = [
        (e.name, len(e.folds), len(e.seeds), *(_plus_minus(spread) for spread in e.over_folds().values()))
        for e in experiments
    ]
    return _table(rows, ("experiment", "folds", "seeds", *HEADERS), style)


def _table(rows: Sequence[Sequence], headers: Sequence[str], style: str) -> str:
    """Return a table whose first column is left-aligned and the others right; figures stand as they are written."""
    alignment = ("left", *["right"] * (len(headers) - 1))
    return tabulate(rows, headers, style, colalign=alignment, disable_numparse=True)


def _folds(experiment: ExperimentScores, style: str) -> str:
    heading = f"## {experiment.name}" if style == "github" else experiment.name
    seeds = ", ".join(map(str, experiment.seeds))
    rows = [
        (fold, int(row["utterances"]), *(f"{row[metric]:.2f}" for metric in METRICS))
        for fold, row in experiment.folds.iterrows()
    ]
    over_folds = [_plus_minus(spread) for spread in experiment.over_folds().values()]
    rows.append(("mean ± sd over folds", int(experiment.folds["utterances"].sum()), *over_folds))
    if len(experiment.seeds) > 1:
        rows.append(("mean ± sd over seeds", "", *(_plus_minus(s) for s in experiment.over_seeds().values())))
    table = _table(rows, ("fold", "utterances", *HEADERS), style)
    protocol = f"Protocol {experiment.protocol}, head {experiment.head}, seeds {seeds}."
    if experiment.left_out:
        left_out = ", ".join(map(str, experiment.left_out))
        protocol += f" Left out, because folds are missing: seeds {left_out}."
    return f"{heading}\n\n{protocol}\n\n{table}"


def _heading(exp: Path, experiments: Sequence[ExperimentScores]) -> str:
    protocols = {e.protocol: DESCRIPTIONS.get(e.protocol, "its config.yaml is missing") for e in experiments}
    heads = sorted({e.head for e in experiments})
    made_with = sorted({line for e in experiments for line in e.made_with})
    return "\n".join(
        [
            "# Results",
            "",
            f"Written by `soctk-score {exp.name}` on {date.today()}.",
            "",
            "WA is accuracy over utterances, UA the mean of the class recalls, macro-F1 the mean of the class F1 "
            "scores, all in %. A fold's value is the mean over seeds; the test set is scored once. ± is the sample "
            "standard deviation.",
            "",
            *(f"- Protocol {name}: {description}." for name, description in protocols.items()),
            *(f"- Head {name}: {HEADS.get(name, 'its config.yaml is missing')}." for name in heads),
            *(f"- Trained with {line}." for line in made_with),
        ]
    )


def _plus_minus(spread: Spread) -> str:
    return f"{spread.mean:.2f}" if math.isnan(spread.sd) else f"{spread.mean:.2f} ± {spread.sd:.2f}"


def _as_json(experiment: ExperimentScores) -> dict:
    def spreads(values: dict[str, Spread]) -> dict:
        return {m: {"mean": s.mean, "sd": None if math.isnan(s.sd) else s.sd} for m, s in values.items()}

    return {
        "protocol": experiment.protocol,
        "runs": experiment.runs.to_dict("records"),
        "over_folds": spreads(experiment.over_folds()),
        "over_seeds": spreads(experiment.over_seeds()),
    }
