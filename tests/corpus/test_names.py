import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soctk.corpus import names
from soctk.errors import SoctkError


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Jose\u0301", "Jos\xe9"),
        ("\ufeffhap\u200bpy\u200d", "happy"),
        ("soft\u00adhyphen\x00\x7f", "softhyphen"),
        ("\u2060ann\u00a0 \u3000lee\t\n", "ann lee"),
        ("a\u2028b\x85c", "a b c"),
        ("\u263a\ufe0f", "\u263a"),
        ("語", "語"),
        ("", ""),
        (" \u200b ", ""),
    ],
)
def test_a_normal_name_is_composed_and_has_no_invisible_characters(text, normal):
    assert names.normalise(text) == normal


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    normal = names.normalise(text)
    assert names.normalise(normal) == normal == unicodedata.normalize("NFC", normal)
    assert len(names.to_word(text).split()) <= 1


ALIKE = [
    ("Jos\xe9", "Jose\u0301"),
    ("ann", "Ann"),
    ("STRASSE", "stra\xdfe"),
    ("ann", "ann\u200b"),
    ("ann lee", "ann\u00a0lee"),
    ("ann lee", "ann_lee"),
    ("\uff21nn", "ann"),
    ("anna", "\u0430nn\u0430"),
    ("Richard's date", "Richard\u2019s Date"),
    ("a-b", "a\u2013b"),
    ("KIZGIN", "k\u0131zg\u0131n"),
    ("\u0130zmir", "izmir"),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_names_that_look_alike_are_refused(one, other):
    with pytest.raises(SoctkError) as error:
        names.check_spelling("speakers", [one, other, one, "zoe"], numbers=False)
    listed = " and ".join(map(ascii, sorted((one, other))))
    start = f"some speakers look alike, but are spelled differently\n  {listed}\nSpell each name in one way (capital"
    assert str(error.value).startswith(start)


@pytest.mark.parametrize(("one", "other"), [("1", "1.0"), ("1", "01"), ("s1", "s01"), ("0011", "11.00"), ("1", "1,0")])
def test_numbers_that_look_alike_are_refused_where_they_are_names(one, other):
    with pytest.raises(SoctkError, match="look alike"):
        names.check_spelling("speakers", [one, other])
    names.check_spelling("utterances", [one, other], numbers=False)


@pytest.mark.parametrize(
    ("one", "other"), [("1", "10"), ("10", "100"), ("1.0", "1.5"), ("s1", "s10"), ("a0", "a"), ("José", "Jose")]
)
def test_different_names_are_accepted(one, other):
    names.check_spelling("speakers", [one, other, one])
