"""soctk-validate: check a data directory."""

from pathlib import Path

import click

from soctk.cli.common import CONTEXT, Command, Directory


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("data", type=Directory())
def main(data: Path) -> None:
    """Check the data directory DATA, and print a summary of it in one line."""
    from soctk.corpus import datadir

    click.echo(f"{data}: {datadir.summary(datadir.read(data))}")
