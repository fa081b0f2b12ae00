"""soctk-export: a data directory as EmoBox or Kaldi have it."""

from pathlib import Path

import click

from soctk.cli.common import CONTEXT, Command, Directory


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("data", type=Directory())
@click.argument("target", type=Directory())
@click.option("--format", "form", type=click.Choice(["emobox", "kaldi"]), required=True, help="Whose layout to write.")
@click.option("--name", help="EmoBox's name of the corpus.", show_default="that of TARGET")
def main(data: Path, target: Path, form: str, name: str | None) -> None:
    """Write the data directory DATA into TARGET, as EmoBox (JSONL, folds, label map) or Kaldi's scripts have it."""
    from soctk.corpus import datadir, emobox

    corpus = datadir.read(data)
    if form == "emobox":
        emobox.write(target, name or target.resolve().name, corpus)
    else:
        datadir.write_kaldi(target, corpus)
    click.echo(f"{target}: {datadir.summary(corpus)}")
