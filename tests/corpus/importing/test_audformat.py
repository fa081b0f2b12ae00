import pytest

from soctk.corpus.importing import audformat
from soctk.errors import SoctkError


def test_speakers_are_read_with_and_without_properties(tmp_path):
    (tmp_path / "db.yaml").write_text(
        "name: db\nschemes:\n  speaker:\n    labels:\n      0042: {gender: male, age: 31}\n      ann:\n"
    )
    assert audformat.read_speakers(tmp_path / "db.yaml") == [
        {"speaker": "0042", "gender": "male", "age": "31"},
        {"speaker": "ann"},
    ]


@pytest.mark.parametrize(
    "content",
    [
        "name: x\n",
        "schemes:\n",
        "schemes: [speaker]\n",
        "schemes: {speaker: null}\n",
        "schemes: {speaker: {labels: {mara: female}}}\n",
    ],
)
def test_a_header_without_speakers_is_refused(tmp_path, content):
    (tmp_path / "db.yaml").write_text(content)
    with pytest.raises(SoctkError) as error:
        audformat.read_speakers(tmp_path / "db.yaml")
    message = "not the header of an audformat database that describes speakers (schemes: speaker: labels)\nLeave"
    assert str(error.value).startswith(f"{tmp_path / 'db.yaml'}: {message}")
