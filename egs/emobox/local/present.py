"""Print the corpora for --dataset all: each corpus of EmoBox that has a folder."""

from pathlib import Path

import click
import corpora

from soctk.cli.common import Command
from soctk.errors import SoctkError


@click.command(cls=Command)
@click.argument("corpus")
@click.argument("stage", type=int)
def main(corpus: str, stage: int) -> None:
    """Print the names of the corpora with a folder NAME in CORPUS; from STAGE 1 on, those with a data directory."""
    names = corpora.read()
    folders = [Path("data")] if stage else [Path(corpus), Path(corpus, "downloads")]
    prefix = "emobox-" if stage else ""
    there = [name for name in names if any((folder / f"{prefix}{name}").is_dir() for folder in folders)]
    if not there:
        raise SoctkError(
            f"no folder has the name of a corpus: {', '.join(names)}",
            remedy="Run stage 0 first."
            if stage
            else "Name the folders like this, or choose one corpus: --dataset NAME.",
            where=folders[0],
        )
    click.echo("\n".join(there))


if __name__ == "__main__":
    main()
