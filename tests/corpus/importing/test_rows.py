from collections import Counter
from pathlib import Path

import pytest
from small_corpus import make_rows

from soctk.corpus.importing.rows import check_choice, recognise_columns, relabel, require_column, require_values
from soctk.errors import SoctkError

SOURCE = Path("labels.csv")


def test_columns_are_recognised_by_their_common_names_in_any_case():
    record = {"": 0, "FileName": "x.wav", "Emo": " sad ", "Gender": None, "fold": 2, "votes": ["sad", "calm"]}
    assert recognise_columns(record, {}, SOURCE) == {"path": "x.wav", "emotion": "sad", "sex": "", "fold": "2"}


def test_a_name_given_by_the_user_replaces_the_common_names():
    record = {"path": "x.wav", "label": "sad", "affect": "calm", "sex": "f"}
    assert recognise_columns(record, {"emotion": ("affect",), "sex": ()}, SOURCE) == {
        "path": "x.wav",
        "emotion": "calm",
    }


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"path": "a", "file": "b"}, "several columns could be the path: path, file\nChoose one: --column path=path."),
        ({"emotion": ["a", "b"]}, "the emotion ['a', 'b'] is neither text nor a number\nWrite it as text in quotes"),
        ({"emotion": True}, "the emotion True is neither text nor a number\nWrite it as text in quotes"),
    ],
)
def test_ambiguous_columns_and_values_are_refused(record, message):
    with pytest.raises(SoctkError) as error:
        recognise_columns(record, {}, SOURCE)
    assert str(error.value).startswith(f"labels.csv: {message}")


def test_rows_get_classes_for_labels_or_are_dropped_and_counted():
    rows, dropped = relabel(make_rows(), {"sad": "Sad", "calm": "Neutral", "angry": None})
    assert dropped == Counter(angry=6)
    assert Counter(row["emotion"] for row in rows) == {"Sad": 6, "Neutral": 6}


def test_a_row_without_a_label_has_the_empty_label():
    rows = [{"path": "x.wav"}, {"path": "y.wav", "emotion": "sad"}]
    assert relabel(rows, {"": None, "sad": "Sad"}) == ([{"path": "y.wav", "emotion": "Sad"}], Counter({"": 1}))
    with pytest.raises(
        SoctkError,
        match="not in the label map\n  '', 1 utterance; the empty label stands for missing values, such as nan\n",
    ):
        relabel(rows, {"sad": "Sad"})


def test_labels_that_are_not_in_the_map_are_listed():
    with pytest.raises(
        SoctkError, match=r"not in the label map\n  'angry', 6 utterances\n  'sad', 6 utterances\nAdd 'LABEL"
    ):
        relabel(make_rows(), {"calm": "Neutral"})


def test_rows_without_any_emotion_cannot_be_relabelled():
    with pytest.raises(SoctkError, match=r"no column gives the emotion; the columns are path\nName the column"):
        relabel([{"path": "x.wav"}], {"sad": "Sad"})


MISSING = [
    "",
    " ",
    "\u200b",
    "\u00a0",
    "nan",
    "NaN",
    "NAN",
    "None",
    "none",
    "NA",
    "n/a",
    "#N/A",
    "<NA>",
    "NaT",
    "null",
    "NULL",
]
# MySQL, JavaScript, Excel's errors, and people
WRITTEN = ["\\N", "(null)", "undefined", "#NAME?", "#REF!", "#VALUE!", "#DIV/0!", "N.A.", "nil"]


@pytest.mark.parametrize("value", [None, float("nan"), *MISSING, "-", "--", "\u2014", "?", "-nan", *WRITTEN])
def test_a_missing_value_is_empty_in_any_spelling(value):
    record = {"path": "x.wav", "emotion": value, "speaker": value, "sex": value, "fold": value, "end": value}
    row = {"path": "x.wav", "emotion": "", "speaker": "", "sex": "", "fold": "", "end": ""}
    assert recognise_columns(record, {}, SOURCE) == row


