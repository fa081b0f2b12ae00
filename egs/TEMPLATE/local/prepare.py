"""Write the data directory of NAME."""

from pathlib import Path

import click

from soctk.cli.common import Command, Directory
from soctk.corpus import datadir, importing, recordings
from soctk.errors import SoctkError

SUFFIX = ".wav"


def describe(path: Path) -> dict[str, str]:
    """Return what is known of a recording: speaker, emotion, and perhaps sex (m or f) and fold.

    FILL IN, and take the two statements below away. For recordings named ann_3_happy.wav, happy to be called Happy, by
    speakers whose sex the name does not tell:

        speaker, _, emotion = path.stem.split("_")
        return {"speaker": speaker, "emotion": emotion.capitalize(), "sex": {"ann": "f", "bob": "m"}[speaker]}
    """
    remedy = "Fill in describe() there, as its example does; the speakers of each fold go into conf/folds.yaml."
    raise SoctkError("nothing is filled in yet", remedy, where=Path(__file__).relative_to(Path.cwd()))


@click.command(cls=Command)
@click.argument("corpus", type=Directory(exists=True))
@click.argument("data", type=Directory())
def main(corpus: Path, data: Path) -> None:
    """Describe the recordings below CORPUS and write the data directory DATA."""
    paths = [path for path in recordings.below(corpus) if path.suffix.lower() == SUFFIX]
    rows = [{"path": str(path), **describe(path)} for path in paths]
    datadir.write(data, importing.build_corpus(rows, corpus, {}, Path("conf/folds.yaml")))


if __name__ == "__main__":
    main()
