import os
from pathlib import Path

import pytest

from soctk.corpus import recordings
from soctk.errors import SoctkError


def touch_files(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in recordings.list_files(folder)]


def test_links_are_followed_and_hidden_files_are_left_out(tmp_path):
    touch_files(tmp_path, "here/b/1.wav", "here/a.wav", "here/.c.wav", "here/.d/2.wav", "there/e/3.wav")
    (tmp_path / "here" / "e").symlink_to(tmp_path / "there" / "e")
    (tmp_path / "here" / "f.wav").symlink_to(tmp_path / "there" / "e" / "3.wav")
    assert names(tmp_path / "here") == ["a.wav", "b/1.wav", "e/3.wav", "f.wav"]


def test_circular_links_are_followed_once(tmp_path):
    touch_files(tmp_path, "a/1.wav", "b/2.wav")
    (tmp_path / "a" / "all").symlink_to(tmp_path)
    (tmp_path / "a" / "b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "a").symlink_to("../a")
    assert names(tmp_path) == ["a/1.wav", "a/b/2.wav", "b/2.wav", "b/a/1.wav"]


def test_a_link_to_itself_does_not_stop_the_search(tmp_path):
    touch_files(tmp_path, "a/1.wav")
    (tmp_path / "a" / "loop").symlink_to("loop")
    assert names(tmp_path) == ["a/1.wav", "a/loop"]


def test_a_missing_folder_has_no_files(tmp_path):
    assert names(tmp_path / "gone") == []


def test_all_copies_of_a_recording_are_found_by_name(tmp_path):
    touch_files(tmp_path, "a/03-01.wav", "b/03-01.wav", "03-02.wav", "01-01.wav")
    assert recordings.find(tmp_path, "03-*.wav") == {
        "03-02": [tmp_path / "03-02.wav"],
        "03-01": [tmp_path / "a" / "03-01.wav", tmp_path / "b" / "03-01.wav"],
    }


def test_the_first_of_equal_copies_is_returned(tmp_path):
    touch_files(tmp_path, "b/1.wav", "a/1.wav", "2.wav")
    copies = recordings.find(tmp_path, "*.wav")
    assert recordings.first_of_each(copies, ["2", "1"], tmp_path, "") == [tmp_path / "2.wav", tmp_path / "a" / "1.wav"]


def test_copies_with_the_same_size_and_date_but_different_content_are_refused(tmp_path):
    touch_files(tmp_path, "a/1.wav", "b/1.wav")
    for folder in ("a", "b"):
        (tmp_path / folder / "1.wav").write_text(folder)
        os.utime(tmp_path / folder / "1.wav", (0, 0))
    copies = recordings.find(tmp_path, "*.wav")
    with pytest.raises(SoctkError) as error:
        recordings.first_of_each(copies, ["1"], tmp_path, "Unpack it again.")
    message = "these files have the same name but different content\n  1\nUnpack it again."
    assert str(error.value) == f"{tmp_path}: {message}"


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_path_of_the_metadata_matches_the_recording_with_the_most_folders_in_common(tmp_path):
    ann = write(tmp_path / "copy" / "ann" / "sad" / "1.wav", b"1")
    bob = write(tmp_path / "copy" / "bob" / "sad" / "1.wav", b"2")
    write(tmp_path / "copy" / "bob" / "angry" / "1.wav", b"3")
    accents = write(tmp_path / "D\u0065\u0301but" / "2.wav", b"4")  # decomposed, as macOS writes it
    converted = write(tmp_path / "clips" / "dia0_utt0.wav", b"5")
    paths = ["x/ann/sad/1.wav", "other/bob/sad/1.wav", "x/D\u00e9but/2.wav", "x/test/dia0_utt0.mp4", "x/3.wav"]
    assert recordings.match(tmp_path, paths, "Do this.") == {
        "x/ann/sad/1.wav": ann,
        "other/bob/sad/1.wav": bob,
        "x/D\u00e9but/2.wav": accents,
        "x/test/dia0_utt0.mp4": converted,
    }


def test_recordings_that_match_equally_well_are_refused_if_they_differ(tmp_path):
    first = write(tmp_path / "a" / "1.wav", b"1")
    write(tmp_path / "b" / "1.wav", b"1")
    assert recordings.match(tmp_path, ["c/1.wav"], "Do this.") == {"c/1.wav": first}
    write(tmp_path / "b" / "1.wav", b"2")
    with pytest.raises(SoctkError, match=r"1 path has several recordings with different content\n  c/1.wav: .*/a/1"):
        recordings.match(tmp_path, ["c/1.wav"], "Do this.")


def test_a_recording_of_another_path_does_not_replace_a_missing_one(tmp_path):
    write(tmp_path / "bob" / "sad" / "1.wav", b"2")
    paths = ["ann/sad/1.wav", "bob/sad/1.wav", "cleo/sad/1.wav"]
    assert list(recordings.match(tmp_path, paths, "Do this.")) == ["bob/sad/1.wav"]


def test_missing_repeated_and_unknown_recordings_of_a_corpus_are_told(tmp_path):
    a = write(tmp_path / "a.wav", b"1")
    write(tmp_path / "again" / "a.wav", b"1")
    write(tmp_path / "z.wav", b"3")
    with pytest.raises(
        SoctkError, match=r"1 of the 2 recordings are missing\n  b\nGet it. To use an incomplete copy, "
    ):
        recordings.find_expected(tmp_path, "*.wav", ["a", "b"], "Get it.", print)
    with pytest.raises(SoctkError, match=r"2 of the 2 recordings are missing\n  c\n  d\nGet it\.$"):
        recordings.find_expected(tmp_path, "*.wav", ["c", "d"], "Get it.", print, partial=True)
    lines = []
    found = recordings.find_expected(tmp_path, "*.wav", ["a", "b"], "Get it.", lines.append, partial=True)
    assert found == {"a": a}
    assert lines == [
        "Warning: 1 of the 2 recordings are missing\n  b\nResults cannot be compared with published ones.",
        f"{tmp_path} contains 1 file more than once; the first copy of each is used",
        "Note: 1 file is not part of the corpus and not used, such as z",
    ]
