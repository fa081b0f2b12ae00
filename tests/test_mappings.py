"""YAML and JSON from strangers: any content gives a value, or an error that names the file."""

import itertools
import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soctk import mappings
from soctk.errors import SoctkError
from soctk.mappings import differences, parse_json, parse_yaml, read_json, read_yaml

# Each line repeats the line above nine times; the last one stands for 9^9 values.
LETTERS = "abcdefghi"
LISTS = "a: &a [x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in itertools.pairwise(LETTERS)
)
MERGES = LISTS.replace("[x]", "{x: 1}").replace("[*", "{<<: [*").replace("]\n", "]}\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LISTS, "the aliases expand to more than 100000 values"),
        (MERGES, "the aliases expand to more than 100000 values"),
        ("a: &a [1, *a]", "the alias *a is part of the value to which it refers"),
        ("a: " + "[" * 51, "more than 50 levels"),
        ("a: " + "[" * 1_000_000, "more than 50 levels"),
        ("- " * 100_000, "more than 50 levels"),
        ("a: " + "9" * 101, "a number of more than 100 characters"),
        ("a: 0x" + "f" * 1_000_000, "a number of more than 100 characters"),
        ("a: " + "1:" * 100_000 + "1", "a number of more than 100 characters"),  # base 60
        ("1: a\n1.0: b", "'1.0' is given twice"),
        ("yes: a\non: b", "'on' is given twice"),
        ('a: !!int ""', "string index out of range"),
        ("a: !!bool maybe", "'maybe'"),
        ("a: !!timestamp noon", ""),
        (r'a: "\UFFFFFFFF"', "Python int too large"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
    ],
)
def test_yaml_that_cannot_be_served_is_refused(tmp_path, content, message):
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(SoctkError, match=rf"x\.yaml: not valid YAML: {re.escape(message)}"):
        read_yaml(tmp_path / "x.yaml")


def test_yaml_within_the_limits_is_read(tmp_path):
    deep = "[" * 48 + "]" * 48
    (tmp_path / "x.yaml").write_text(f"a: {deep}\nb: &b [1, 2]\nc: [*b, *b]\nd: {'9' * 100}\n")
    content = read_yaml(tmp_path / "x.yaml")
    assert repr(content["a"]) == deep
    assert (content["c"], content["d"]) == ([[1, 2], [1, 2]], int("9" * 100))


def test_only_values_repeated_by_aliases_count_for_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(mappings, "_MAX_REPEATED", 10)
    assert parse_yaml("speakers: [" + "s, " * 100 + "s]") == {"speakers": ["s"] * 101}
    assert parse_yaml("[&a [1, 2], *a, *a, *a]") == [[1, 2]] * 4
    with pytest.raises(ValueError, match="the aliases expand to more than 10 values"):
        parse_yaml("[&a [1, 2], *a, *a, *a, *a]")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "not a JSON object"),
        (b"", "not valid JSON: Expecting value"),
        (b"{", "not valid JSON: Expecting property name"),
        (b'{"a": "\xff"}', "not valid JSON: 'utf-8' codec can't decode byte 0xff"),
        (b'{"a": "\\ud800"}', "not valid JSON: 'utf-8' codec can't encode"),
        (b'{"a":' * 100_000, "not valid JSON: nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON: Exceeds the limit"),
    ],
)
def test_json_that_cannot_be_served_is_refused(tmp_path, content, message):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(SoctkError, match=rf"x\.json: {re.escape(message)}"):
        read_json(tmp_path / "x.json")


def test_json_is_read_with_a_byte_order_mark_and_characters_beyond_16_bits(tmp_path):
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00"}')
    assert read_json(tmp_path / "x.json") == {"a": "\N{GRINNING FACE}"}


@pytest.mark.parametrize("read", [read_yaml, read_json])
def test_a_file_that_cannot_be_opened_is_reported(tmp_path, read):
    for path, reason in ((tmp_path / "none", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(SoctkError, match=rf"the file cannot be read \({reason}\)\nCheck the path"):
            read(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda v: st.lists(v) | st.dictionaries(st.text(), v),
)
# Pieces of YAML's syntax, from which hypothesis makes documents that are nearly valid.
PIECES = st.sampled_from(
    [
        *"\n :-[]{},&*?|>'\"#%@`!~\t\\\0\x85\ufeff",
        "a",
        "b: ",
        "- ",
        "\n  ",
        "&a ",
        "*a",
        "!!int ",
        "!!set ",
        "!!float ",
        "!!bool ",
        "!!timestamp ",
        "!!omap ",
        "!!pairs ",
        "!!binary ",
        "!!null ",
        "<<: ",
        "1:2",
        "0x",
        ".nan",
        "1e9",
        "2024-01-99",
        "---\n",
        "...\n",
        "'\\x",
        '"\\u',
        "null",
    ]
)


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.lists(PIECES).map("".join).map(str.encode)
    | JSON.map(json.dumps).map(str.encode)
)
def test_any_content_is_read_or_refused(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(content)
        for read in (read_yaml, read_json):
            try:
                assert isinstance(read(path), dict)
            except SoctkError as error:
                assert str(error).startswith(f"{path}: not ")


@given(JSON)
def test_json_is_parsed_as_it_was_written(value):
    assert repr(parse_json(json.dumps(value))) == repr(value)


def test_differences_of_keys_of_several_types_are_listed():
    lines = differences(parse_yaml("1: a\nb: {c: 1}"), parse_yaml("b: {c: 2}"))
    assert lines == ["1: a stored, None requested", "b.c: 1 stored, 2 requested"]
