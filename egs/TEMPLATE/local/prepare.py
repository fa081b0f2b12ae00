"""Write the data directory of NAME."""

from pathlib import Path

import click

from soctk.cli.common import Command, Directory
from soctk.corpus import datadir, importing, recordings
from soctk.errors import SoctkError

SUFFIX = ".wav"


def describe(path: Path) -> dict[str, str]:
    """Return the speaker and the emotion of a recording, and optionally the sex (m or f) and the fold of the speaker.

    FILL IN: replace the two statements of this function. This example is for recordings named ann_3_happy.wav, where
    the emotion gets the name Happy, and the sex is not in the file name:

        speaker, _, emotion = path.stem.split("_")
        return {"speaker": speaker, "emotion": emotion.capitalize(), "sex": {"ann": "f", "bob": "m"}[speaker]}
    """
    remedy = "Write describe() like the example in it. conf/folds.yaml may list the speakers of each fold."
    raise SoctkError("describe() is not filled in yet", remedy, where=Path(__file__).relative_to(Path.cwd()))


@click.command(cls=Command)
@click.argument("corpus", type=Directory(exists=True))
@click.argument("data", type=Directory())
def main(corpus: Path, data: Path) -> None:
    """Write the data directory DATA of the recordings in the folder CORPUS."""
    paths = [path for path in recordings.list_files(corpus) if path.suffix.lower() == SUFFIX]
    rows = [{"path": str(path), **describe(path)} for path in paths]
    account = importing.Account()
    account.read[corpus] = len(rows)
    data_of_corpus = importing.build_corpus(rows, corpus, {}, Path("conf/folds.yaml"), account=account)
    datadir.write(data, data_of_corpus)
    for line in account.summary(len(data_of_corpus.wav)):
        click.echo(line)


if __name__ == "__main__":
    main()
