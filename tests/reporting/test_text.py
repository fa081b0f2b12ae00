from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soctk.errors import printable
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


ODD = [
    "a|b",
    "`x`",
    "<b>",
    "a*b*c",
    "_x_",
    "a_b",
    "[l](u)",
    "[l][u]",
    "~~s~~",
    "x\\",
    "#",
    "$x$",
    "&lt;",
    "1. x",
    "- x",
    " -",
    "     x",
]
ODD += ["a\nb", "\x1b[31m", "\udcff", "](", "\\|", "%", "{x}", "^", '"', "--", "[x]", "*x", "\u202e", "+1", "a\tb"]


@pytest.mark.parametrize("name", ODD)
def test_markdown_shows_odd_names_as_they_are(name):
    assert_shown_by_markdown(name)


@given(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=12) | st.text("|`<>*_[]()~\\#$&!:-+.1 \n", max_size=12)
)
def test_markdown_shows_all_names_as_they_are(name):
    assert_shown_by_markdown(name)


def assert_shown_by_markdown(name: str) -> None:
    """Check that a Markdown parser reads a name from a table, a heading, a list and a piece of code unchanged."""
    markdown_it = pytest.importorskip("markdown_it")
    parser = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])
    shown = " ".join(printable(name).split())
    table = text.table([(name, "1.50 [0.9, 2.0]")], ("experiment", name), "github")
    assert inline_texts(parser.parse(table)) == ["experiment", shown, shown, "1.50 [0.9, 2.0]"]
    assert "| 1.50 [0.9, 2.0] |" in " ".join(table.split())  # numbers are not escaped
    if shown:
        tokens = parser.parse(f"## {text.markdown(name)}\n\n{text.markdown_list([name, 'x'])}")
        assert [token.type for token in tokens if token.nesting == 1] == [
            *("heading_open", "bullet_list_open"),
            *(2 * ("list_item_open", "paragraph_open")),
        ]
        assert inline_texts(tokens) == [shown, shown, "x"]
        code = parser.parseInline(f"Written by {text.markdown_code(name)}.")[0].children
        assert " ".join(code[1].content.split()) == shown


def inline_texts(tokens) -> list[str]:
    """Return the texts of paragraphs and cells; any token that is not plain text makes a difference."""
    return [
        " ".join("".join(part.content or f"({part.type})" for part in token.children).split())
        for token in tokens
        if token.type == "inline"
    ]


@pytest.mark.parametrize("name", ODD)
def test_html_shows_odd_names_as_they_are(name):
    table = ElementTree.fromstring(text.table([(name, "1")], ("experiment", name), "html"))
    shown = printable(name).strip()
    assert [cell.text.strip() for row in table.iter("tr") for cell in row] == ["experiment", shown, shown, "1"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a|b", r"a\textbar{}b"),
        ("x_%&#$", r"x\_\%\&\#\$"),
        ("{\\}", r"\{\textbackslash{}\}"),
        ("[x]", "{}[x]"),
        ("*x", "{}*x"),
        ("a--b", "a-{}-b"),
        ("a\nb", r"a\textbackslash{}nb"),
        ("<x>", r"\ensuremath{<}x\ensuremath{>}"),
    ],
)
def test_latex_shows_odd_names_as_they_are(name, expected):
    table = text.table([(name, "1")], ("experiment", "WA"), "latex_booktabs")
    (row,) = [line for line in table.splitlines() if line.endswith(r"1 \\")]
    assert row.rpartition("&")[0].strip() == expected


@pytest.mark.parametrize("cell", ["=1+1", "+x", "-x", "@x", "\tx", "\r=x", "＝1"])
def test_text_that_looks_like_a_formula_gets_an_apostrophe(cell):
    assert text.spreadsheet(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["x=1", "soc", "", -1.5, True, 3])
def test_other_text_and_numbers_stay_the_same(cell):
    assert text.spreadsheet(cell) is cell
