from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from soctk.corpus import audio
from soctk.corpus.importing.times import find_clips, inspect, parse_seconds
from soctk.corpus.segments import Clip
from soctk.errors import SoctkError


@given(st.timedeltas(min_value=pd.Timedelta(0).to_pytimedelta(), max_value=pd.Timedelta("9999 days").to_pytimedelta()))
def test_audformats_times_are_read_as_pandas_reads_them(time):
    assert parse_seconds(str(pd.Timedelta(time)), 0) == pytest.approx(time.total_seconds())


def test_a_time_is_a_number_of_seconds_or_missing():
    assert parse_seconds("90.5", 7) == 90.5
    assert (parse_seconds("", 7), parse_seconds("NaT", 7)) == (7, 7)


@pytest.mark.parametrize("time", ["0:16:16.059", "00:16:16,059", "16:16.059", "976.059", "0 days 00:16:16.059"])
def test_a_time_may_be_written_with_hours_or_a_decimal_comma(time):
    assert parse_seconds(time, 0) == pytest.approx(976.059)


@pytest.mark.parametrize(("start", "end"), [("-1", "1"), ("0.9", "0.1"), ("1", "1"), ("1e999", "")])
def test_times_that_are_no_part_of_a_recording_are_refused(tmp_path, start, end):
    with pytest.raises(SoctkError) as error:
        find_clips([{"path": "u.wav"}, {"path": "v.wav", "start": start, "end": end}], tmp_path)
    assert str(error.value).startswith("in 1 of 2 rows, the start is negative or not before the end\n  v.wav: ")
    assert str(error.value).endswith("ignore these columns: --column start= --column end=.")


def test_rows_are_parts_of_recordings_or_whole_recordings(tmp_path):
    rows = [{"path": "u.wav", "start": "0:01.5", "end": "2"}, {"path": "u.wav", "start": "3"}, {"path": "/v.wav"}]
    assert find_clips(rows, tmp_path) == [
        Clip(tmp_path / "u.wav", 1.5, 2),
        Clip(tmp_path / "u.wav", 3, None),
        Clip(Path("/v.wav")),
    ]


@pytest.mark.parametrize(
    ("times", "used"),
    [
        ([(0, 1.96)], [None]),
        ([(0.04, 2.04)], [None]),
        ([(0, None)], [None]),
        ([(0, 1.9)], [(0, 1.9)]),
        ([(0.1, 2)], [(0.1, 2)]),
        ([(0.1, None)], [(0.1, 2)]),
        ([(0.1, 2.03)], [(0.1, 2)]),
        ([(0, 1.3), (1.3, 2.01)], [(0, 1.3), (1.3, 2)]),
        ([(0, 2), (0.5, 1)], [(0, 2), (0.5, 1)]),
    ],
)
def test_a_part_that_is_the_whole_recording_up_to_rounding_becomes_the_whole_recording(tmp_path, times, used):
    path = tmp_path / "x.wav"
    soundfile.write(path, np.linspace(-0.5, 0.5, 16000), 8000)
    clips = {str(i): Clip(path, start, end) for i, (start, end) in enumerate(times)}
    found, infos = inspect(clips, "1")
    assert list(found.values()) == [Clip(path, *part) if part else Clip(path) for part in used]
    assert [info.seconds for info in infos.values()] == pytest.approx(
        [end - start for start, end in [p or (0, 2) for p in used]]
    )
    assert {utt: info.digest for utt, info in infos.items()} == {
        utt: info.digest for utt, info in audio.check(found).items()
    }


@pytest.mark.parametrize(("start", "end"), [(3.795, 5.004), (0.5, 2.5), (0, 2.2)])
def test_times_beyond_the_recording_are_named(tmp_path, start, end):
    soundfile.write(tmp_path / "x.wav", np.linspace(-0.5, 0.5, 16000), 8000)
    with pytest.raises(SoctkError, match=r"ignore them: soctk-import --column start= --column end=(.|\n)*x\.wav from"):
        inspect({"u": Clip(tmp_path / "x.wav", start, end)}, "1")
