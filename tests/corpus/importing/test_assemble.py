from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_corpus import SPEAKERS, assert_is_corpus, make_rows, write_recordings

from soctk.corpus import audio, datadir, folds
from soctk.corpus.importing import Account, build_corpus, read
from soctk.corpus.segments import Clip, Segment
from soctk.errors import SoctkError


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("my corpus")
    write_recordings(root)
    return root


def change_first_row(**columns: str) -> list[dict[str, str]]:
    first, *others = make_rows()
    return [{**first, **columns}, *others]


def test_classes_are_in_the_order_of_the_label_map(recordings, tmp_path):
    labels = {"a": "sad", "b": "calm", "c": "angry"}
    assert build_corpus(make_rows(), recordings, labels, tmp_path / "f.yaml").emotions == ("sad", "calm", "angry")


def test_without_a_label_map_the_classes_are_in_emoboxs_order(recordings, tmp_path):
    names = {"calm": "Calm", "angry": "Angry", "sad": "bored"}
    rows = [{**row, "emotion": names[row["emotion"]]} for row in make_rows()]
    assert build_corpus(rows, recordings, {}, tmp_path / "f.yaml").emotions == ("Angry", "Calm", "bored")


def test_white_space_in_speakers_and_emotions_becomes_an_underscore(recordings, tmp_path):
    rows = [{**row, "speaker": f"{row['speaker']}  lee", "emotion": f"very {row['emotion']}"} for row in make_rows()]
    data = build_corpus(rows, recordings, {}, tmp_path / "f.yaml")
    assert data.emotions == ("very_angry", "very_calm", "very_sad")
    assert (data.utterances[0], data.speaker[data.utterances[0]]) == ("ann_lee-ann_angry_1", "ann_lee")


@pytest.mark.parametrize(("woman", "man"), [("f", "m"), ("F", "M"), ("female", "Male"), ("Woman", "man")])
def test_sexes_may_be_written_as_letters_or_words(recordings, tmp_path, woman, man):
    rows = [{**row, "sex": {"f": woman, "m": man}[row["sex"]]} for row in make_rows()]
    assert build_corpus(rows, recordings, {}, tmp_path / "f.yaml").gender == {"ann": "f", "bob": "m", "cleo": "f"}


@pytest.mark.parametrize("is_absolute", [False, True])
def test_ids_contain_the_path_if_a_speaker_has_two_files_of_the_same_name(tmp_path, is_absolute):
    rows = []
    prefix = f"{tmp_path}/" if is_absolute else ""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for speaker in ("ann", "bob"):
            soundfile.write(tmp_path / folder / f"{speaker}.wav", np.full(1600, 0.1 * len(rows)), 16000)
            rows.append({"path": f"{prefix}{folder}/{speaker}.wav", "emotion": folder, "speaker": speaker})
    data = build_corpus(rows, tmp_path, {}, tmp_path / "folds.yaml", count=2)
    assert data.utterances == ["ann-one-ann", "ann-two-ann", "bob-one-bob", "bob-two-bob"]


def test_a_linked_folder_under_another_speaker_name_is_refused(tmp_path):
    write_recordings(tmp_path)
    (tmp_path / "zoe").symlink_to("ann")
    linked = [
        {**row, "path": row["path"].replace("ann/", "zoe/"), "speaker": "zoe"}
        for row in make_rows()
        if row["speaker"] == "ann"
    ]
    with pytest.raises(SoctkError, match=r"12 rows share their recording with another row\n  ann/(.|\n)*remove links"):
        build_corpus([*make_rows(), *linked], tmp_path, {}, tmp_path / "folds.yaml")


def test_a_link_to_itself_is_no_recording(tmp_path):
    (tmp_path / "x.wav").symlink_to("x.wav")
    rows = [{"path": "x.wav", "emotion": "sad", "speaker": "ann"}]
    with pytest.raises(SoctkError, match="1 of 1 recordings cannot be used"):
        build_corpus(rows, tmp_path, {}, tmp_path / "folds.yaml")


