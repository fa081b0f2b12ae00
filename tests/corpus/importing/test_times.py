import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soctk.corpus.importing.times import check_no_segments, parse_seconds
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


@pytest.mark.parametrize(
    ("start", "end"), [("3.795", "5.004"), ("0.5", "2"), ("-1", "1"), ("0.9", "0.1"), ("1e999", "")]
)
def test_times_beyond_the_recording_are_not_called_parts_of_it(start, end):
    with pytest.raises(SoctkError) as error:
        check_no_segments({"u": {"path": "u.wav", "start": start, "end": end}}, {"u": 1.0})
    assert str(error.value).startswith("in 1 of 1 rows, start and end are not times within the recording\n  u.wav: ")
    assert str(error.value).endswith(
        "Times are in seconds. If they are times in a longer recording, from which the files are cut already, ignore "
        "these columns: --column start= --column end=."
    )
