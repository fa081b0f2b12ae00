"""soctk-score: the table of results."""

import shlex
import sys
from pathlib import Path

import click

from soctk.cli.common import CONTEXT, Command, Directory

FORMATS = ("text", "md", "tsv", "json", "latex")


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("exp", type=Directory(), nargs=-1, required=True)
@click.option("--data", type=Directory(), help="Data directory.", show_default="the one that the runs name")
@click.option("--compare", is_flag=True, help="Test the difference of every two experiments.")
@click.option("--format", "style", type=click.Choice(FORMATS), default="text", help="Of what is printed.")
@click.option(
    "--output", type=Directory(), help="Where RESULTS.md and scores.json go.", show_default="EXP, if it is only one"
)
@click.option(
    "--published",
    "published_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Table of published figures.",
    show_default="the checkout's conf/published.csv",
)
def main(
    exp: tuple[Path, ...],
    data: Path | None,
    compare: bool,
    style: str,
    output: Path | None,
    published_path: Path | None,
) -> None:
    """Score every predictions.tsv below EXP; print the tables, and write them to RESULTS.md and scores.json.

    Predictions that are incomplete, inconsistent, or of speakers who also trained, are refused.
    """
    from soctk import report

    made = _report(exp, data, compare, published_path)
    output = output or (exp[0] if len(exp) == 1 else None)
    if output:
        report.write(output, made)
    click.echo(report.FORMATS[style](made).rstrip("\n"))
    if style == "text":
        click.echo(f"\nWritten to {output / 'RESULTS.md'} and {output / 'scores.json'}" if output else _NOT_WRITTEN)


_NOT_WRITTEN = "\nOf several EXP no RESULTS.md is written without --output DIR."


def _report(exp: tuple[Path, ...], data: Path | None, compare: bool, published_path: Path | None):
    from soctk import published
    from soctk.compare import compare as compared
    from soctk.report import Report
    from soctk.score import score

    experiments = score(exp, data)
    figures = published_path or (published.DEFAULT if published.DEFAULT.exists() else None)
    command = shlex.join(["soctk-score", *sys.argv[1:]])
    return Report(
        title=" ".join(map(str, exp)),
        experiments=experiments,
        comparison=compared(experiments) if compare else None,
        figures=published.read(figures) if figures else None,
        command=command,
    )
