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


@pytest.mark.parametrize("content", ["W: [Angry]\n", "no: Angry\n", "W: 1\n"])
def test_a_class_that_is_not_text_and_a_boolean_label_are_refused(tmp_path, content):
    (tmp_path / "labels.yaml").write_text(content)
    with pytest.raises(SoctkError, match="is not a label and its class\nWrite 'LABEL: CLASS', or"):
        labels.read(tmp_path / "labels.yaml")
