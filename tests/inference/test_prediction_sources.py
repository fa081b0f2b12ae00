"""Inputs become recordings, and inputs without recordings become errors beside the others."""

import os
from pathlib import Path

import pytest
from conftest import write_corpus

from soctk.corpus import datadir
from soctk.errors import SoctkError
from soctk.inference import sources


def names(*inputs):
    return [source.name for source in sources.expand([str(text) for text in inputs])]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A working directory with files that need no sound in them."""
    monkeypatch.chdir(tmp_path)
    for path in ("b.wav", "a.FLAC", "deep/er/c.mp3", "notes.txt", ".hidden.wav", "deep/.x/d.wav", "labels.csv"):
        (tmp_path / "in" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / path).touch()
    return tmp_path


def test_a_folder_gives_its_recordings_sorted_at_any_depth_without_hidden_files(folder):
    assert names("in") == ["in/a.FLAC", "in/b.wav", "in/deep/er/c.mp3"]


def test_a_file_is_taken_as_it_is_whatever_its_extension(folder):
    assert names("in/notes.txt", "gone.wav", "./in/b.wav", "-") == ["in/notes.txt", "gone.wav", "./in/b.wav", "-"]


@pytest.mark.parametrize("channel", ["1", "mix"])
def test_a_data_directory_gives_the_paths_and_the_channel_in_it(tmp_path, channel):
    data = write_corpus(tmp_path)
    if channel != "1":
        (tmp_path / "data" / "channel").write_text(f"{channel}\n")
    found = list(sources.expand([str(tmp_path / "data")]))
    assert [source.path for source in found] == list(datadir.read(tmp_path / "data").wav.values())
    assert {source.channel for source in found} == {channel}
    assert len(found) == len(data.wav)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_has_recordings_and_folders_relative_to_the_working_directory(folder, end):
    (folder / "lists").mkdir()
    lines = ["in/b.wav", "", " spaced .wav", "in/deep", "in/b.wav"]
    (folder / "lists" / "all.txt").write_bytes("\ufeff".encode() + end.join(lines).encode())
    assert names("@lists/all.txt") == ["in/b.wav", " spaced .wav", "in/deep/er/c.mp3", "in/b.wav"]


def test_a_line_of_a_list_without_recordings_does_not_end_the_list(folder):
    (folder / "empty").mkdir()
    (folder / "list").write_text("empty\nin/b.wav\n")
    first, second = sources.expand(["@list"])
    assert str(first).startswith("empty: no recordings in this folder\n")
    assert second.name == "in/b.wav"


def test_a_list_may_have_names_that_are_not_utf8(folder):
    (folder / "list").write_bytes(b"caf\xe9.wav\n")
    assert [os.fsencode(name) for name in names("@list")] == [b"caf\xe9.wav"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("empty", "empty: no recordings in this folder\nGive a folder with files such as .wav"),
        ("", "no path"),
        ("@", "no path"),
        ("@gone.txt", "gone.txt: the list cannot be read (No such file or directory)"),
        ("@in", "in: the list cannot be read (Is a directory)"),
        ("@in/b.wav", "in/b.wav: the list is empty"),
        ("@zero", "zero: the list has a zero byte"),
        ("broken", "broken: not a data directory: it has no utt2spk"),
    ],
)
def test_an_input_without_recordings_is_an_error_beside_the_others(folder, text, message):
    (folder / "empty").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken" / "wav.scp").touch()
    (folder / "zero").write_bytes(b"RIFF\0\0")
    first, error, last = sources.expand(["in/b.wav", text, "in/a.FLAC"])
    assert (first.name, last.name) == ("in/b.wav", "in/a.FLAC")
    assert isinstance(error, SoctkError)
    assert message in str(error)


def test_repeated_paths_are_found_in_any_spelling_and_the_first_stays(folder):
    found = list(sources.expand(["in/b.wav", "in", str(folder / "in" / "a.FLAC"), "in/../in/b.wav"]))
    assert [source.name for source in sources.distinct(found)] == ["in/b.wav", "in/a.FLAC", "in/deep/er/c.mp3"]
