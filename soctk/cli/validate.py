"""soctk-validate: check a data directory."""

from pathlib import Path

import click

from soctk.cli.common import CONTEXT, Command, Directory


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("data", type=Directory())
def main(data: Path) -> None:
    """Check the data directory DATA, and print a summary of it in one line.

    Notes tell what may be wrong with the speakers, folds, classes and durations. soctk-check also decodes the
    recordings.
    """
    from soctk.corpus import datadir, quick_checks

    corpus = datadir.read(data)
    click.echo(f"{data}: {datadir.summary(corpus)}")
    for note in quick_checks.notes(corpus):
        click.echo(note)
