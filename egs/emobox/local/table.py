"""Write EMOBOX.md: the scores of one experiment on all corpora of EmoBox, corpus by corpus, with their mean."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import click
import corpora

from soctk.cli.common import Command, Directory
from soctk.files import atomic
from soctk.mappings import read_yaml
from soctk.scoring import published

METRICS = ("WA", "UA", "F1")
HEADER = ("corpus", "utterances", "folds", "WA", "UA", "macro-F1", "published WA", "UA", "macro-F1", "what differs")


def read_scores(expdir: Path, experiment: str) -> dict[str, dict[str, Any]]:
    """Return corpus -> the scores of an experiment and its `settings`, for the corpora that have it."""
    found = {}
    for name in corpora.read():
        file = expdir / name / "scores.json"
        experiments = json.loads(file.read_text(encoding="utf-8"))["experiments"] if file.is_file() else {}
        configs = sorted((expdir / name / experiment).glob("fold*/seed*/config.yaml"))
        if experiment in experiments and configs:
            found[name] = {**experiments[experiment], "settings": read_yaml(configs[0])}
    return found


def find_published(name: str, settings: Mapping[str, Any]) -> list[str]:
    """Return WA, UA and F1 of EmoBox's table for this corpus, upstream and pooling, and the differences in method."""
    rows = published.matching(published.read(published.DEFAULT), name, settings)
    rows = rows[rows["source"].str.startswith("EmoBox")]
    if rows.empty:
        return ["", "", "", ""]
    return [*(f"{rows.iloc[0][metric]:.2f}" for metric in METRICS), rows.iloc[0]["differs"]]


def make_table(scores: Mapping[str, Mapping[str, Any]], experiment: str) -> str:
    """Return the text of EMOBOX.md."""
    lines = [
        "# EmoBox",
        "",
        f"Experiment {experiment} on {len(scores)} of EmoBox's 32 corpora. WA, UA and macro-F1 in %, means over folds",
        "and seeds; the last row has their means over corpora. \u2021: training and test data share speakers, or may.",
        "",
        f"| {' | '.join(HEADER)} |",
        f"| {' | '.join('---' for _ in HEADER)} |",
    ]
    for name, own in scores.items():
        figures = [f"{own['over_folds'][metric]['mean']:.2f}" for metric in METRICS]
        seed = own["runs"][0]["seed"]
        tested = sum(run["utterances"] for run in own["runs"] if run["seed"] == seed)
        folds = len({run["fold"] for run in own["runs"]})
        mark = " \u2021" if own["settings"].get("speaker_overlap") else ""
        cells = [f"{name}{mark}", str(tested), str(folds), *figures, *find_published(name, own["settings"])]
        lines.append(f"| {' | '.join(cells)} |")
    means = [f"{mean(own['over_folds'][metric]['mean'] for own in scores.values()):.2f}" for metric in METRICS]
    lines.append(f"| {' | '.join([f'mean of {len(scores)}', '', '', *means, '', '', '', ''])} |")
    return "\n".join(lines) + "\n"


@click.command(cls=Command)
@click.argument("expdir", type=Directory(exists=True))
@click.argument("experiment")
def main(expdir: Path, experiment: str) -> None:
    """Write EXPDIR/EMOBOX.md from the scores of EXPERIMENT in EXPDIR/CORPUS/scores.json of each corpus."""
    scores = read_scores(expdir, experiment)
    if not scores:
        click.echo(f"{expdir}: no corpus has scores of {experiment}; no table is written")
        return
    text = make_table(scores, experiment)
    with atomic(expdir / "EMOBOX.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    click.echo(f"{text}\nWritten to {expdir / 'EMOBOX.md'}")


if __name__ == "__main__":
    main()
