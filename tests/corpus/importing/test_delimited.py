import pytest

from soctk.corpus.importing import delimited
from soctk.errors import SoctkError


def test_quoted_fields_may_contain_the_separator_quotes_and_line_breaks(tmp_path):
    (tmp_path / "labels.csv").write_text('path,text\na.wav,"yes, ""no""\nmaybe"\n')
    assert delimited.read(tmp_path / "labels.csv") == [{"path": "a.wav", "text": 'yes, "no"\nmaybe'}]


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path):
    (tmp_path / "labels.TSV").write_bytes(b"\xef\xbb\xbfpath\temotion\na.wav\tsad, mad\n")
    assert delimited.read(tmp_path / "labels.TSV") == [{"path": "a.wav", "emotion": "sad, mad"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,emotion\nx.wav,sad,more\n", "these rows have more or fewer fields than the header: 2\nCorrect them"),
        ("path,emotion\ny.wav,sad\nx.wav\n", "these rows have more or fewer fields than the header: 3\nCorrect them"),
        (
            "sep=;\npath;emotion\nx.wav;sad\ny.wav;sad;more\n",
            "these rows have more or fewer fields than the header: 4\nCorrect them; put a field "
            "that contains the separator in quotes. The header must be the first line, which is: path, emotion",
        ),
        (
            "\npath\n",
            "these rows have more or fewer fields than the header: 2\nCorrect them; put a field that contains "
            "the separator in quotes. The header must be the first line, which is: blank",
        ),
        ("path,emotion,emotion\na,b,c\n", "several columns have the same name: emotion\nRename"),
        (
            'path,emotion\na,"b\n' + 100 * "c,d\n",
            "a quoted field is not closed in the row after line 1 (unexpected end",
        ),
        (f'path,emotion\na,"b{140000 * "c"}\n', "a quoted field is not closed in the row after line 1 (field larger"),
        ("path,emotion\nä.wav,sad\n".encode("latin-1"), "not UTF-8 ("),
        ("path,emotion\nä.wav,sad\n".encode("utf-16")[:-1], "not UTF-16 ("),
    ],
)
def test_a_malformed_table_is_refused(tmp_path, content, message):
    file = tmp_path / "labels.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SoctkError) as error:
        delimited.read(file)
    assert str(error.value).startswith(f"{file}: {message}")


def test_rows_are_numbered_by_their_first_line(tmp_path):
    (tmp_path / "labels.csv").write_text('path,text\na.wav,"two\nlines"\n\n,,,\nb.wav\n')
    with pytest.raises(SoctkError, match="these rows have more or fewer fields than the header: 6\nCorrect"):
        delimited.read(tmp_path / "labels.csv")


def test_names_of_columns_are_normalised_and_blank_rows_may_have_any_number_of_fields(tmp_path):
    (tmp_path / "labels.csv").write_text("\ufeff\u200bpath , emotion\nx.wav,sad\n\n,,,,\n \n", encoding="utf-8")
    blank = {"path": "", "emotion": ""}
    assert delimited.read(tmp_path / "labels.csv") == [{"path": "x.wav", "emotion": "sad"}, blank, blank, blank]


def test_a_file_in_another_code_page_is_explained(tmp_path):
    (tmp_path / "my labels.csv").write_bytes("path,emotion\nä.wav,sad\n".encode("cp1252"))
    with pytest.raises(SoctkError, match=r"iconv -f WINDOWS-1252 -t UTF-8 'my labels.csv' > new.csv"):
        delimited.read(tmp_path / "my labels.csv")


ROWS = [{"path": "ä, 1.wav", "emotion": "sad; mad"}, {"path": "b.wav", "emotion": "calm"}]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("first", ["", "sep={}\r\n"])
def test_spreadsheets_write_other_separators_and_encodings(tmp_path, suffix, separator, encoding, first):
    lines = ["path", "emotion"], ['"ä, 1.wav"', '"sad; mad"'], ["b.wav", "calm"]
    text = first.format(separator) + "".join(separator.join(fields) + "\r\n" for fields in lines)
    (tmp_path / f"labels{suffix}").write_bytes(text.encode(encoding))
    assert delimited.read(tmp_path / f"labels{suffix}") == ROWS


def test_the_separator_of_the_file_s_kind_comes_first(tmp_path):
    """Semicolons within fields are no separators, even if there are more of them than commas."""
    (tmp_path / "labels.csv").write_text("path;of;the;file,emotion\na;b;c;d.wav,sad\n")
    assert delimited.read(tmp_path / "labels.csv") == [{"path;of;the;file": "a;b;c;d.wav", "emotion": "sad"}]
    (tmp_path / "more.csv").write_text('"path, of",\n"a, b",\n')
    assert delimited.read(tmp_path / "more.csv") == [{"path, of": "a, b", "": ""}]
