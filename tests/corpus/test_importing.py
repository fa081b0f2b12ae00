import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from soctk.corpus import datadir, folds, importing
from soctk.errors import SoctkError

SPEAKERS = {"ann": "f", "bob": "m", "cleo": "f"}
EMOTIONS = ("calm", "angry", "sad")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Three speakers x 3 emotions x 2 takes, named ann/ann_calm_1.wav, in a folder with a space in its name."""
    root = tmp_path_factory.mktemp("my corpus")
    for speaker in SPEAKERS:
        (root / speaker).mkdir()
        for emotion in EMOTIONS:
            for take in (1, 2):
                soundfile.write(root / speaker / f"{speaker}_{emotion}_{take}.wav", np.ones(1600) / 2, 16000)
    return root


def rows() -> list[dict]:
    return [
        {"path": f"{speaker}/{speaker}_{emotion}_{take}.wav", "emotion": emotion, "speaker": speaker, "sex": sex}
        for speaker, sex in SPEAKERS.items()
        for emotion in EMOTIONS
        for take in (1, 2)
    ]


def write_csv(path: Path, table: list[dict], separator: str = ",") -> Path:
    lines = [table[0].keys(), *(row.values() for row in table)]
    path.write_text("".join(separator.join(line) + "\n" for line in lines))
    return path


def check_is_the_corpus(data: datadir.DataDir, recordings: Path) -> None:
    assert len(data.wav) == 18
    assert data.wav["ann-calm_1"] == recordings / "ann" / "ann_calm_1.wav"
    assert (data.speaker["ann-calm_1"], data.emotion["ann-calm_1"], data.seconds["ann-calm_1"]) == ("ann", "calm", 0.1)
    assert len(data.folds) == 3


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_a_table_is_a_corpus(recordings, tmp_path, form):
    path = tmp_path / f"labels.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    else:
        write_csv(path, rows(), {"csv": ",", "tsv": "\t"}[form])
    data = importing.corpus(importing.read([path]), recordings, {}, tmp_path / "folds.yaml")
    check_is_the_corpus(data, recordings)
    assert data.gender == SPEAKERS
    assert data.emotions == ("angry", "calm", "sad")


def test_file_names_are_a_corpus(recordings, tmp_path):
    read = importing.read([recordings], "{speaker}_{emotion}_{n}.wav")
    data = importing.corpus(read, importing.audio_root(recordings), {}, tmp_path / "folds.yaml")
    check_is_the_corpus(data, recordings)
    assert data.gender == {}
    datadir.write(tmp_path / "data", data)
    assert not (tmp_path / "data" / "spk2gender").exists()
    assert datadir.read(tmp_path / "data").gender == {}


def test_a_folder_that_is_a_link_is_read_too(recordings, tmp_path):
    (tmp_path / "ann").symlink_to(recordings / "ann")
    assert len(importing.read([tmp_path], "{speaker}_{emotion}_{n}.wav")) == 6


def test_a_speaker_whose_folder_is_there_by_a_second_name_is_refused(recordings, tmp_path):
    (recordings / "zoe").symlink_to("ann")
    read = importing.read([recordings], "{speaker}/{x}_{emotion}_{n}.wav")
    with pytest.raises(SoctkError, match=r"12 rows are of the same recordings as others\n  ann/(.|\n)*remove links"):
        importing.corpus(read, importing.audio_root(recordings), {}, tmp_path / "folds.yaml")


@pytest.mark.parametrize(("column", "kind", "name"), [("speaker", "speakers", "Ann"), ("emotion", "emotions", "Calm")])
def test_names_that_differ_in_capital_letters_alone_are_refused(recordings, tmp_path, column, kind, name):
    table = changed(0, **{column: name})
    with pytest.raises(SoctkError, match=rf"{kind} differ in capital letters alone\n  {name} {name.lower()}\nSpell"):
        importing.corpus(table, recordings, {}, tmp_path / "folds.yaml")


def test_other_tables_complete_the_first_by_path_or_by_speaker(recordings, tmp_path):
    """As audformat 1.4.3 writes them: labels, what is known of files, and speakers in its header."""
    labels = write_csv(tmp_path / "db.emotion.csv", [{"file": r["path"], "emotion": r["emotion"]} for r in rows()])
    files = write_csv(tmp_path / "db.files.csv", [{"file": r["path"], "speaker": r["speaker"]} for r in rows()])
    header = tmp_path / "db.yaml"
    header.write_text(
        "name: mydb\nschemes:\n  speaker:\n    dtype: str\n    labels:\n"
        "      ann: {gender: female, age: 31}\n      bob: {gender: male}\n      cleo: {gender: female}\n"
    )
    data = importing.corpus(importing.read([labels, files, header]), recordings, {}, tmp_path / "folds.yaml")
    check_is_the_corpus(data, recordings)
    assert data.gender == SPEAKERS


def test_columns_may_have_names_of_their_own(recordings, tmp_path):
    renamed = [{"Take": r["path"], "affect": r["emotion"], "who": r["speaker"], "label": "x"} for r in rows()]
    columns = {"path": "Take", "emotion": "affect", "speaker": "who"}
    read = importing.read([write_csv(tmp_path / "labels.csv", renamed)], columns=columns)
    check_is_the_corpus(importing.corpus(read, recordings, {}, tmp_path / "folds.yaml"), recordings)


@pytest.mark.parametrize("first_speaker", [{}, {"speaker": ""}])
def test_what_a_table_lacks_file_names_may_tell(recordings, tmp_path, first_speaker):
    lines = [{"path": r["path"], "emotion": r["emotion"], **first_speaker} for r in rows()]
    table = write_csv(tmp_path / "labels.csv", lines)
    read = importing.read([table], "{speaker}/{rest}.wav")
    check_is_the_corpus(importing.corpus(read, recordings, {}, tmp_path / "folds.yaml"), recordings)


@pytest.mark.parametrize(
    ("pattern", "name", "fields"),
    [
        ("{speaker}_{emotion}_{n}.wav", "ann_calm_1.wav", {"speaker": "ann", "emotion": "calm", "n": "1"}),
        ("{speaker:2}{text:3}{emotion:1}{v}.wav", "03a01Fa.wav", {"speaker": "03", "emotion": "F", "v": "a"}),
        ("{speaker}/{emotion}/{speaker}_{n}.wav", "far/0011/Sad/0011_0001.wav", {"speaker": "0011", "emotion": "Sad"}),
        ("{speaker}.{emotion}+{n}.WAV", "ann.calm+1.wav", {"emotion": "calm"}),
        ("{speaker}_{emotion}_{n}.wav", "ann_lee_calm_1.wav", None),
        ("{speaker}_{emotion}_{rest:*}.wav", "ann_calm_1_b.c.wav", {"emotion": "calm", "rest": "1_b.c"}),
        ("{speaker}/{emotion}/{speaker}_{n}.wav", "0011/Sad/0012_0001.wav", None),
    ],
)
def test_patterns(pattern, name, fields):
    (row,) = [{"path": name}]
    if fields is None:
        with pytest.raises(SoctkError, match=r"1 of 1 file names are not of the form"):
            importing._names([row], pattern, Path("x"))
    else:
        assert importing._names([row], pattern, Path("x"))[0].items() >= fields.items()


@given(st.text("ab.+*[(\\", min_size=1), st.text("cd^$", min_size=1))
def test_what_a_pattern_is_made_of_is_found_again(speaker, emotion):
    (row,) = importing._names([{"path": f"{speaker}_{emotion}-x.wav"}], "{speaker}_{emotion}-x.wav", Path("x"))
    assert (row["speaker"], row["emotion"]) == (speaker, emotion)


def test_labels_become_classes_in_the_order_of_the_map_or_are_dropped(recordings, tmp_path):
    labels = {"sad": "Sad", "calm": "Neutral", "angry": None}
    relabelled, dropped = importing.relabel(rows(), labels)
    data = importing.corpus(relabelled, recordings, labels, tmp_path / "folds.yaml")
    assert dropped == Counter(angry=6)
    assert Counter(data.emotion.values()) == {"Sad": 6, "Neutral": 6}
    assert data.emotions == ("Sad", "Neutral")


def test_without_a_map_the_classes_are_in_emoboxs_order(recordings, tmp_path):
    capital = [{**row, "emotion": {"calm": "Calm", "angry": "Angry", "sad": "bored"}[row["emotion"]]} for row in rows()]
    assert importing.corpus(capital, recordings, {}, tmp_path / "f.yaml").emotions == ("Angry", "Calm", "bored")


def test_labels_without_a_class_are_told():
    with pytest.raises(SoctkError, match=r"no class for\n  'angry', 6 utterances\n  'sad', 6 utterances\nAdd 'LABEL"):
        importing.relabel(rows(), {"calm": "Neutral"})


def test_folds_are_written_once_and_used_from_then_on(recordings, tmp_path):
    table = tmp_path / "folds.yaml"
    first = importing.corpus(rows(), recordings, {}, table)
    assert folds.read(table) == first.fold
    edited = {"ann": 2, "bob": 1, "cleo": 3}
    folds.write(table, edited, "By hand.")
    assert importing.corpus(rows(), recordings, {}, table).fold == edited


def test_folds_beside_the_labels_are_kept_and_written_down(recordings, tmp_path):
    table = tmp_path / "folds.yaml"
    given = [{**row, "fold": str(list(SPEAKERS).index(row["speaker"]) + 1)} for row in rows()]
    assert importing.corpus(given, recordings, {}, table).fold == {"ann": 1, "bob": 2, "cleo": 3} == folds.read(table)
    folds.write(table, {"ann": 2, "bob": 1, "cleo": 3}, "By hand.")
    with pytest.raises(SoctkError, match=r"folds\.yaml: it has other folds than the labels say\nRemove it to use"):
        importing.corpus(given, recordings, {}, table)
    with pytest.raises(
        SoctkError, match=r"there are 3 folds already, not 2\nThe labels say them: ignore theirs, --col"
    ):
        importing.corpus(given, recordings, {}, table, count=2)


def test_two_files_of_a_name_have_different_ids(recordings, tmp_path):
    other = tmp_path / "other"
    for folder in ("one", "two"):
        for speaker in ("ann", "bob"):
            (other / folder).mkdir(parents=True, exist_ok=True)
            soundfile.write(other / folder / f"{speaker}.wav", np.ones(1600), 16000)
    table = [
        {"path": f"{folder}/{speaker}.wav", "emotion": folder, "speaker": speaker}
        for folder in ("one", "two")
        for speaker in ("ann", "bob")
    ]
    data = importing.corpus(table, other, {}, tmp_path / "folds.yaml", count=2)
    assert data.utterances == ["ann-one-ann", "ann-two-ann", "bob-one-bob", "bob-two-bob"]


def changed(position: int, **columns: str) -> list[dict]:
    table = rows()
    table[position] = {**table[position], **columns}
    return table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (changed(0, emotion=""), r"1 rows have no emotion\n  ann/ann_calm_1.wav\nFill it in.*\"'': null\" in a label"),
        (changed(0, speaker=""), r"1 rows have no speaker"),
        (changed(0, path="ann/ann_calm_2.wav"), r"2 rows are of the same recordings as others\n  ann/ann_calm_2.wav"),
        (changed(0, path="ann/gone.wav"), r"1 of 18 recordings cannot be used\n  ann-gone .*gone.wav: no such file"),
        (changed(0, sex="m"), r"a speaker has one sex, and these have not\n  ann: f and m\nMend the column, or ignore"),
        (changed(0, sex=""), r"  ann: f and none"),
        ([{**row, "sex": "x"} for row in rows()], r"the sex of ann is 'x'\nWrite m or f, male or female"),
        (changed(0, emotion="s\udce4d"), r"ids and classes that are not UTF-8\n  's\\udce4d'\nRename the files"),
        (
            changed(0, start="0.06"),
            r"1 rows are about parts of recordings\n  ann/ann_calm_1.wav: 0.06 to None of 0.100",
        ),
        (changed(0, start="0 days", end="0 days 00:00:00.010"), r"0 days to 0 days 00:00:00.010 of 0.100 s\nCut these"),
        (changed(0, start="99999999999 days"), r"99999999999 days to None of 0.100 s\nCut these"),
        (
            [{**row, "fold": "train"} for row in rows()],
            r"folds that are no numbers from 1: train\nNumber them, or have",
        ),
        (changed(0, fold="1"), r"a speaker has one fold, and these have not\n  ann: 1 and none"),
        ([{"path": "x.wav", "emotion": "sad"}], r"nothing says the speaker \(there are: emotion, path\)\nName its"),
    ],
)
def test_a_fault_in_a_table_is_one_message(recordings, tmp_path, table, message):
    with pytest.raises(SoctkError, match=f"(?s){message}"):
        importing.corpus(table, recordings, {}, tmp_path / "folds.yaml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["0.1", "NaT", "", "0 days 00:00:00.100000"])
def test_a_segment_that_is_the_whole_recording_is_one(recordings, tmp_path, end):
    table = changed(0, start="0 days", end=end)
    check_is_the_corpus(importing.corpus(table, recordings, {}, tmp_path / "folds.yaml"), recordings)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.csv", "path,emotion\nx.wav,sad,more\n", "rows that have not as many fields as the header: 2"),
        ("labels.csv", "path,emotion\nx.wav\n", "rows that have not as many fields as the header: 2"),
        ("labels.csv", "path,emotion\n", "there is nothing in it"),
        ("labels.csv", "path,file,emotion\na,b,c\n", "which column is the path: path or file?"),
        ("labels.csv", "path;emotion\na;b\n", "nothing says the path (there are: path;emotion)"),
        ("labels.csv", "path,emotion,emotion\na,b,c\n", "columns of the same name: emotion"),
        ("labels.csv", 'path,emotion\na,"b\n' + 100 * "c,d\n", "its quotes do not match (unexpected end of data"),
        ("labels.csv", f'path,emotion\na,"b{140000 * "c"}\n', "its quotes do not match (field larger than"),
        ("labels.csv", "path,emotion\n,sad\n", "1 rows have no path\n  emotion sad\n"),
        ("labels.xlsx", "", "no table that is known here"),
        ("labels.jsonl", '{"path": "x"}\n[]\n', "line 2 is not a JSON object"),
        ("labels.jsonl", '{"path": "x"}\n{"emotion": "sad"}\n{}\n', "2 rows have no path\n  emotion sad\n  a row of"),
        (
            "labels.jsonl",
            '{"path": "x", "emotion": ["a", "b"]}\n',
            "the emotion ['a', 'b'] is neither text nor a number",
        ),
        ("labels.jsonl", '{"path": "x", "emotion": true}\n', "the emotion True is neither text nor a number"),
        ("db.yaml", "name: x\n", "no header of an audformat database that describes speakers"),
        ("db.yaml", "schemes:\n", "no header of an audformat database that describes speakers"),
        ("db.yaml", "schemes: [speaker]\n", "no header of an audformat database that describes speakers"),
        ("db.yaml", "schemes: {speaker: null}\n", "no header of an audformat database that describes speakers"),
        ("db.yaml", "schemes: {speaker: {labels: {mara: female}}}\n", "no header of an audformat database"),
    ],
)
def test_what_is_no_table_is_told(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(SoctkError) as error:
        importing.read([tmp_path / name])
    assert message in str(error.value)
    assert str(tmp_path / name) in str(error.value)


def test_a_column_without_a_name_and_values_that_are_not_looked_at_are_no_fault(tmp_path):
    (tmp_path / "labels.csv").write_text(",path,emotion\n0,x.wav,sad\n")
    (tmp_path / "labels.jsonl").write_text('{"path": "x.wav", "emotion": "sad", "votes": ["sad", "calm"]}\n')
    for name in ("labels.csv", "labels.jsonl"):
        assert importing.read([tmp_path / name]) == [{"path": "x.wav", "emotion": "sad"}]


def test_a_label_that_a_row_lacks_may_be_dropped_as_an_empty_one():
    lines = [{"path": "x.wav"}, {"path": "y.wav", "emotion": "sad"}]
    assert importing.relabel(lines, {"": None, "sad": "Sad"}) == (
        [{"path": "y.wav", "emotion": "Sad"}],
        Counter({"": 1}),
    )
    with pytest.raises(SoctkError, match="no class for\n  '', 1 utterances\n"):
        importing.relabel(lines, {"sad": "Sad"})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("ann,f\nann,m\nbob,m\n", "rows of one speaker that contradict each other\n  ann: sex f and m\nKeep one row"),
        ("ann,f\n,m\n", "1 rows have no speaker\n  sex m\nFill it in"),
        ("ANN,f\n", "none of its 1 speakers, such as ANN, is one of "),
    ],
)
def test_another_table_that_contradicts_itself_or_lacks_a_key_is_told(tmp_path, lines, message):
    labels = write_csv(tmp_path / "labels.csv", rows())
    (tmp_path / "sexes.csv").write_text(f"speaker,sex\n{lines}")
    with pytest.raises(SoctkError) as error:
        importing.read([labels, tmp_path / "sexes.csv"])
    assert f"{tmp_path / 'sexes.csv'}: {message}" in str(error.value)


def test_another_table_tells_of_speakers_whom_file_names_tell(tmp_path):
    for name in ("ann_sad.wav", "bob_sad.wav"):
        (tmp_path / "corpus" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "corpus" / name).touch()
    (tmp_path / "more.csv").write_text("speaker,sex,emotion\nann,f,\nbob,m,angry\n")
    found = importing.read([tmp_path / "corpus", tmp_path / "more.csv"], "{speaker}_{emotion}.wav")
    assert found == [
        {"path": "ann_sad.wav", "speaker": "ann", "emotion": "sad", "sex": "f"},
        {"path": "bob_sad.wav", "speaker": "bob", "emotion": "angry", "sex": "m"},
    ]


def test_rows_of_one_key_that_agree_complete_each_other(tmp_path):
    labels = write_csv(tmp_path / "labels.csv", [{"path": "x.wav", "speaker": "ann"}])
    (tmp_path / "more.csv").write_text("speaker,sex,fold\nann,f,\nann,,1\nann,f,1\n")
    (row,) = importing.read([labels, tmp_path / "more.csv"])
    assert row == {"path": "x.wav", "speaker": "ann", "sex": "f", "fold": "1"}


def test_a_table_in_another_encoding_is_told(tmp_path):
    (tmp_path / "labels.csv").write_bytes("path,emotion\nä.wav,sad\n".encode("latin-1"))
    with pytest.raises(SoctkError, match=r"not UTF-8 .*\nSave it as UTF-8"):
        importing.read([tmp_path / "labels.csv"])


def test_a_column_that_is_nowhere_is_told_with_the_nearest(tmp_path):
    table = write_csv(tmp_path / "labels.csv", rows())
    with pytest.raises(SoctkError, match=r"--column: unknown column 'emotoin'\nDid you mean 'emotion'\?"):
        importing.read([table], columns={"emotion": "emotoin"})


def test_a_folder_needs_a_pattern(recordings):
    with pytest.raises(SoctkError, match=r"a folder, which says nothing about its recordings\nGive a table, or say"):
        importing.read([recordings])


@pytest.mark.parametrize("pattern", ["{speaker", "{}.wav", "{n:x}.wav", "{n:99999999999}", "{a-b}"])
def test_a_pattern_that_is_none_is_told(recordings, pattern):
    with pytest.raises(SoctkError, match=r"--pattern: .* is no pattern \(.*\)\nWrite it as \{speaker\}_"):
        importing.read([recordings], pattern)


def test_a_folder_without_such_names_is_told(recordings):
    with pytest.raises(SoctkError, match=r"no file names in it end in '\.mp3'\nCheck the path, and how --pattern ends"):
        importing.read([recordings], "{speaker}_{n}.mp3")
