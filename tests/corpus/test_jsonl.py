import pytest

from soctk.corpus import jsonl
from soctk.errors import SoctkError


def test_written_rows_are_read_back(tmp_path):
    rows = [{"path": "ü – 語.wav", "votes": ["sad", "calm"]}, {"fold": 1, "text": 'two\nlines "quoted"', "sex": None}]
    jsonl.write(tmp_path / "rows.jsonl", rows)
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 2
    assert jsonl.read(tmp_path / "rows.jsonl") == rows


@pytest.mark.parametrize(
    "line", [b"[]", b"{", b'{"key": "\xe4"}', b'"text"', b'{"a": 1, "a": 2}', 100000 * b"[", b'"\\ud800"']
)
def test_a_line_that_is_not_an_object_is_refused(tmp_path, line):
    (tmp_path / "rows.jsonl").write_bytes(b'{"path": "x"}\n' + line + b"\n")
    with pytest.raises(SoctkError) as error:
        jsonl.read(tmp_path / "rows.jsonl")
    start = f"{tmp_path / 'rows.jsonl'}: line 2 is not a JSON object in UTF-8"
    assert str(error.value).startswith(start)
    assert str(error.value).endswith("\nWrite one object per line.")


def test_empty_lines_are_no_rows(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(b'{"path": "x"}\n\n{"path": "y"}\r\n  \n')
    assert jsonl.read(tmp_path / "rows.jsonl") == [{"path": "x"}, {"path": "y"}]
