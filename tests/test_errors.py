"""Counts in messages agree with their nouns and verbs."""

import pytest

from soctk.errors import plural


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, "row"), "0 rows"),
        ((1, "row"), "1 row"),
        ((1440, "row"), "1440 rows"),
        ((1, "copy is", "copies are"), "1 copy is"),
        ((2, "copy is", "copies are"), "2 copies are"),
    ],
)
def test_a_count_has_its_noun_in_the_singular_or_plural(arguments, text):
    assert plural(*arguments) == text
