from pathlib import Path

import pytest
from small_corpus import make_rows, write_csv, write_recordings

from soctk.corpus import importing
from soctk.errors import SoctkError


def write_tables(folder: Path, *parts: list[dict[str, str]]) -> list[Path]:
    return [write_csv(folder / f"{number}.csv", rows) for number, rows in enumerate(parts)]


def test_tables_with_the_same_columns_are_joined(tmp_path):
    rows = make_rows()
    account = importing.Account()
    tables = write_tables(tmp_path, rows[:5], [dict(reversed(row.items())) for row in rows[5:11]], rows[11:])
    assert importing.read(tables, account=account) == rows
    account.settle(18)
    assert list(account.read.values()) == [5, 6, 7]


@pytest.mark.parametrize("is_the_same_row", [True, False])
def test_a_path_in_two_tables_with_the_same_columns_is_refused(tmp_path, is_the_same_row):
    rows = make_rows()
    repeated = rows[0] if is_the_same_row else {**rows[0], "path": f"./{rows[0]['path']}", "emotion": "angry"}
    one, other = write_tables(tmp_path, rows[:5], [*rows[5:], repeated])
    with pytest.raises(SoctkError) as error:
        importing.read([one, other])
    start = f"1 path in two tables\n  {repeated['path']}: {one} and {other}\nIf these are different recordings in"
    assert str(error.value).startswith(start)
    with pytest.raises(SoctkError, match="5 paths in two tables"):
        importing.read([one, one])


def test_tables_in_different_folders_have_recordings_with_the_same_names(tmp_path):
    sources = []
    for part in ("train", "test"):
        write_recordings(tmp_path / part)
        speaker = {"train": "x", "test": "y"}[part]
        rows = [{**row, "speaker": f"{row['speaker']}{speaker}"} for row in make_rows()]
        sources.append(write_csv(tmp_path / part / "labels.csv", rows))
    sexes = write_csv(tmp_path / "test" / "more.csv", [{"path": make_rows()[0]["path"], "end": "0.1"}])
    rows = importing.read([*sources, sexes])
    data = importing.build_corpus(rows, tmp_path / "train", {}, tmp_path / "folds.yaml")
    assert data.wav["annx-ann_calm_1"] == tmp_path / "train" / "ann" / "ann_calm_1.wav"
    their_paths = {path for utt, path in data.wav.items() if utt.startswith("anny-")}
    assert {path.parent for path in their_paths} == {tmp_path / "test" / "ann"}
    assert len(data.wav) == 36
    assert [row["speaker"] for row in rows if row.get("end")] == ["anny"]  # the table in test/ completes test/
    one_folder = importing.read(sources[:1], audio=tmp_path)
    assert one_folder[0]["path"] == "ann/ann_calm_1.wav"
    with pytest.raises(SoctkError, match="18 paths in two tables"):
        importing.read(sources, audio=tmp_path)


def test_tables_of_which_one_lacks_a_column_are_joined_without_it(tmp_path):
    rows = make_rows()
    without = [{name: row[name] for name in ("path", "emotion", "speaker")} for row in rows[12:]]
    first, more = write_tables(tmp_path, rows[:12], without)
    with pytest.raises(SoctkError) as error:
        importing.read([first, more])
    advice = " To ignore columns: --column sex=."
    assert str(error.value).endswith(advice)
    assert len(importing.read([first, more], choice={"sex": ()})) == 18


def test_a_table_with_other_columns_must_not_have_further_paths(tmp_path):
    rows = make_rows()
    labels = [{name: row[name] for name in ("path", "emotion", "speaker")} for row in rows]
    first, more = write_tables(tmp_path, labels[:12], rows)
    with pytest.raises(SoctkError) as error:
        importing.read([first, more])
    start = f"{more}: 6 of its 18 paths do not occur in {first}\n  cleo/cleo_calm_1.wav\n"
    assert str(error.value).startswith(start)
    with pytest.raises(SoctkError) as error:
        importing.read(write_tables(tmp_path, labels[:12], rows[12:]))
    assert "none of its 6 paths, such as cleo/cleo_calm_1.wav, occurs in " in str(error.value)
    assert "the same columns (emotion, path, speaker; it has emotion, path, sex, speaker)." in str(error.value)


