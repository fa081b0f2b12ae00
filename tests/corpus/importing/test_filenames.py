from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soctk.corpus.importing.filenames import compile_pattern, list_recordings, parse_names
from soctk.errors import SoctkError

FOLDER = Path("corpus")


@pytest.mark.parametrize(
    ("pattern", "name", "fields"),
    [
        ("{speaker}_{emotion}_{n}.wav", "ann_calm_1.wav", {"speaker": "ann", "emotion": "calm", "n": "1"}),
        (
            "{speaker:2}{text:3}{emotion:1}{v}.wav",
            "03a01Fa.wav",
            {"speaker": "03", "text": "a01", "emotion": "F", "v": "a"},
        ),
        (
            "{speaker}/{emotion}/{speaker}_{n}.wav",
            "far/0011/Sad/0011_0001.wav",
            {"speaker": "0011", "emotion": "Sad", "n": "0001"},
        ),
        ("{speaker}.{emotion}+{n}.WAV", "ann.calm+1.wav", {"speaker": "ann", "emotion": "calm", "n": "1"}),
        (
            "{speaker}_{emotion}_{rest:*}.wav",
            "ann_calm_1_b.c.wav",
            {"speaker": "ann", "emotion": "calm", "rest": "1_b.c"},
        ),
    ],
)
def test_a_pattern_gives_its_fields(pattern, name, fields):
    assert parse_names([name], pattern, FOLDER) == [fields]


@given(st.text("ab.+*[(\\", min_size=1), st.text("cd^$", min_size=1))
def test_fields_may_contain_characters_of_regular_expressions(speaker, emotion):
    (row,) = parse_names([f"{speaker}_{emotion}-x.wav"], "{speaker}_{emotion}-x.wav", FOLDER)
    assert row == {"speaker": speaker, "emotion": emotion}


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{speaker}_{emotion}_{n}.wav", "ann_lee_calm_1.wav"),
        ("{speaker:2}.wav", "ann.wav"),
    ],
)
def test_file_names_that_do_not_match_are_listed(pattern, name):
    with pytest.raises(SoctkError) as error:
        parse_names([name], pattern, FOLDER)
    assert str(error.value).startswith(f"corpus: 1 of 1 file names do not match {pattern}\n  {name}\nCorrect --pattern")


@pytest.mark.parametrize("pattern", ["{speaker", "{}.wav", "{n:x}.wav", "{n:99999999999}", "{a-b}"])
def test_an_invalid_pattern_is_refused(pattern):
    with pytest.raises(SoctkError, match=r"--pattern: .* is not a valid pattern \(.*\)\nWrite it like \{speaker\}_"):
        parse_names(["x.wav"], pattern, FOLDER)


def test_only_files_with_the_extension_of_the_pattern_are_listed(tmp_path):
    for name in ("b.WAV", "a.wav", "notes.txt", ".hidden.wav"):
        (tmp_path / name).touch()
    told = []
    assert list_recordings(tmp_path, "{speaker}.wav", told.append) == [{"path": "a.wav"}, {"path": "b.WAV"}]
    assert told == [f"Note: {tmp_path}: files that do not end in .wav are not read: .txt 1"]


def test_a_folder_without_a_pattern_is_refused(tmp_path):
    with pytest.raises(SoctkError, match=r"nothing describes their file names\nDescribe the file names with --pattern"):
        list_recordings(tmp_path, None, print)


def test_a_folder_without_files_of_the_extension_is_refused(tmp_path):
    (tmp_path / "a.wav").touch()
    with pytest.raises(
        SoctkError,
        match=r"no file name in this folder ends in '\.mp3'; the extensions are .wav 1\nCheck the path, and the ext",
    ):
        list_recordings(tmp_path, "{speaker}_{n}.mp3", print)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("{speaker}{text}{emotion}.wav", ("speaker", "text")),
        ("{speaker}{emotion:1}{n}.wav", ("speaker", "n")),
        ("{speaker}{n:*}.wav", ("speaker", "n")),
        ("{a:*}_{b:*}.wav", ("a", "b")),
        ("x/{a:*}_{n:2}-{b:*}.wav", ("a", "b")),
        ("{speaker}_{a}{a}.wav", ("a", "a")),
    ],
)
def test_a_pattern_that_can_be_divided_in_several_ways_is_refused(pattern, names):
    with pytest.raises(SoctkError) as error:
        parse_names(["ann_sad.wav"], pattern, FOLDER)
    one, other = names
    start = (
        f"--pattern: {pattern} does not say where {{{one}}} ends and {{{other}}} begins\nGive the number of characters"
    )
    assert str(error.value).startswith(start)


@pytest.mark.parametrize(
    "pattern", ["{speaker}{n:2}_{e}.wav", "{a:1}{b:2}{c}.wav", "{a:*}/{b:*}.wav", "{a:*}_{b}_{c}.wav", "{a}_{b:*}.wav"]
)
def test_a_pattern_that_can_be_divided_in_one_way_is_accepted(pattern):
    compile_pattern(pattern)


def test_a_field_that_occurs_twice_is_joined():
    pattern = "Ses{speaker:2}F_{_dialog:*}_{speaker:1}{n}.wav"
    names = ["Ses01F_impro01_F000.wav", "Ses01F_script01_1_M012.wav"]
    assert [row["speaker"] for row in parse_names(names, pattern, FOLDER)] == ["01-F", "01-M"]
    assert [
        row["speaker"] for row in parse_names(["1_1.wav", "1_2.wav", "2_1.wav"], "{speaker}_{speaker}.wav", FOLDER)
    ] == [
        "1-1",
        "1-2",
        "2-1",
    ]


def test_a_field_that_occurs_twice_with_the_same_texts_is_one_name():
    pattern = "{speaker}/{emotion}/{speaker}_{n}.wav"
    names = [f"{speaker}/sad/{speaker}_{n}.wav" for speaker in ("0011", "0012") for n in (1, 2)]
    assert {row["speaker"] for row in parse_names(names, pattern, FOLDER)} == {"0011", "0012"}
    with pytest.raises(SoctkError) as error:
        parse_names([*names, "0011/sad/0012_9.wav"], pattern, FOLDER)
    start = (
        f"corpus: {{speaker}} occurs twice in {pattern}, and 1 of 5 file names have two different texts there\n  0011/"
    )
    assert str(error.value).startswith(start)


def test_widths_count_composed_characters():
    assert parse_names(["Jose\u0301_sad.wav"], "{speaker:4}_{emotion}.wav", FOLDER)[0]["speaker"] == "Jos\xe9"


@pytest.mark.parametrize("pattern", ["{speaker}_{n}", "{speaker}.{n}", "{speaker}.wav{n}"])
def test_a_pattern_without_an_extension_cannot_list_recordings(tmp_path, pattern):
    with pytest.raises(SoctkError, match="does not end in the extension of the recordings\nWrite it like"):
        list_recordings(tmp_path, pattern, print)
