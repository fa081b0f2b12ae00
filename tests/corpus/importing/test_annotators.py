"""Imports of dimensions, of the labels of several annotators, and of utterances with several labels."""

import csv

import pytest
from click.testing import CliRunner
from small_corpus import make_rows, write_recordings

from soctk.cli import import_
from soctk.corpus import datadir


@pytest.fixture
def home(tmp_path):
    write_recordings(tmp_path)
    return tmp_path


def write(home, columns: dict[str, list[str]], name: str = "labels.csv") -> str:
    """Write a table of the recordings with these columns in place of the emotion; return its path."""
    rows = [{key: value for key, value in row.items() if key != "emotion"} for row in make_rows()]
    for i, row in enumerate(rows):
        row |= {column: values[i % len(values)] for column, values in columns.items()}
    with (home / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return str(home / name)


def run(home, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(import_.main, [*arguments, str(home / "data"), "--num-folds", "3"])
    return result.exit_code, result.output


def test_dimensions_are_recognised_by_name_and_need_no_emotion(home):
    code, output = run(home, write(home, {"Activation": ["1.5", "-2", "3"], "EmoVal": ["4", "4,5", "1e-1"]}))
    assert code == 0, output
    data = datadir.read(home / "data")
    assert (data.emotion, data.emotions) == ({}, ())
    assert data.dimensions["arousal"]["ann-calm_1"] == 1.5  # the rows are in the order calm, angry, sad
    assert data.dimensions["valence"]["ann-calm_2"] == 4.5
    assert list(data.dimensions) == ["arousal", "valence"]
    assert "arousal -2 to 3; valence 0.1 to 4.5" in output
    assert data.folds == [1, 2, 3]


def test_a_column_that_is_named_for_a_dimension_is_not_the_emotion(home):
    code, output = run(home, write(home, {"label": ["1.5", "2.25", "3"]}), "--column", "arousal=label")
    assert code == 0, output
    assert set(datadir.read(home / "data").dimensions["arousal"].values()) == {1.5, 2.25, 3.0}
    assert not (home / "data" / "utt2emo").exists()


def test_emotions_and_dimensions_are_imported_together(home):
    code, output = run(home, write(home, {"emotion": ["a", "b"], "dominance": ["1", "2"]}))
    assert code == 0, output
    data = datadir.read(home / "data")
    assert set(data.emotion.values()) == {"a", "b"}
    assert set(data.dimensions) == {"dominance"}


@pytest.mark.parametrize(
    ("values", "number"),
    [(["1.5", "2.25", "3"], 3), ([str(i) for i in range(13)], 13)],
)
def test_numbers_in_place_of_emotions_are_asked_about(home, values, number):
    table = write(home, {"emo": values})
    code, output = run(home, table)
    assert code == 1
    assert f"the emotions are {number} numbers, such as" in output
    assert "are they values on a dimension?" in output
    assert "--column arousal=emo (or valence, dominance). If they are classes, map them to names (--labels)." in output
    assert not (home / "data").exists()


def test_a_few_whole_numbers_are_classes_and_a_label_map_names_any(home):
    assert run(home, write(home, {"emotion": ["0", "1", "2"]}))[0] == 0
    (home / "map.yaml").write_text("1.5: calm\n2.25: sad\n")
    table = write(home, {"emotion": ["1.5", "2.25"]})
    code, output = run(home, table, "--labels", str(home / "map.yaml"))
    assert code == 0, output


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("high", "the arousal of 6 rows is not a number"),
        ("", "no arousal in 6 of 18 rows"),
        ("inf", "the arousal of 6 rows is not a number"),
    ],
)
def test_wrong_values_on_a_dimension_are_refused(home, value, message):
    code, output = run(home, write(home, {"emotion": ["a", "b"], "arousal": ["1", "2", value]}))
    assert code == 1
    assert message in output
    assert not (home / "data").exists()


def test_votes_become_distributions_and_the_majority_is_the_emotion(home):
    table = write(home, {"a1": ["Angry", "Sad"], "a2": ["Angry", "Calm"], "a3": ["Sad", "nan"]})
    columns = [word for name in ("a1", "a2", "a3") for word in ("--column", f"label={name}")]
    code, output = run(home, table, *columns)
    assert code == 0, output
    data = datadir.read(home / "data")
    assert data.emotions == ("Sad", "Angry", "Calm")
    shares = {utt: dict(zip(data.emotions, data.distribution[utt], strict=True)) for utt in data.utterances}
    assert shares["ann-calm_1"] == pytest.approx({"Angry": 2 / 3, "Sad": 1 / 3, "Calm": 0}, abs=1e-5)
    assert shares["ann-calm_2"] == pytest.approx({"Angry": 0, "Sad": 1 / 2, "Calm": 1 / 2}, abs=1e-5)
    assert data.emotion["ann-calm_1"] == "Angry"
    assert data.emotion["ann-calm_2"] == "Sad"  # a tie: the first annotator named it
    assert (
        "Note: no majority among the annotators of 9 utterances, such as ann/ann_calm_2.wav (Sad 1, Calm 1): the first "
        "annotator among the tied ones gives the emotion. soctk-train --target distribution uses all votes."
    ) in output