@pytest.mark.parametrize(("column", "kind", "name"), [("speaker", "speakers", "Ann"), ("emotion", "emotions", "Calm")])
def test_names_that_differ_only_in_capital_letters_are_refused(recordings, tmp_path, column, kind, name):
    rows = change_first_row(**{column: name})
    message = rf"some {kind} look alike, but are spelled differently\n  '{name}' and '{name.lower()}'\nSpell each name"
    with pytest.raises(SoctkError, match=message):
        build_corpus(rows, recordings, {}, tmp_path / "folds.yaml")


def test_folds_are_written_once_and_used_afterwards(recordings, tmp_path):
    table = tmp_path / "folds.yaml"
    first = build_corpus(make_rows(), recordings, {}, table)
    assert folds.read(table) == first.fold
    edited = {"ann": 2, "bob": 1, "cleo": 3}
    folds.write(table, edited, "By hand.")
    assert build_corpus(make_rows(), recordings, {}, table).fold == edited


def test_folds_in_the_labels_are_used_and_written(recordings, tmp_path):
    table = tmp_path / "folds.yaml"
    rows = [{**row, "fold": str(list(SPEAKERS).index(row["speaker"]) + 1)} for row in make_rows()]
    assert build_corpus(rows, recordings, {}, table).fold == {"ann": 1, "bob": 2, "cleo": 3} == folds.read(table)
    folds.write(table, {"ann": 2, "bob": 1, "cleo": 3}, "By hand.")
    with pytest.raises(SoctkError, match=r"folds\.yaml: the folds in this file differ from the folds in the labels"):
        build_corpus(rows, recordings, {}, table)
    with pytest.raises(SoctkError, match=r"3 folds exist already, and --num-folds asks for 2\nThese folds are in"):
        build_corpus(rows, recordings, {}, table, count=2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no recordings were found\nCheck the sources, and the label map."),
        (
            change_first_row(emotion=""),
            "no emotion in 1 of 18 rows\n  ann/ann_calm_1.wav\nFill it in, or remove these rows. "
            "A label map (--labels) with the line \"'': null\" leaves them out.",
        ),
        (change_first_row(speaker=""), "no speaker in 1 of 18 rows\n  ann/ann_calm_1.wav\nFill it in"),
        ([{"path": "x.wav", "emotion": "sad"}], "no column gives the speaker; the columns are path, emotion\nName"),
        (
            change_first_row(path="ann/ann_calm_2.wav"),
            "2 rows share their recording with another row\n  ann/ann_calm_2",
        ),
        (change_first_row(path="ann/gone.wav"), "1 of 18 recordings cannot be used\nmissing (1): Correct the paths"),
        (
            change_first_row(sex="m"),
            "1 of 3 speakers have two sexes\n  ann: f and m\nProbably one number names two people, a woman and a man. "
            "Then make one name of sex and speaker: --column speaker=sex --column speaker=speaker. If the sexes",
        ),
        (change_first_row(fold="1"), "these speakers have no fold, or not the same in all rows\n  ann: 1 and none\n"),
        ([{**row, "sex": "x"} for row in make_rows()], "unknown sex 'x' of speaker ann\nWrite m or f, male or female"),
        (
            [{**row, "fold": "train"} for row in make_rows()],
            "the partition has only train\nAdd rows of a test, or ignore",
        ),
        ([{**row, "fold": "a"} for row in make_rows()], "these folds are not numbers from 1: a\nNumber the"),
        ([{**row, "fold": "0"} for row in make_rows()], "these folds are not numbers from 1: 0\nNumber the"),
        (change_first_row(emotion="s\udce4d"), "these ids and classes are not UTF-8\n  's\\udce4d'\nRename the files"),
        (
            change_first_row(start="0.06"),
            "1 of 18 recordings cannot be used\nshorter than 50 ms (1): ",
        ),
        (
            change_first_row(start="0 days", end="0 days 00:00:00.010"),
            "1 of 1 recordings cannot be used\nshorter than 50 ms (1): ",
        ),
        (
            change_first_row(start="99999999999 days"),
            "1 of 18 recordings cannot be used\nshorter than a segment needs (1): Times are in seconds from",
        ),
        (
            change_first_row(end="soon"),
            "'soon' is not a time\nWrite seconds, such as 1.5, or 0 days 00:00:01.5, or ignore",
        ),
    ],
)
def test_a_fault_in_the_rows_is_reported_and_no_folds_are_written(recordings, tmp_path, rows, message):
    with pytest.raises(SoctkError) as error:
        build_corpus(rows, recordings, {}, tmp_path / "folds.yaml")
    assert str(error.value).removeprefix(f"{recordings}: ").startswith(message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["0.1", "0.06", "NaT", "", "0 days 00:00:00.100000"])
