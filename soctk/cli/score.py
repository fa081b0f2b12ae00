"""soctk-score: the table of results."""

from pathlib import Path

import click

from soctk.cli.common import CONTEXT, Command, Directory


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("exp", type=Directory())
def main(exp: Path) -> None:
    """Score every predictions.tsv below EXP; print the tables, and write them to EXP/RESULTS.md and EXP/scores.json."""
    from soctk import report, score

    experiments = score.score(exp)
    report.write(exp, experiments)
    click.echo(report.tables(experiments))
    click.echo(f"\nWritten to {exp / 'RESULTS.md'} and {exp / 'scores.json'}")
