"""Label maps, which translate the labels of a corpus into classes."""

from collections.abc import Mapping
from pathlib import Path

from soctk.errors import SoctkError
from soctk.mappings import read_yaml

# EmoBox's names of the classes (arXiv 2406.07162), in soctk's order. The label maps of all recipes use these names.
CLASSES = ("Neutral", "Happy", "Sad", "Angry", "Fear", "Disgust", "Surprise", "Calm")


def read(path: Path) -> dict[str, str | None]:
    """Read a label map, a YAML file of lines `LABEL: CLASS`. The class null (None) drops utterances with the label.

    Raises:
        SoctkError: the file is missing or malformed, or gives a label twice.
    """
    labels: dict[str, str | None] = {}
    for label, name in read_yaml(path).items():
        if not isinstance(name, str | None) or isinstance(label, bool):
            raise SoctkError(
                f"'{label}: {name}' is not a label and its class",
                remedy="Write 'LABEL: CLASS', or 'LABEL: null' to drop the label; quote words such as 'no' and '1'.",
                where=path,
            )
        if str(label) in labels:
            raise SoctkError(f"the label '{label}' is given twice", remedy="Keep one line.", where=path)
        labels[str(label)] = name
    return labels


def in_order(names: set[str], labels: Mapping[str, str | None]) -> tuple[str, ...]:
    """Return classes in the order of a label map, then in the order of CLASSES, then by name."""
    order = [*labels.values(), *CLASSES, *sorted(names)]
    return tuple(sorted(names, key=order.index))