def test_a_segment_as_long_as_its_recording_is_accepted(recordings, tmp_path, end):
    rows = change_first_row(start="0 days", end=end)
    assert_is_corpus(build_corpus(rows, recordings, {}, tmp_path / "folds.yaml"), recordings)


def test_copies_of_recordings_in_a_folder_inside_itself_are_left_out_and_counted(tmp_path):
    write_recordings(tmp_path)
    write_recordings(tmp_path / "corpus")
    account = Account()
    rows = read([tmp_path], "{speaker}_{emotion}_{n}.wav", account=account)
    data = build_corpus(rows, tmp_path, {}, tmp_path / "folds.yaml", account=account)
    assert_is_corpus(data, tmp_path)
    assert account.summary(18)[0] == (
        f"rows: 36 in {tmp_path} = 18 utterances + 18 copied from another row (same file name, sound and labels)"
    )


def test_a_copy_with_other_labels_is_kept_and_told(tmp_path):
    write_recordings(tmp_path)
    write_recordings(tmp_path / "corpus")
    copy = {"path": "corpus/ann/ann_calm_1.wav", "emotion": "sad", "speaker": "ann", "sex": "f"}
    account = Account()
    account.read[tmp_path] = 19
    data = build_corpus([*make_rows(), copy], tmp_path, {}, tmp_path / "folds.yaml", account=account)
    assert len(data.wav) == 19
    assert (
        "Note: 1 recording with the file name and sound of another one, but other labels, such as "
        "ann/ann_calm_1.wav and corpus/ann/ann_calm_1.wav: keep one of them."
    ) in account.notes


def test_fields_of_file_names_are_kept_as_properties_of_utterances(recordings, tmp_path):
    account = Account()
    rows = read([recordings], "{speaker}_{emotion}_{take}.wav", account=account)
    data = build_corpus(rows, recordings, {}, tmp_path / "folds.yaml", account=account)
    assert data.extra == {"take": {utt: utt[-1] for utt in data.utterances}}
    assert "Note: fields of --pattern that are kept: take in utt2take" in account.notes
    datadir.write(tmp_path / "data", data)
    assert datadir.read(tmp_path / "data").extra == data.extra


@pytest.mark.parametrize(("field", "note"), [("n", True), ("_take", False), ("duration", True), ("dist", True)])
def test_fields_of_file_names_that_are_not_kept_are_told(recordings, field, note):
    account = Account()
    rows = read([recordings], f"{{speaker}}_{{emotion}}_{{{field}}}.wav", account=account)
    assert rows[0].keys() == {"path", "speaker", "emotion"}
    told = [
        line for line in account.notes if line.startswith(f"Note: fields of --pattern that are not kept: {field} (")
    ]
    assert bool(told) == note


def test_the_sex_of_some_speakers_may_be_unknown(recordings, tmp_path):
    rows = [{**row, "sex": "" if row["speaker"] == "bob" else row["sex"]} for row in make_rows()]
    account = Account()
    account.read[tmp_path] = 18
    data = build_corpus(rows, recordings, {}, tmp_path / "folds.yaml", account=account)
    assert data.gender == {"ann": "f", "cleo": "f"}
    assert "Note: the sex of 1 of 3 speakers is unknown" in account.notes
    datadir.write(tmp_path / "data", data)
    assert datadir.read(tmp_path / "data").gender == data.gender


