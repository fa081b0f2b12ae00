"""The formats of soctk-predict are read back by independent readers, also with odd file names."""

import csv
import io
import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soctk.inference import outputs
from soctk.inference.outputs import Prediction
from soctk.inference.result import Result

EMOTIONS = ["calm", "angry", "sad"]
ODD_NAMES = ["a\tb.wav", 'a "b".wav', "a\nb.wav", "a\rb.wav", "a\r\nb.wav", "a,b.wav", " a .wav", "é\u2028.wav", "'"]
NAMES = st.one_of(
    st.sampled_from(ODD_NAMES), st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1)
)


def predict(file="a.wav", start=0.0, end=1.5, emotion="angry", is_window=False):
    posteriors = {name: 0.8125 if name == emotion else 0.09375 for name in EMOTIONS}
    return Prediction(file, start, end, Result(emotion, posteriors), is_window)


WINDOWS = [
    predict(start=0, end=3, is_window=True),
    predict(start=1, end=4, emotion="sad", is_window=True),
    predict(start=2, end=4.5, is_window=True),
    predict(end=4.5),
]


def text(form, predictions):
    return "".join(outputs.FORMATS[form](iter(predictions), EMOTIONS))


@pytest.mark.parametrize(("form", "delimiter"), [("tsv", "\t"), ("csv", ","), ("audformat", ",")])
@given(names=st.lists(NAMES, min_size=1, max_size=4))
def test_a_csv_reader_finds_every_name_as_it_is(form, delimiter, names):
    written = text(form, [predict(name) for name in names])
    header, *rows = csv.reader(io.StringIO(written, newline=""), delimiter=delimiter, strict=True)
    assert header == ["file", "start", "end", "emotion", "confidence", *EMOTIONS]
    assert [row[0] for row in rows] == names
    assert all(row[3:] == ["angry", "0.812500", "0.093750", "0.812500", "0.093750"] for row in rows)


def test_a_simple_line_of_tsv_has_no_quotes():
    assert text("tsv", [predict()]).splitlines()[1] == (
        "a.wav\t0.000\t1.500\tangry\t0.812500\t0.093750\t0.812500\t0.093750"
    )


@given(names=st.lists(st.one_of(NAMES, st.just("bytes \udcff.wav")), min_size=1, max_size=4))
def test_each_line_of_jsonl_is_an_object(names):
    lines = text("jsonl", [predict(name) for name in names]).encode("utf-8", "backslashreplace").decode().split("\n")
    contents = [json.loads(line) for line in lines[:-1]]
    assert [content["file"] for content in contents] == names
    posteriors = {"calm": 0.09375, "angry": 0.8125, "sad": 0.09375}
    expected = {"start": 0.0, "end": 1.5, "emotion": "angry", "confidence": 0.8125, "posteriors": posteriors}
    assert all({**content, "file": None} == {"file": None, **expected} for content in contents)


@pytest.mark.parametrize("seconds", [0.0, 1.0, 1.5, 59.9999995, 61.000001, 3600.25, 90061.125])
def test_pandas_reads_the_times_of_audformat(seconds):
    table = pd.read_csv(io.StringIO(text("audformat", [predict(end=seconds)])))
    assert list(table.columns[:3]) == ["file", "start", "end"]
    assert pd.to_timedelta(table["end"])[0] == pd.Timedelta(seconds=round(seconds, 6))
    assert table["start"][0] == "0 days 00:00:00"


def test_audacity_gets_the_windows_or_else_the_recording():
    assert text("audacity", WINDOWS) == (
        "0.000000\t3.000000\tangry\n1.000000\t4.000000\tsad\n2.000000\t4.500000\tangry\n"
    )
    assert text("audacity", [predict()]) == "0.000000\t1.500000\tangry\n"


def test_intervals_of_a_textgrid_cover_the_recording_without_overlap():
    lines = [line.strip() for line in text("textgrid", WINDOWS).splitlines()]
    assert lines[:7] == [
        'File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", "xmax = 4.500000", "tiers? <exists>",
        "size = 2",
    ]  # fmt: skip
    assert [line for line in lines if line.startswith(("name", "intervals: size"))] == [
        'name = "windows"', "intervals: size = 3", 'name = "recording"', "intervals: size = 1",
    ]  # fmt: skip
    first, second = " ".join(lines).split('name = "recording"')
    assert 'intervals [1]: xmin = 0.000000 xmax = 2.000000 text = "angry" intervals [2]: xmin = 2.000000' in first
    assert 'xmax = 3.000000 text = "sad" intervals [3]: xmin = 3.000000 xmax = 4.500000 text = "angry"' in first
    assert second.endswith('intervals [1]: xmin = 0.000000 xmax = 4.500000 text = "angry"')


def test_windows_that_do_not_overlap_keep_their_limits_in_a_textgrid():
    parts = [predict(start=0, end=1, is_window=True), predict(start=1, end=1.2, is_window=True), predict(end=1.2)]
    written = " ".join(text("textgrid", parts).split())
    assert "intervals [2]: xmin = 1.000000 xmax = 1.200000" in written


def test_between_stretches_of_speech_a_textgrid_has_intervals_without_text():
    parts = [predict(start=1, end=2, is_window=True), predict(start=3, end=4, is_window=True), predict(start=1, end=5)]
    windows, whole = " ".join(text("textgrid", parts).split()).split('name = "recording"')
    expected = [(0, 1, ""), (1, 2, "angry"), (2, 3, ""), (3, 4, "angry"), (4, 5, "")]
    for number, (start, end, emotion) in enumerate(expected, start=1):
        assert f'intervals [{number}]: xmin = {start}.000000 xmax = {end}.000000 text = "{emotion}"' in windows
    assert "intervals: size = 5" in windows
    assert 'intervals [1]: xmin = 0.000000 xmax = 1.000000 text = ""' in whole
    assert 'intervals [2]: xmin = 1.000000 xmax = 5.000000 text = "angry"' in whole


def test_quotes_in_a_textgrid_are_doubled():
    quoted = Prediction("a.wav", 0.0, 1.0, Result('"x"', {'"x"': 1.0}))
    assert 'text = """x"""' in text("textgrid", [quoted])


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl", "audacity", "audformat"])
def test_a_line_is_there_before_the_next_answer_is_asked_for(form):
    asked = []

    def answers():
        for i in range(3):
            asked.append(i)
            yield predict(start=i, end=i + 1, is_window=True)

    pieces = outputs.FORMATS[form](answers(), EMOTIONS)
    found = next(piece for piece in pieces if "angry" in piece and "confidence," not in piece.replace("\t", ","))
    assert found.endswith("\n")
    assert asked == [0]


@pytest.mark.parametrize("form", outputs.FORMATS)
def test_without_answers_there_is_at_most_a_header(form):
    assert text(form, []).count("\n") == (1 if form in ("tsv", "csv", "audformat") else 0)
