"""Any content of a source gives rows or one clear error: no other exception reaches a user."""

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from soctk.corpus import folds, importing, labels
from soctk.errors import SoctkError

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

TABLE = st.lists(
    st.lists(
        st.sampled_from(
            ["path", "emotion", "Speaker", "x.wav", "nan", '"', "\n", "\0", "\u200b", "é", ",", "1e999", " "]
        ),
        max_size=5,
    ),
    max_size=5,
).map(lambda rows: "\n".join(",".join(row) for row in rows).encode())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just("x.wav"),
    lambda values: (
        st.lists(values, max_size=2)
        | st.dictionaries(
            st.sampled_from(["path", "emotion", "speaker", "sex", "fold", "key", "wav", "emo", ""]), values, max_size=4
        )
    ),
    max_leaves=6,
)
YAML = st.lists(
    st.sampled_from(
        [
            "a: b",
            "a: [b]",
            "- ",
            "? ",
            ": ",
            "&x ",
            "*x",
            "!!int ",
            "!!timestamp x",
            "{",
            "[",
            "1: [a, b]",
            "02: [~]",
            "'",
            "|",
            "\t",
            "---",
            "%",
            "schemes:",
            " speaker:",
            "  labels:",
            "   ann: {gender: f}",
            "   *x",
            "no: null",
            "<<: ",
            "\n",
            " ",
            "\x00",
            "\u2028",
            "#",
        ]
    ),
    max_size=8,
).map(lambda parts: "\n".join(parts).encode())


def check_errors(read) -> None:
    """Check that a reader returns, or raises a SoctkError with a remedy that can be printed."""
    try:
        read()
    except SoctkError as error:
        assert error.remedy
        str(error).encode("utf-8", "backslashreplace")
        assert len(str(error)) < 5000


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "db.yaml"])
@SETTINGS
@given(content=st.binary(max_size=60) | TABLE | YAML)
@example(content=b"path,emotion,speaker\r\n\0,nan,\xe2\x80\x8b\r\n")
@example(content=b"path\temotion\tspeaker\rx\ty\tz\r")
@example(content=b"\xff\xfep\0a\0t\0h\0")
@example(content=100000 * b"[")
def test_any_table_gives_rows_or_a_clear_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    check_errors(lambda: importing.read([tmp_path / name]))
    (tmp_path / "first.csv").write_text("path,emotion,speaker\nx.wav,sad,ann\n")
    check_errors(lambda: importing.read([tmp_path / "first.csv", tmp_path / name]))


@SETTINGS
@given(rows=st.lists(JSON, min_size=1, max_size=4))
def test_any_json_lines_give_rows_or_a_clear_error(tmp_path, rows):
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    check_errors(lambda: importing.read([tmp_path / "t.jsonl"]))


@SETTINGS
@given(rows=st.lists(JSON, max_size=3), classes=JSON, part=st.sampled_from(["test", "train"]))
def test_any_metadata_of_emobox_give_rows_or_a_clear_error(tmp_path, rows, classes, part):
    (tmp_path / "fold_1").mkdir(exist_ok=True)
    for old in (tmp_path / "fold_1").iterdir():
        old.unlink()
    (tmp_path / "fold_1" / f"c_{part}_fold_1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "label_map.json").write_text(json.dumps(classes))
    check_errors(lambda: importing.read([tmp_path], "{speaker}.wav"))


PATHS = st.text(st.sampled_from("ax./\\\0\u200b\ud800\udce4é* \n~"), max_size=6)


@SETTINGS
@given(rows=st.lists(st.fixed_dictionaries({"path": PATHS, "speaker": PATHS, "emotion": PATHS}), max_size=3))
def test_any_rows_give_a_corpus_or_a_clear_error(tmp_path, rows):
    check_errors(lambda: importing.build_corpus(rows, tmp_path, {}, tmp_path / "folds.yaml"))


@pytest.mark.parametrize("read", [labels.read, folds.read])
@SETTINGS
@given(content=st.binary(max_size=60) | YAML)
@example(content=b"a: &a [x, x, x, x]\nb: &b [*a, *a, *a, *a]\nc: [*b, *b, *b, *b]\n")
def test_any_label_map_and_fold_table_is_read_or_refused_clearly(tmp_path, read, content):
    (tmp_path / "x.yaml").write_bytes(content)
    check_errors(lambda: read(tmp_path / "x.yaml"))


@SETTINGS
@given(
    pattern=st.lists(
        st.sampled_from(
            ["{", "}", "{a}", "{b:2}", "{c:*}", "{speaker}", "{emotion}", "_", "/", "!r", ":", "[", ".wav", "é"]
        ),
        max_size=6,
    ).map("".join)
)
def test_any_pattern_is_used_or_refused_clearly(tmp_path, pattern):
    (tmp_path / "ann_sad_1.wav").touch()
    check_errors(lambda: importing.read([tmp_path], pattern))
