import pytest
from hypothesis import given
from hypothesis import strategies as st

from soctk.reporting import text
from soctk.reporting.wording import common_start


@given(st.text("ab-+ ", max_size=60), st.integers(3, 20))
def test_wrapped_lines_fit_and_keep_every_letter(name, width):
    lines = text.wrap(name, width).split("\n")
    assert max(map(len, lines)) <= width
    assert "".join(lines).replace(" ", "") == name.replace(" ", "")


def test_names_are_wrapped_after_hyphens():
    assert text.wrap("whisper-base-encoder-linear", 14) == "whisper-base-\nencoder-linear"


def test_a_narrow_table_fits_80_columns_and_keeps_its_numbers():
    table = text.narrow_table([("a-long-name-" * 12, "1.50", "x" * 40)], ("experiment", "WA", "source"))
    assert max(map(len, table.splitlines())) <= 80
    assert " 1.50 " in table


def test_sentences_are_broken_and_short_lines_are_kept():
    filled = text.fill("short\n" + "word " * 30)
    assert filled.startswith("short\nword word")
    assert max(map(len, filled.splitlines())) <= 80


@pytest.mark.parametrize(
    ("names", "start"),
    [([], ""), (["alone"], ""), (["exp-a", "exp-b"], "exp-"), (["ab", "abc"], "ab"), (["a", "b"], "")],
)
def test_the_common_start_of_names(names, start):
    assert common_start(names) == start
