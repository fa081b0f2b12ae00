from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soctk.corpus.importing.filenames import list_recordings, parse_names
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
