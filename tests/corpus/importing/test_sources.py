import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_corpus import SPEAKERS, assert_is_corpus, make_rows, write_csv, write_recordings

from soctk.corpus import datadir, importing
from soctk.corpus.importing.sources import SOURCES
from soctk.errors import SoctkError


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("my corpus")
    write_recordings(root)
    return root


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_a_table_gives_the_corpus(recordings, tmp_path, form):
    path = tmp_path / f"labels.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in make_rows()))
    else:
        write_csv(path, make_rows(), {"csv": ",", "tsv": "\t"}[form])
    data = importing.build_corpus(importing.read([path]), recordings, {}, tmp_path / "folds.yaml")
    assert_is_corpus(data, recordings)
    assert data.gender == SPEAKERS
    assert data.emotions == ("angry", "calm", "sad")


def test_file_names_give_the_corpus(recordings, tmp_path):
    rows = importing.read([recordings], "{speaker}_{emotion}_{n}.wav")
    data = importing.build_corpus(rows, importing.audio_root(recordings), {}, tmp_path / "folds.yaml")
    assert_is_corpus(data, recordings)
    assert data.gender == {}
    datadir.write(tmp_path / "data", data)
    assert not (tmp_path / "data" / "spk2gender").exists()
    assert datadir.read(tmp_path / "data").gender == {}


def test_a_linked_folder_of_recordings_is_read(recordings, tmp_path):
    (tmp_path / "ann").symlink_to(recordings / "ann")
    assert len(importing.read([tmp_path], "{speaker}_{emotion}_{n}.wav")) == 6


def test_a_folder_named_like_a_table_is_read_as_a_folder(recordings, tmp_path):
    (tmp_path / "corpus.csv").symlink_to(recordings)
    assert len(importing.read([tmp_path / "corpus.csv"], "{speaker}_{emotion}_{n}.wav")) == 18
    assert importing.audio_root(tmp_path / "corpus.csv") == tmp_path / "corpus.csv"


def test_paths_of_a_table_start_from_its_folder(tmp_path):
    assert importing.audio_root(tmp_path / "labels.csv") == tmp_path


def test_other_tables_complete_the_first_by_path_or_by_speaker(recordings, tmp_path):
    """The files are laid out as audformat 1.4.3 writes them: labels, properties of files, speakers in the header."""
    rows = make_rows()
    labels = write_csv(tmp_path / "db.emotion.csv", [{"file": r["path"], "emotion": r["emotion"]} for r in rows])
    files = write_csv(tmp_path / "db.files.csv", [{"file": r["path"], "speaker": r["speaker"]} for r in rows])
    header = tmp_path / "db.yaml"
    header.write_text(
        "name: mydb\nschemes:\n  speaker:\n    dtype: str\n    labels:\n"
        "      ann: {gender: female, age: 31}\n      bob: {gender: male}\n      cleo: {gender: female}\n"
    )
    rows = importing.read([labels, files, header])
    data = importing.build_corpus(rows, recordings, {}, tmp_path / "folds.yaml")
    assert_is_corpus(data, recordings)
    assert data.gender == SPEAKERS


def test_columns_may_have_other_names(recordings, tmp_path):
    table = [{"Take": r["path"], "affect": r["emotion"], "who": r["speaker"], "label": "x"} for r in make_rows()]
    choice = {"path": ("Take",), "emotion": ("affect",), "speaker": ("who",)}
    rows = importing.read([write_csv(tmp_path / "labels.csv", table)], choice=choice)
    assert_is_corpus(importing.build_corpus(rows, recordings, {}, tmp_path / "folds.yaml"), recordings)


@pytest.mark.parametrize("empty_speaker", [{}, {"speaker": ""}])
def test_values_missing_in_a_table_are_read_from_file_names(recordings, tmp_path, empty_speaker):
    table = [{"path": r["path"], "emotion": r["emotion"], **empty_speaker} for r in make_rows()]
    rows = importing.read([write_csv(tmp_path / "labels.csv", table)], "{speaker}/{rest}.wav")
    assert_is_corpus(importing.build_corpus(rows, recordings, {}, tmp_path / "folds.yaml"), recordings)


def test_another_table_is_matched_by_the_speaker_in_file_names_and_overrides_their_emotion(tmp_path):
    (tmp_path / "corpus").mkdir()
    for name in ("ann_sad.wav", "bob_sad.wav"):
        (tmp_path / "corpus" / name).touch()
    (tmp_path / "more.csv").write_text("speaker,sex,emotion\nann,f,\nbob,m,angry\n")
    assert importing.read([tmp_path / "corpus", tmp_path / "more.csv"], "{speaker}_{emotion}.wav") == [
        {"path": "ann_sad.wav", "speaker": "ann", "emotion": "sad", "sex": "f"},
        {"path": "bob_sad.wav", "speaker": "bob", "emotion": "angry", "sex": "m"},
    ]


def test_the_first_table_keeps_its_own_values(tmp_path):
    rows = [{"path": "x.wav", "speaker": "ann", "emotion": "sad"}, {"path": "y.wav", "speaker": "ann", "emotion": ""}]
    labels = write_csv(tmp_path / "labels.csv", rows)
    (tmp_path / "more.csv").write_text("speaker,emotion\nann,calm\n")
    assert [row["emotion"] for row in importing.read([labels, tmp_path / "more.csv"])] == ["sad", "calm"]