@pytest.mark.parametrize(("column", "kind"), [("speaker", "speakers"), ("emotion", "emotions")])
@pytest.mark.parametrize("change", [lambda name: f"{name}\u200b", lambda name: name.replace("a", "\u0430")])
def test_names_that_look_alike_are_refused(recordings, tmp_path, column, kind, change):
    rows = change_first_row(**{column: change(make_rows()[0][column])})
    with pytest.raises(SoctkError, match=f"some {kind} look alike, but are spelled differently"):
        build_corpus(rows, recordings, {}, tmp_path / "folds.yaml")


def test_utterances_that_look_alike_are_refused(tmp_path):
    for name in ("jos\xe9.wav", "jose\u0301.wav"):
        soundfile.write(tmp_path / name, np.full(1600, 0.01 * len(name)), 16000)
    rows = [{"path": path.name, "emotion": "sad", "speaker": "ann"} for path in tmp_path.iterdir()]
    with pytest.raises(SoctkError, match=r"look alike|the same utterance id"):
        build_corpus(rows, tmp_path, {}, tmp_path / "folds.yaml")


def test_paths_with_the_same_utterance_id_are_listed_together(tmp_path):
    for name in ("x.wav", "x.flac", "y.wav"):
        soundfile.write(tmp_path / name, np.full(1600, 0.01 * len(name)), 16000)
    rows = [{"path": name, "emotion": "sad", "speaker": "ann"} for name in ("x.wav", "x.flac", "y.wav")]
    with pytest.raises(SoctkError) as error:
        build_corpus(rows, tmp_path, {}, tmp_path / "folds.yaml")
    assert str(error.value) == (
        "several recordings would have the same utterance id\n  ann-x: x.wav and x.flac\nRename the files."
    )


def test_names_are_written_in_composed_unicode_without_invisible_characters(recordings, tmp_path):
    rows = [{**row, "speaker": f"{row['speaker']}e\u0301", "emotion": f"{row['emotion']}\ufeff"} for row in make_rows()]
    data = build_corpus(rows, recordings, {}, tmp_path / "folds.yaml")
    assert set(data.speaker.values()) == {"ann\xe9", "bob\xe9", "cleo\xe9"}
    assert set(data.emotions) == {"calm", "angry", "sad"}
    assert build_corpus(rows, recordings, {}, tmp_path / "folds.yaml").fold == data.fold


def test_a_map_that_drops_all_rows_is_named(tmp_path):
    account = Account()
    account.read[tmp_path] = 2
    account.left_out["with the label 'x', dropped by l.yaml"] = 2
    with pytest.raises(SoctkError, match=r"all rows are left out: 2 in .* = 0 utterances \+ 2 with the label 'x'"):
        build_corpus([], tmp_path, {}, tmp_path / "folds.yaml", account=account)


def write_tapes(root):
    """Write a tape of 6 s for each of four speakers; return rows of three segments of each."""
    rows, noise = [], np.random.default_rng(0)
    for name in ("ann", "bob", "cleo", "dan"):
        soundfile.write(root / f"tape-{name}.wav", noise.uniform(-0.3, 0.3, 6 * 8000), 8000)
        for start, end, emotion in (("0.25", "1.5", "calm"), ("1.5", "3.125", "sad"), ("4", "", "calm")):
            rows.append({"path": f"tape-{name}.wav", "emotion": emotion, "speaker": name, "start": start, "end": end})
    return rows


