"""The table corpora.tsv: what EmoBox's metadata lack."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

_SEX = {"m": "m", "male": "m", "f": "f", "female": "f", "w": "f"}


@dataclass(frozen=True)
class Corpus:
    """A corpus of EmoBox.

    Attributes:
        name: its folder in EmoBox's data.
        speaker: how the path of a recording tells the speaker: a regular expression, =NAME for a corpus of one speaker,
            or - if it does not tell it.
        channel: the channel of the recordings.
        note: what is known about its names, folds and labels; empty for nothing.
    """

    name: str
    speaker: str
    channel: str
    note: str

    def describe(self, path: str) -> dict[str, str]:
        """Return the speaker, and the sex, of a recording as far as its path tells them.

        Raises:
            ValueError: the path does not have the form of this corpus.
        """
        if self.speaker == "-":
            return {}
        if self.speaker.startswith("="):
            return {"speaker": self.speaker[1:]}
        match = re.search(self.speaker, path)
        if not match:
            raise ValueError(path)
        sex = match.groupdict().get("sex")
        return {"speaker": "".join(match.groups()), **({"sex": _SEX[sex.lower()]} if sex else {})}


def read(path: Path = Path("corpora.tsv")) -> dict[str, Corpus]:
    """Return name -> corpus."""
    with path.open(encoding="utf-8") as file:
        lines = (line for line in file if not line.startswith("#"))
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {row["name"]: Corpus(**{**row, "note": row["note"].removeprefix("-")}) for row in rows}
