"""soctk-export: write a data directory in the format of EmoBox or Kaldi."""

from pathlib import Path

import click

from soctk.cli.common import CONTEXT, Command, Directory, option


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("data", type=Directory())
@click.argument("target", type=Directory())
@option("--format", "form", type=click.Choice(["emobox", "kaldi"]), required=True, help="Format to write.")
@option("--name", help="Name of the corpus, for EmoBox.", show_default="the name of TARGET")
def main(data: Path, target: Path, form: str, name: str | None) -> None:
    """Write the data directory DATA to TARGET in the format of EmoBox (JSONL, folds, label map) or Kaldi."""
    from soctk.corpus import datadir, emobox, kaldi

    corpus = datadir.read(data)
    if form == "emobox":
        emobox.write(target, name or target.resolve().name, corpus)
    else:
        kaldi.write(target, corpus)
    click.echo(f"{target}: {datadir.summary(corpus)}")
    if form == "emobox" and len(corpus.tests) > 1:
        click.echo(f"Note: EmoBox's folds have one test each, so {', '.join(corpus.tests)} are joined in it.")
    if corpus.channel != "1":
        click.echo(
            f"Note: soctk uses channel {corpus.channel} of these recordings, which this format cannot say: write that "
            "channel to files of its own."
        )
