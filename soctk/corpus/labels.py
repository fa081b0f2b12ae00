"""Label maps: what a corpus calls its classes, and what they are called here."""

from collections.abc import Mapping
from pathlib import Path

from soctk.errors import SoctkError
from soctk.mappings import read_yaml

# EmoBox's names of the classes (arXiv 2406.07162), the common tongue across corpora, in the order given to them.
CLASSES = ("Neutral", "Happy", "Sad", "Angry", "Fear", "Disgust", "Surprise", "Calm")


def read(path: Path) -> dict[str, str | None]:
    """Read a label map, `LABEL: CLASS` lines in YAML, where a CLASS of null drops the label.

    Raises:
        SoctkError: the file is malformed, or has a label twice.
    """
    labels: dict[str, str | None] = {}
    for label, name in read_yaml(path).items():
        if not isinstance(name, str | None) or isinstance(label, bool):
            raise SoctkError(
                f"'{label}: {name}' is not a label and its class",
                remedy="Write 'LABEL: CLASS' lines, 'LABEL: null' to drop one; quote words such as 'no' and '1'.",
                where=path,
            )
        if str(label) in labels:
            raise SoctkError(f"the label '{label}' stands there twice", remedy="Keep one.", where=path)
        labels[str(label)] = name
    return labels


def in_order(names: set[str], labels: Mapping[str, str | None]) -> tuple[str, ...]:
    """Return classes in the order in which the label map has them; without one, EmoBox's first, then by name."""
    order = [*labels.values(), *CLASSES, *sorted(names)]
    return tuple(sorted(names, key=order.index))