def test_votes_are_mapped_to_classes_and_dropped(home):
    table = write(home, {"a1": ["ang", "xxx", "sad"], "a2": ["fru", "xxx", "xxx"]})
    (home / "map.yaml").write_text("ang: Angry\nfru: Angry\nsad: Sad\nxxx: null\n")
    arguments = ("--column", "label=a1", "--column", "label=a2", "--labels", str(home / "map.yaml"))
    code, output = run(home, table, *arguments)
    assert code == 0, output
    assert "= 12 utterances + 6 without a label of any annotator" in output
    data = datadir.read(home / "data")
    assert data.emotions == ("Angry", "Sad")
    assert set(data.distribution.values()) == {(1.0, 0.0), (0.0, 1.0)}
    (home / "map.yaml").write_text("ang: Angry\nsad: Sad\nxxx: null\n")
    code, output = run(home, table, *arguments)
    assert code == 1
    assert "these labels of annotators are not in the label map\n  'fru', 6 votes\nAdd 'LABEL: CLASS'" in output


def test_a_given_emotion_is_kept_beside_the_votes(home):
    table = write(home, {"emotion": ["Sad"], "a1": ["Angry", "Sad"], "a2": ["Angry", "Sad"]})
    code, output = run(home, table, "--column", "label=a1", "--column", "label=a2")
    assert code == 0, output
    assert set(datadir.read(home / "data").emotion.values()) == {"Sad"}
    assert "the emotion of 9 utterances is not the majority of the annotators, such as ann/ann_calm_1.wav" in output


def test_the_emotion_of_an_utterance_without_votes_is_told_to_be_its_only_one(home):
    table = write(home, {"emotion": ["Sad"], "a1": ["", "Angry", "Sad"], "a2": ["", "Sad", "Sad"]})
    code, output = run(home, table, "--column", "label=a1", "--column", "label=a2")
    assert code == 0, output
    assert (
        "Note: 6 utterances without a label of any annotator, such as ann/ann_calm_1.wav: the column emotion" in output
    )
    data = datadir.read(home / "data")
    assert dict(zip(data.emotions, data.distribution["ann-calm_1"], strict=True)) == {"Sad": 1.0, "Angry": 0.0}


@pytest.mark.parametrize(
    ("rule", "emotions"),
    [
        ("first", {"Angry": 6, "Sad": 12}),
        ("null", {"Sad": 6}),
        ("votes", {"Angry": 6, "Sad": 12}),
    ],
)
def test_a_rule_of_the_label_map_resolves_several_labels(home, rule, emotions):
    table = write(home, {"emotion": ["ang;sad", "sad", "oth; sad"]})
    (home / "map.yaml").write_text(f"ang: Angry\nsad: Sad\noth: null\n'*;*': {rule}\n")
    code, output = run(home, table, "--labels", str(home / "map.yaml"))
    assert code == 0, output
    data = datadir.read(home / "data")
    assert {name: list(data.emotion.values()).count(name) for name in data.emotions} == emotions
    assert bool(data.distribution) == (rule == "votes")
    if rule == "votes":
        assert data.distribution["ann-calm_1"] == (0.5, 0.5)
        assert data.distribution["ann-angry_1"] == (0.0, 1.0)
        assert "without a label of any annotator" not in output  # a cell with one label
    if rule == "null":
        assert "6 with the label 'ang;sad', dropped by" in output


def test_a_label_of_several_that_the_map_lacks_is_told(home):
    table = write(home, {"emotion": ["ang;joy", "sad"]})
    (home / "map.yaml").write_text("sad: Sad\nang: null\n'*;*': first\n")
    code, output = run(home, table, "--labels", str(home / "map.yaml"))
    assert code == 1
    assert "these labels are not in the label map\n  'joy', 9 utterances" in output


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("'*;*': last\n", "'*;*: 'last'' is not a rule for utterances with several labels"),
        ("'*;*': first\n'*,*': first\n", "two rules for utterances with several labels"),
    ],
)
def test_an_unknown_rule_is_refused(home, lines, message):
    (home / "map.yaml").write_text("sad: Sad\n" + lines)
    code, output = run(home, write(home, {"emotion": ["sad"]}), "--labels", str(home / "map.yaml"))
    assert code == 1
    assert message in output
    assert "RULE first, votes or null." in output
