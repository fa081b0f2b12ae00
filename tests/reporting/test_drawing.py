"""Tests that labels are drawn as they are, and of messages about fonts."""

from io import BytesIO

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from soctk.reporting import drawing


@pytest.fixture
def installed(monkeypatch):
    """Return a function that replaces the installed fonts: name -> characters."""
    drawing._other_fonts.cache_clear()
    monkeypatch.setattr(drawing, "_warned", set())
    yield lambda fonts: monkeypatch.setattr(drawing, "_installed_characters", lambda: fonts)
    drawing._other_fonts.cache_clear()


def figure_with(names: list[str]) -> Figure:
    """Return a figure with names in all places: title, ticks, text and legend."""
    figure = Figure(figsize=(4, 3), layout="constrained")
    axes = figure.subplots()
    axes.set_title(names[0])
    axes.set_xticks(range(len(names)), names)
    axes.text(0, 0, names[0])
    lines = [axes.plot([0, 1], [0, i])[0] for i in range(len(names))]
    drawing.legend_below(axes, lines, names)
    return figure


def drawn(figure: Figure, style: str = "png") -> bytes:
    buffer = BytesIO()
    drawing.write(figure, buffer, style)
    return buffer.getvalue()


@pytest.mark.parametrize("style", ["png", "svg", "pdf"])
@pytest.mark.parametrize("name", ["$a$", r"$\frac{$", "a_{b", "}$x^$", r"\$", "$$$", "%&#~^", "_hidden"])
def test_no_label_is_mathematical_notation(name, style):
    assert drawn(figure_with([name, "b"]), style)


def test_a_label_between_dollar_signs_is_drawn_literally():
    literal = figure_with(["$a$", "$b_{1}$"])
    for text in literal.findobj(Text):
        text.set_parse_math(False)
    buffer = BytesIO()
    literal.savefig(buffer, format="png", dpi=drawing.DPI)
    assert drawn(figure_with(["$a$", "$b_{1}$"])) == buffer.getvalue()


def test_a_legend_shows_labels_that_begin_with_an_underscore():
    (legend,) = [axes.get_legend() for axes in figure_with(["_a", "__b"]).axes]
    assert [text.get_text() for text in legend.get_texts()] == ["_a", "__b"]


def test_characters_without_a_font_give_one_message_and_no_warning(installed, capsys, recwarn):
    installed({})
    drawn(figure_with(["悲", "$喜$"]))
    drawn(figure_with(["怒"]))
    expected = "no installed font has the characters 喜悲, so the figures show boxes; install one that has them"
    assert capsys.readouterr().err == f"{expected}, such as Noto Sans CJK\n"
    assert list(recwarn) == []


def test_missing_characters_come_from_as_few_installed_fonts_as_possible(installed):
    installed({"One": frozenset("悲"), "Two": frozenset("悲喜"), "Three": frozenset("怒")})
    assert drawing._other_fonts("a悲") == ["One"]
    assert drawing._other_fonts("a悲喜") == ["Two"]
    assert drawing._other_fonts("悲喜怒") == ["Two", "Three"]
    assert drawing._other_fonts("aäß…") == []


def test_long_names_are_broken_at_a_hyphen_near_their_middle():
    assert drawing.short("whisper-base-encoder-layer4-mean+soc_full-linear") == (
        "whisper-base-encoder-layer4-\nmean+soc_full-linear"
    )
    assert drawing.short("a" * 50).replace("\n", "") == "a" * 50


def test_the_middle_of_long_names_is_left_out():
    assert drawing.clipped("a" * 28) == "a" * 28
    assert drawing.clipped("first-" + "x" * 40 + "-last", 10) == "first…-last"