def test_rows_of_the_same_speaker_are_merged(tmp_path):
    labels = write_csv(tmp_path / "labels.csv", [{"path": "x.wav", "speaker": "ann", "emotion": "sad"}])
    (tmp_path / "more.csv").write_text("speaker,sex,fold\nann,f,\nann,,1\nann,f,1\n")
    (row,) = importing.read([labels, tmp_path / "more.csv"])
    assert row == {"path": "x.wav", "speaker": "ann", "emotion": "sad", "sex": "f", "fold": "1"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("ann,f\nann,m\nbob,m\n", "rows with the same speaker contradict each other\n  ann: sex f and m\nKeep one row"),
        ("ann,f\n,m\n", "no speaker in 1 of 2 rows\n  sex m\nFill it in"),
        ("zoe,f\n", "none of its 1 speakers, such as zoe, occurs in "),
    ],
)
def test_a_second_table_that_contradicts_itself_or_does_not_match_is_refused(tmp_path, lines, message):
    labels = write_csv(tmp_path / "labels.csv", make_rows())
    (tmp_path / "sexes.csv").write_text(f"speaker,sex\n{lines}")
    with pytest.raises(SoctkError) as error:
        importing.read([labels, tmp_path / "sexes.csv"])
    assert f"{tmp_path / 'sexes.csv'}: {message}" in str(error.value)


def test_an_unknown_column_is_refused_with_a_suggestion(tmp_path):
    table = write_csv(tmp_path / "labels.csv", make_rows())
    with pytest.raises(SoctkError, match=r"--column: unknown column 'emotoin'\nDid you mean 'emotion'\?"):
        importing.read([table], choice={"emotion": ("emotoin",)})


def test_an_unknown_kind_of_source_is_refused_with_the_known_kinds(tmp_path):
    (tmp_path / "labels.xlsx").touch()
    with pytest.raises(SoctkError) as error:
        importing.read([tmp_path / "labels.xlsx"])
    assert str(error.value).startswith(f"{tmp_path / 'labels.xlsx'}: soctk cannot read this kind of source\n")
    for kind in SOURCES:
        assert f"  {kind.description}" in str(error.value).splitlines()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.csv", "path,emotion\n", "it has no rows\nCheck the path."),
        ("labels.jsonl", "", "it has no rows\nCheck the path."),
        (
            "labels.csv",
            "clip,emotion\na,b\n",
            "no column gives the path; the columns are clip, emotion\n"
            "Name the column, --column path=NAME, or add one with the paths of the recordings.",
        ),
        ("labels.csv", "path,emotion\n,sad\n", "no path in 1 of 1 row\n  emotion sad\n"),
        (
            "labels.jsonl",
            '{"path": "x"}\n{"emotion": "sad"}\n{"n": 1}\n',
            "no path in 2 of 3 rows\n  emotion sad\n  a row without any known column\n",
        ),
    ],
)
def test_a_first_source_without_paths_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(SoctkError) as error:
        importing.read([tmp_path / name])
    assert str(error.value).startswith(f"{tmp_path / name}: {message}")


def test_each_long_step_reports_its_progress(recordings, tmp_path, monkeypatch):
    steps = []

    def report(items, description, unit, total=None):
        steps.append((description, unit, total if total is not None else len(items)))
        return items

    monkeypatch.setattr("soctk.corpus.importing.sources.track", report)
    monkeypatch.setattr("soctk.corpus.importing.locate.track", report)
    monkeypatch.setattr("soctk.corpus.audio.track", report)
    monkeypatch.setattr("soctk.corpus.folds.counter", lambda name, unit, total: counter(name, unit, total, steps))
    rows = importing.read([write_csv(tmp_path / "labels.csv", make_rows())])
    importing.build_corpus(rows, recordings, {}, tmp_path / "folds.yaml")
    assert steps == [
        ("read labels", "row", 18),
        ("find recordings", "file", 18),
        ("check audio", "file", 18),
        ("make folds", "fold", 3),
    ]


def counter(description: str, unit: str, total: int, steps: list) -> nullcontext:
    steps.append((description, unit, total))
    return nullcontext(SimpleNamespace(update=lambda number: None))


def test_fields_that_some_json_objects_use_are_not_called_unused(tmp_path):
    (tmp_path / "labels.jsonl").write_text(
        '{"path": "a.wav", "emotion": "sad", "speaker": "ann", "text": "x"}\n'
        '{"path": "b.wav", "label": "calm", "spk": "bob"}\n'
    )
    account = importing.Account()
    rows = importing.read([tmp_path / "labels.jsonl"], account=account)
    assert [(row["emotion"], row["speaker"]) for row in rows] == [("sad", "ann"), ("calm", "bob")]
    assert account.notes == ["Note: columns that are not used: text"]


def test_a_partition_without_speakers_or_emotions_asks_for_the_columns_that_may_give_them(tmp_path):
    (tmp_path / "labels.csv").write_text(
        "path,EmoAct,Split_Set,who,mood\na.wav,4.5,Train,ann,sad\nb.wav,1.5,Test1,bob,calm\n"
    )
    note = "Note: columns that are not used: who, mood"
    account = importing.Account()
    importing.read([tmp_path / "labels.csv"], account=account)
    asked = "; if one has the emotion: --column emotion=NAME; if one has the speaker: --column speaker=NAME"
    assert account.notes == [note + asked]
    account = importing.Account()
    importing.read([tmp_path / "labels.csv"], choice={"speaker": [], "emotion": []}, account=account)
    assert account.notes == [note]


def test_the_columns_of_msp_podcast_are_recognised(tmp_path):
    header = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"
    (tmp_path / "labels.csv").write_text(f"{header}\na.wav,A,1.5,2.5,3.5,12,Male,Train\nb.wav,N,1,2,3,7,Female,Test1\n")
    account = importing.Account()
    first, second = importing.read([tmp_path / "labels.csv"], account=account)
    assert account.notes == []
    assert (first["emotion"], first["speaker"], first["split"], first["dominance"]) == ("A", "12", "Train", "3.5")
    assert (second["emotion"], second["speaker"], second["sex"]) == ("N", "7", "Female")