def test_further_speakers_of_a_table_are_counted(tmp_path):
    labels = [{name: row[name] for name in ("path", "emotion", "speaker")} for row in make_rows()]
    (tmp_path / "s.csv").write_text("speaker,sex\nann,f\nzoe,f\nbob,m\nyan,m\n,\n")
    account = importing.Account()
    rows = importing.read([write_csv(tmp_path / "l.csv", labels), tmp_path / "s.csv"], account=account)
    assert {row["speaker"]: row.get("sex") for row in rows} == {"ann": "f", "bob": "m", "cleo": None}
    assert account.summary(18)[1] == (
        f"rows: 5 in {tmp_path / 's.csv'} = 2 that complete utterances + 1 blank + 2 for speakers without an utterance"
    )


@pytest.mark.parametrize(
    ("name", "shown"), [("Ann", "'Ann' and 'ann'"), ("ann\u200bx", None), ("\u0430nn", r"'ann' and '\u0430nn'")]
)
def test_speakers_of_two_tables_that_look_alike_are_refused(tmp_path, name, shown):
    (tmp_path / "s.csv").write_text(f"speaker,sex\n{name},f\nbob,m\n", encoding="utf-8")
    sources = [write_csv(tmp_path / "l.csv", make_rows()), tmp_path / "s.csv"]
    if shown is None:
        assert len(importing.read(sources)) == 18
        return
    with pytest.raises(SoctkError) as error:
        importing.read(sources)
    assert f"s.csv look alike, but are spelled differently\n  {shown}\n" in str(error.value)


def test_keys_are_compared_in_composed_unicode_without_invisible_characters(tmp_path):
    (tmp_path / "l.csv").write_text("path,emotion,speaker\nx.wav,sad,Jos\xe9\n", encoding="utf-8")
    (tmp_path / "s.csv").write_text("speaker,sex\nJose\u0301\u200b,m\n", encoding="utf-8")
    (row,) = importing.read([tmp_path / "l.csv", tmp_path / "s.csv"])
    assert (row["speaker"], row["sex"]) == ("Jos\xe9", "m")


def test_values_that_differ_from_those_of_the_first_table_are_counted(tmp_path):
    rows = make_rows()
    other = [{"path": row["path"], "emotion": "sad", "fold": "1"} for row in rows]
    account = importing.Account()
    first, second = write_tables(tmp_path, rows, other)
    assert [row["emotion"] for row in importing.read([first, second], account=account)] == [r["emotion"] for r in rows]
    assert f"Note: {second}: 12 values different from those of {first}, which are used" in account.notes


SEGMENTS = [
    {"path": "a.wav", "start": "0", "end": "1.5", "emotion": "sad", "speaker": "ann"},
    {"path": "a.wav", "start": "1.5", "end": "3", "emotion": "calm", "speaker": "ann"},
    {"path": "b.wav", "start": "0", "end": "1", "emotion": "sad", "speaker": "bob"},
]


def test_parts_of_one_recording_may_be_in_two_tables(tmp_path):
    assert importing.read(write_tables(tmp_path, SEGMENTS[:1], SEGMENTS[1:])) == SEGMENTS
    with pytest.raises(SoctkError, match=r"1 path in two tables\n  a\.wav from 0\.000000 to 1\.500000 s: "):
        importing.read(write_tables(tmp_path, SEGMENTS[:1], SEGMENTS))


def test_a_table_with_times_completes_the_rows_with_the_same_times(tmp_path):
    without = [{name: text for name, text in row.items() if name != "speaker"} for row in SEGMENTS]
    times = {"1.5": "0 days 00:00:01.500000", "0": "0 days", "3": "0 days 00:00:03", "1": "0:01"}
    speakers = [
        {"file": row["path"], "start": times[row["start"]], "end": times[row["end"]], "speaker": f"{row['speaker']}{i}"}
        for i, row in enumerate(SEGMENTS)
    ]
    tables = [write_csv(tmp_path / "one.csv", without), write_csv(tmp_path / "two.csv", speakers)]
    assert [row["speaker"] for row in importing.read(tables)] == ["ann0", "ann1", "bob2"]
    of_files = write_csv(tmp_path / "two.csv", [{"file": "a.wav", "speaker": "x"}, {"file": "b.wav", "speaker": "y"}])
    assert [row["speaker"] for row in importing.read([tables[0], of_files])] == ["x", "x", "y"]