@pytest.mark.parametrize("value", ["nano", "Nancy", "0", "neutral", "x", "n", "no", "."])
def test_other_texts_are_values(value):
    assert recognise_columns({"emotion": value}, {}, SOURCE) == {"emotion": value}


def test_a_label_of_the_label_map_is_no_missing_value():
    assert recognise_columns({"emotion": "none", "sex": "none"}, {}, SOURCE, {"none"}) == {"emotion": "none", "sex": ""}


def test_a_label_map_that_drops_a_missing_value_drops_all():
    rows = [{"emotion": ""}, {"emotion": "sad"}]
    assert relabel(rows, {"NaN": None, "sad": "Sad"})[1] == Counter({"": 1})
    with pytest.raises(SoctkError, match="not in the label map\n  '', 1 utt"):
        relabel(rows, {"NA": "Neutral", "sad": "Sad"})


def test_a_label_that_looks_like_one_of_the_map_is_named():
    rows = [{"emotion": "1.0"}, {"emotion": "sad\u200b"}, {"emotion": "Sad"}]
    with pytest.raises(SoctkError) as error:
        relabel(rows, {"1": "Happy", "sad": "Sad"})
    assert "  '1.0', 1 utterance; the map has '1'\n  'Sad', 1 utterance; the map has 'sad'\n" in str(error.value)
    assert relabel(rows[1:2], {"sad": "Sad"})[0] == [{"emotion": "Sad"}]


def test_whole_numbers_of_json_are_the_same_with_and_without_a_decimal():
    assert recognise_columns({"speaker": 1.0, "fold": 1, "end": 1.5}, {}, SOURCE) == {
        "speaker": "1",
        "fold": "1",
        "end": "1.5",
    }


def test_several_fields_are_joined_to_one_column():
    record = {"session": "01", "turn": "F", "dir": "a", "file": "x.wav", "gender": "f"}
    choice = {"speaker": ("session", "turn"), "path": ("dir", "file")}
    row = {"path": "a/x.wav", "speaker": "01-F", "sex": "f"}
    assert recognise_columns(record, choice, SOURCE) == row
    assert recognise_columns({**record, "turn": None}, choice, SOURCE)["speaker"] == ""
    assert recognise_columns(record, {"speaker": ("sex", "session")}, SOURCE)["speaker"] == "f-01"  # sex is the kind
    assert "speaker" not in recognise_columns({"session": "1"}, choice, SOURCE)


def test_a_chosen_field_must_exist():
    check_choice({"speaker": ("sex", "who"), "end": ()}, ["Gender", "who"])
    with pytest.raises(SoctkError, match="--column: unknown column 'sex'\nKnown: path, who"):
        check_choice({"speaker": ("sex",)}, ["path", "who", ""])


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (["path", "emotion_level"], "emotion_level"),
        (["emotoin"], "emotoin"),
        (["my emotion"], "'my emotion'"),
        (["x"], "NAME"),
    ],
)
def test_a_missing_column_is_reported_with_the_columns_of_the_file_and_the_nearest(fields, name):
    with pytest.raises(SoctkError) as error:
        require_column("emotion", [{"path": "x"}], SOURCE, ["", *fields])
    assert str(error.value).startswith(
        f"labels.csv: no column gives the emotion; the columns are {', '.join(fields)}\n"
        f"Name the column, --column emotion={name}, or read"
    )


def test_a_part_of_a_recording_without_a_value_is_named_with_its_times():
    part = {"path": "long.wav", "start": "1.5", "end": "2", "emotion": "sad"}
    rows = [part, part | {"start": "2", "end": "", "emotion": ""}, {"path": "x.wav", "emotion": ""}]
    with pytest.raises(SoctkError, match=r"^no emotion in 2 of 3 rows\n  long\.wav from 2\n  x\.wav\n"):
        require_values("emotion", rows)
