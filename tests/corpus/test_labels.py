import pytest

from soctk.corpus import labels
from soctk.errors import SoctkError


def test_a_label_map_may_have_numbers_null_and_an_empty_label(tmp_path):
    (tmp_path / "labels.yaml").write_text("W: Angry\n1: Sad\nx: null\n'': null\n")
    assert labels.read(tmp_path / "labels.yaml") == {"W": "Angry", "1": "Sad", "x": None, "": None}


@pytest.mark.parametrize("content", ["W: Angry\nS: Sad\nW: Sad\n", "1: Angry\n'1': Sad\n"])
def test_a_label_given_twice_is_refused(tmp_path, content):
    (tmp_path / "labels.yaml").write_text(content)
    with pytest.raises(SoctkError, match=r"labels\.yaml: .*'[W1]' is given twice"):
        labels.read(tmp_path / "labels.yaml")


@pytest.mark.parametrize("content", ["W: [Angry]\n", "W: none\n", "W: 'NaN'\n", "W: {a: b}\n"])
def test_a_class_that_is_not_text_or_is_a_missing_value_is_refused(tmp_path, content):
    (tmp_path / "labels.yaml").write_text(content)
    with pytest.raises(SoctkError, match="is not a label and its class\nWrite 'LABEL: CLASS', or 'LABEL: null'"):
        labels.read(tmp_path / "labels.yaml")


def test_labels_and_classes_are_read_as_they_are_written(tmp_path):
    written = "03: Happy\nno: Neutral\n1_0: a\n0x1: b\n1.0: c\n2024-01-02: d\n1e3: e\nNaN: null\n12:30:00: no\n"
    (tmp_path / "labels.yaml").write_text(written)
    assert labels.read(tmp_path / "labels.yaml") == {
        "03": "Happy",
        "no": "Neutral",
        "1_0": "a",
        "0x1": "b",
        "1.0": "c",
        "2024-01-02": "d",
        "1e3": "e",
        "NaN": None,
        "12:30:00": "no",
    }


def test_labels_are_normalised_and_classes_must_not_look_alike(tmp_path):
    (tmp_path / "labels.yaml").write_text("jose\u0301\u200b: Fear\nx: Sad\ny: sad\n", encoding="utf-8")
    with pytest.raises(SoctkError, match=r"some classes of the label map look alike, .*\n  'Sad' and 'sad'"):
        labels.read(tmp_path / "labels.yaml")
    (tmp_path / "labels.yaml").write_text("jose\u0301\u200b: Fear\nx: Sad\n", encoding="utf-8")
    assert labels.read(tmp_path / "labels.yaml") == {"jos\xe9": "Fear", "x": "Sad"}
