from collections import Counter
from pathlib import Path

import pytest
from small_corpus import make_rows

from soctk.corpus.importing.rows import recognise_columns, relabel
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
        match="not in the label map\n  '', 1 utterances; the empty label stands for missing values, such as nan\n",
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
