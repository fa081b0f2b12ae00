"""Labels besides one emotion for each utterance: values on dimensions, and distributions over the emotions."""

import math
from collections.abc import Sequence

# A sum of probabilities may differ from 1 by this much: they are rounded in files.
_ROUNDING = 1e-3


def parse_value(text: str) -> float:
    """Return the value of an utterance on a dimension.

    Raises:
        ValueError: the text is no finite number.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def parse_distribution(text: str) -> tuple[float, ...]:
    """Return the probabilities in a text, scaled to the sum 1.

    Raises:
        ValueError: these are not numbers from 0 on with the sum 1, up to rounding.
    """
    values = [float(word) for word in text.split()]
    total = sum(values)
    if min(values) < 0 or not abs(total - 1) <= _ROUNDING:
        raise ValueError
    return tuple(value / total for value in values)


def format_distribution(distribution: Sequence[float]) -> str:
    """Return the text of a distribution in utt2dist: six decimals, with spaces between."""
    return " ".join(f"{value:.6f}" for value in distribution)
