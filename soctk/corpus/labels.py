"""Label maps, which translate the labels of a corpus into classes, and texts that stand for a missing label."""

import reprlib
from collections.abc import Mapping
from pathlib import Path

from soctk.corpus import names
from soctk.errors import SoctkError
from soctk.mappings import read_yaml

# EmoBox's names of the classes (arXiv 2406.07162), in soctk's order. The label maps of all recipes use these names.
CLASSES = ("Neutral", "Happy", "Sad", "Angry", "Fear", "Disgust", "Surprise", "Calm")

# The texts that stand for a missing value, in lower case: those that pandas, R, JSON, YAML, SQL and JavaScript write,
# Excel's errors, and those that people write.
_MISSING = {
    *("", "nan", "-nan", "<na>", "na", "n/a", "n.a.", "#n/a", "#na", "#n/a n/a", "nat", "none", "null", "(null)"),
    *("\\n", "nil", "undefined", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "-", "--", "\u2013", "\u2014", "?"),
    *("#div/0!", "#name?", "#null!", "#num!", "#ref!", "#value!"),
}


def read(path: Path) -> dict[str, str | None]:
    """Read a label map, a YAML file of lines `LABEL: CLASS`. The class null (None) drops utterances with the label.

    Labels and classes are texts as they are written: `03` is not the number 3, and `no` is not false.

    Returns:
        label -> class; both are normalised (soctk.corpus.names).

    Raises:
        SoctkError: the file is missing or malformed, or gives a label twice.
    """
    labels: dict[str, str | None] = {}
    for written, name in read_yaml(path, as_text=True).items():
        label = names.normalise(written)
        if not isinstance(name, str | None) or (name is not None and is_missing(name)):
            raise SoctkError(
                f"'{label}: {reprlib.repr(name)}' is not a label and its class",
                remedy="Write 'LABEL: CLASS', or 'LABEL: null' to drop the utterances with this label.",
                where=path,
            )
        if label in labels:
            raise SoctkError(f"the label '{label}' is given twice", remedy="Keep one line.", where=path)
        labels[label] = None if name is None else names.normalise(name)
    names.check_spelling("classes of the label map", (name for name in labels.values() if name is not None))
    return labels


def is_missing(text: str) -> bool:
    """Return whether a text stands for a missing value, such as blanks, nan, None, NA, N/A, null or -."""
    return names.normalise(text).casefold() in _MISSING


def in_order(classes: set[str], labels: Mapping[str, str | None]) -> tuple[str, ...]:
    """Return classes in the order of a label map, then in the order of CLASSES, then by name."""
    order = [*labels.values(), *CLASSES, *sorted(classes)]
    return tuple(sorted(classes, key=order.index))