def test_parts_of_recordings_become_segments(tmp_path):
    rows = write_tapes(tmp_path)
    data = build_corpus(rows, tmp_path, {}, tmp_path / "folds.yaml")
    assert data.utterances[:3] == [
        "ann-tape-ann-0000250-0001500",
        "ann-tape-ann-0001500-0003125",
        "ann-tape-ann-0004000-end",
    ]
    assert data.segments["ann-tape-ann-0001500-0003125"] == Segment("tape-ann", 1.5, 3.125)
    assert data.segments["ann-tape-ann-0004000-end"] == Segment("tape-ann", 4, 6)
    assert data.seconds["ann-tape-ann-0001500-0003125"] == 1.625
    assert data.wav == {f"tape-{name}": tmp_path / f"tape-{name}.wav" for name in ("ann", "bob", "cleo", "dan")}
    datadir.write(tmp_path / "data", data)
    assert datadir.read(tmp_path / "data") == data
    assert len(audio.check(data.clips)) == 12


def test_whole_recordings_among_parts_are_segments_too(tmp_path):
    rows = write_tapes(tmp_path)
    soundfile.write(tmp_path / "zoe.wav", np.random.default_rng(1).uniform(-0.3, 0.3, 8000), 8000)
    rows.append({"path": "zoe.wav", "emotion": "sad", "speaker": "zoe"})
    data = build_corpus(rows, tmp_path, {}, tmp_path / "folds.yaml")
    assert data.segments["zoe-zoe"] == Segment("zoe", 0, 1)
    assert data.clip("zoe-zoe") == Clip(tmp_path / "zoe.wav", 0, 1)


def test_recordings_of_the_same_name_get_ids_with_their_folders(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    rows = [
        {**row, "path": f"{folder}/{row['path']}"}
        for folder in ("one", "two")
        for row in write_tapes(tmp_path / folder)
    ]
    for row in rows:
        row["speaker"] = f"{row['speaker']}-{row['path'][:3]}"
    data = build_corpus(rows, tmp_path, {}, tmp_path / "folds.yaml")
    assert len(data.utterances) == 24
    assert "one-tape-ann" in data.wav
    assert data.segments["ann-two-tape-ann-0004000-end"].recording == "two-tape-ann"


def test_the_same_part_twice_is_refused(tmp_path):
    rows = write_tapes(tmp_path)
    with pytest.raises(SoctkError, match=r"2 rows share their recording(.|\n)*--column start=NAME --column end=NAME"):
        build_corpus([*rows, {**rows[0], "emotion": "sad"}], tmp_path, {}, tmp_path / "folds.yaml")


def test_an_utterance_keeps_its_own_id_after_its_speaker(tmp_path):
    rows = [{**row, "utterance": f"{row['speaker']}x{i}"} for i, row in enumerate(write_tapes(tmp_path))]
    rows[1]["utterance"] = "take 2"
    assert build_corpus(rows, tmp_path, {}, tmp_path / "folds.yaml").utterances[:3] == ["ann-take_2", "annx0", "annx2"]


def test_utterances_of_unknown_speakers_need_a_partition(tmp_path):
    rows = write_tapes(tmp_path)
    parts = {"ann": "train", "bob": "train", "cleo": "dev", "dan": "test"}
    for row in rows:
        row["split"] = parts[row["speaker"]]
        row["speaker"] = {"bob": "", "cleo": "Unknown"}.get(row["speaker"], row["speaker"])
    data = build_corpus(rows, tmp_path, {}, tmp_path / "folds.yaml")
    assert data.split["ann-tape-ann-0004000-end"] == "train"
    assert data.unknown == {utt for utt in data.utterances if utt.startswith(("tape-bob", "tape-cleo"))}
    assert len(data.unknown) == 6
    assert data.fold == {}
    datadir.write(tmp_path / "data", data)
    assert datadir.read(tmp_path / "data") == data
    without = [{name: text for name, text in row.items() if name not in ("speaker", "split")} for row in rows]
    with pytest.raises(SoctkError, match="no column gives the speaker"):
        build_corpus(without, tmp_path, {}, tmp_path / "folds.yaml")
    anonymous = build_corpus(
        [{**row, "split": old["split"]} for row, old in zip(without, rows, strict=True)],
        tmp_path,
        {},
        tmp_path / "f.yaml",
    )
    assert anonymous.unknown == set(anonymous.utterances)
