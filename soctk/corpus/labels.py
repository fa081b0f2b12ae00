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


class LabelMap(dict[str, str | None]):
    """Label -> class, or None to drop utterances with the label.

    Attributes:
        separator: the text between the labels of an utterance that has several; "" without a rule for them.
        several: the rule: `first` takes the first label that the map does not drop, `votes` counts each label as the
            vote of an annotator, and None drops the utterance.
    """

    separator = ""
    several: str | None = None

    def divide(self, label: str) -> list[str]:
        """Return the labels of an utterance with several labels; empty if it has one."""
        parts = [names.normalise(part) for part in label.split(self.separator)] if self.separator else []
        return [] if label in self or len(parts) < 2 else [part for part in parts if part]


def read(path: Path) -> LabelMap:
    """Read a label map, a YAML file of lines `LABEL: CLASS`. The class null (None) drops utterances with the label.

    Labels and classes are texts as they are written: `03` is not the number 3, and `no` is not false. A line
    `"*;*": first`, with the separator between two asterisks, is a rule for utterances with several labels (LabelMap).

    Returns:
        label -> class; both are normalised (soctk.corpus.names).

    Raises:
        SoctkError: the file is missing or malformed, or gives a label twice, or an unknown rule.
    """
    labels = LabelMap()
    for written, name in read_yaml(path, as_text=True).items():
        label = names.normalise(written)
        if len(label) > 2 and label[0] == label[-1] == "*":
            _set_rule(labels, label[1:-1].strip() or " ", name, path)
            continue
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


def _set_rule(labels: LabelMap, separator: str, rule: object, path: Path) -> None:
    if labels.separator or rule not in ("first", "votes", None):
        raise SoctkError(
            f"'*{separator}*: {reprlib.repr(rule)}' is not a rule for utterances with several labels"
            if not labels.separator
            else "two rules for utterances with several labels",
            remedy=f"Write one line '\"*{separator}*\": RULE' with the RULE first, votes or null.",
            where=path,
        )
    labels.separator, labels.several = separator, None if rule is None else str(rule)


def is_missing(text: str) -> bool:
    """Return whether a text stands for a missing value, such as blanks, nan, None, NA, N/A, null or -."""
    return names.normalise(text).casefold() in _MISSING


def in_order(classes: set[str], labels: Mapping[str, str | None]) -> tuple[str, ...]:
    """Return classes in the order of a label map, then in the order of CLASSES, then by name."""
    order = [*labels.values(), *CLASSES, *sorted(classes)]
    return tuple(sorted(classes, key=order.index))
