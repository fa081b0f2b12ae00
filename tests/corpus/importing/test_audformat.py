import shutil
import sys
from pathlib import Path

import pytest
from small_corpus import write_audformat_recordings

from soctk.corpus import importing
from soctk.corpus.importing import audformat, parquet
from soctk.errors import SoctkError

DATABASE = Path(__file__).parents[2] / "golden" / "audformat"
SEX = {"ann": "f", "bob": "m", "cid": "m", "dan": "m", "eve": "f", "fay": "f"}


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


def copy_database(folder: Path, form: str) -> Path:
    """Copy the database of golden/make_audformat.py, and write its recordings; return the folder."""
    shutil.copytree(DATABASE / form, folder)
    write_audformat_recordings(folder)
    return folder


def sources(folder: Path, form: str) -> list[Path]:
    names = ("emotion.train", "emotion.dev", "emotion.test", "files")
    return [*(folder / f"db.{name}.{form}" for name in names), folder / "db.yaml"]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_database_of_segments_gives_segments_the_partition_and_the_sexes(tmp_path, form):
    folder = copy_database(tmp_path / "db", form)
    account = importing.Account()
    rows = importing.read(sources(folder, form), account=account)
    data = importing.build_corpus(rows, folder, {}, tmp_path / "folds.yaml", account=account)
    assert len(data.utterances) == 24
    assert data.gender == SEX
    first = [utt for utt in data.utterances if data.speaker[utt] == "ann"]
    assert [(data.segments[utt].start, data.segments[utt].end) for utt in first] == [(0, 1), (1, 2), (2, 2.75), (3, 4)]
    assert [data.emotion[utt] for utt in first] == ["happy", "sad", "happy", "sad"]
    assert {data.segments[utt].recording for utt in first} == {"ann"}
    assert {data.speaker[utt]: part for utt, part in data.split.items()} == {
        "ann": "train", "bob": "train", "cid": "train", "dan": "dev", "eve": "test", "fay": "test",
    }  # fmt: skip
    assert account.equation(24).endswith("= 24 utterances")
    assert "Note: columns that are not used: language, age" in account.notes


def test_csv_and_parquet_give_the_same_corpus(tmp_path):
    corpora = []
    for form in ("csv", "parquet"):
        folder = copy_database(tmp_path / "db", form)
        rows = importing.read(sources(folder, form), choice={"split": ()})
        corpora.append(importing.build_corpus(rows, folder, {}, tmp_path / "folds.yaml"))
        shutil.rmtree(folder)
    assert corpora[0] == corpora[1]
    assert corpora[0].split == {}
    assert corpora[0].folds == [1, 2, 3, 4, 5]


def test_a_test_keeps_its_name(tmp_path):
    header = tmp_path / "db.yaml"
    header.write_text(
        "splits:\n  test-1: {type: test}\n  evaluation: {type: test}\n  learn: {type: train}\n  rest: {}\n"
        "tables:\n  a: {split_id: test-1}\n  b.c: {split_id: evaluation}\n  d: {split_id: learn}\n"
        "  e: {split_id: rest}\n  f: {}\n"
    )
    names = {name: audformat.find_split(tmp_path / f"db.{name}.csv", [header]) for name in ("a", "b.c", "d", "e", "f")}
    assert names == {
        "a": {"split": "test-1"}, "b.c": {"split": "test"}, "d": {"split": "train"}, "e": {"split": "rest"}, "f": {},
    }  # fmt: skip
    assert audformat.find_split(tmp_path / "other.a.csv", [header]) == {}
    assert audformat.find_split(tmp_path / "folder" / "db.a.csv", [header]) == {}


def test_a_header_without_tables_lists_them(tmp_path):
    folder = copy_database(tmp_path / "db", "parquet")
    with pytest.raises(SoctkError) as error:
        importing.read([folder / "db.yaml"])
    assert str(error.value).splitlines() == [
        f"{folder}/db.yaml: the header of an audformat database names the tables, but does not contain their rows",
        "  db.emotion.dev.parquet: emotion, speaker (split dev)",
        "  db.emotion.test.parquet: emotion, speaker (split test)",
        "  db.emotion.train.parquet: emotion, speaker (split train)",
        "  db.files.parquet: language",
        "Give the table with the emotions first, then those with the same columns, then other tables, and the header "
        "last.",
    ]


def test_a_misc_table_that_is_missing_or_has_another_key_is_named(tmp_path):
    folder = copy_database(tmp_path / "db", "csv")
    (folder / "db.speaker.csv").write_text("who,gender\nann,female\n")
    with pytest.raises(SoctkError, match=r"db.speaker.csv: it has no column speaker\nCompare it with .*db.yaml"):
        audformat.read_speakers(folder / "db.yaml")
    header = (folder / "db.yaml").read_text()
    (folder / "db.yaml").write_text(header.replace("levels: {speaker: str}", "levels: {who: str}"))
    assert audformat.read_speakers(folder / "db.yaml") == [{"speaker": "ann", "gender": "female"}]
    (folder / "db.speaker.csv").unlink()
    with pytest.raises(SoctkError, match=r"described in the misc table speaker, but db.speaker is missing"):
        audformat.read_speakers(folder / "db.yaml")


def test_a_damaged_parquet_file_and_a_missing_package_are_named(tmp_path, monkeypatch):
    path = tmp_path / "labels.parquet"
    path.write_bytes(b"PAR1 and no table")
    with pytest.raises(SoctkError, match=r"labels.parquet: not a table in Parquet, or damaged \(.*\)\nWrite the file"):
        parquet.read(path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        SoctkError, match=r"needs the package pyarrow, which is not installed\nInstall the extra formats: pip"
    ):
        parquet.read(path)
