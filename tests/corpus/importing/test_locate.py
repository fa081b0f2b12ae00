import unicodedata

import pytest

from soctk.corpus.importing.locate import locate
from soctk.errors import SoctkError

NFC = "Jos\xe9"
NFD = unicodedata.normalize("NFD", NFC)


@pytest.fixture
def folder(tmp_path):
    for name in (f"{NFD}/a\xe9.wav", "clips/x.wav", "clips/a\u200bb.wav", "clips/both.wav", "clips/both\u200b.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (f"{NFC}/ae\u0301.wav", f"{NFD}/a\xe9.wav"),
        ("clips/x.wav\u200b", "clips/x.wav"),
        ("clips\\x.wav", "clips/x.wav"),
        ("clips/ab.wav", "clips/a\u200bb.wav"),
        ("clips/../clips/x.wav\u00a0", "clips/../clips/x.wav"),
        ("clips/both.wav", "clips/both.wav"),
        ("clips/gone.wav", "clips/gone.wav"),
        ("gone/x.wav", "gone/x.wav"),
        (300 * "x", 300 * "x"),
    ],
)
def test_a_path_is_found_under_the_name_in_the_file_system(folder, path, found):
    assert locate([{"path": path, "emotion": "sad"}], folder) == [{"path": found, "emotion": "sad"}]
    if path[0] != "x":
        (row,) = locate([{"path": f"{folder}/{path}"}], folder)
        assert row["path"] == f"{folder}/{found}"


@pytest.mark.parametrize("path", ["Clips/x.wav", "clips/X.WAV", "clips/\u0445.wav"])
def test_a_path_that_only_looks_like_a_file_is_explained(folder, path):
    with pytest.raises(SoctkError) as error:
        locate([{"path": path}, {"path": "gone.wav"}], folder)
    assert str(error.value) == (
        f"{folder}: 1 recording missing, but there are files with similar names\n"
        f"  {path!a}: the file system has 'clips/x.wav'\nSpell the paths like the files."
    )


@pytest.mark.parametrize("path", ["clips/x", "clips/x.mp4", "clips/x.MP3"])
def test_a_path_with_another_extension_is_explained_if_one_file_has_its_name(folder, path):
    with pytest.raises(SoctkError, match=f"  '{path}': the file system has 'clips/x.wav'\nSpell the paths like"):
        locate([{"path": path}], folder)
    (folder / "clips/x.txt").touch()
    with pytest.raises(SoctkError, match=f"  '{path}': the file system has 'clips/x.wav'\n"):
        locate([{"path": path}], folder)
    (folder / "clips/x.flac").touch()
    assert locate([{"path": path}], folder) == [{"path": path}]


def test_the_part_of_a_name_after_a_dot_is_no_extension_of_audio(folder):
    (folder / "clips/s01.happy.wav").touch()
    with pytest.raises(SoctkError, match=r"the file system has 'clips/s01\.happy\.wav'"):
        locate([{"path": "clips/s01.happy"}], folder)
    assert locate([{"path": "clips/x.happy"}], folder) == [{"path": "clips/x.happy"}]


@pytest.mark.parametrize("path", ["a\0.wav", "\ud800.wav"])
def test_a_path_that_no_file_can_have_is_refused(folder, path):
    with pytest.raises(SoctkError, match="1 path that cannot be file names"):
        locate([{"path": path}], folder)
