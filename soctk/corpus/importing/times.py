"""Start and end columns, which must describe the whole recording: soctk uses whole files."""

import re
from collections.abc import Mapping

from soctk.corpus.importing.rows import Row
from soctk.corpus.labels import is_missing
from soctk.errors import SoctkError, listing

# A segment counts as the whole recording if start and end differ by at most this many seconds: tables round times.
_ROUNDING = 0.05
_TIMEDELTA = re.compile(r"(?:(\d+) days?)?\s*(?:(?:(\d+):)?(\d+):(\d+(?:[.,]\d+)?))?", re.ASCII)


def check_no_segments(utterances: Mapping[str, Row], seconds: Mapping[str, float]) -> None:
    """Check that start and end describe the whole recordings.

    Args:
        utterances: utterance -> row.
        seconds: utterance -> duration of its recording in seconds.

    Raises:
        SoctkError: a time is malformed or not within the recording, or a row describes a part of its recording.
    """
    outside, parts = [], []
    for utt, row in utterances.items():
        start = parse_seconds(row.get("start", ""), 0)
        end = parse_seconds(row.get("end", ""), seconds[utt])
        line = f"{row['path']}: {row.get('start') or 0} to {row.get('end') or 'the end'} of {seconds[utt]:.3f} s"
        if not 0 <= start <= seconds[utt] or not start <= end <= seconds[utt] + _ROUNDING:
            outside.append(line)
        elif start > _ROUNDING or end < seconds[utt] - _ROUNDING:
            parts.append(line)
    ignore = "ignore these columns: --column start= --column end=."
    if outside:
        raise SoctkError(
            f"in {len(outside)} of {len(utterances)} rows, start and end are not times within the recording"
            f"\n{listing(outside)}",
            remedy="Times are in seconds. If they are times in a longer recording, from which the files are cut "
            f"already, {ignore}",
        )
    if parts:
        raise SoctkError(
            f"{len(parts)} of {len(utterances)} rows describe a part of a recording\n{listing(parts)}",
            remedy=f"Cut these parts into files of their own. If the files are cut already, {ignore}",
        )


def parse_seconds(time: str, default: float) -> float:
    """Return a time in seconds; `default` for a missing value.

    Args:
        time: a number of seconds, `0 days 00:00:01.5` (audformat), `00:00:01,500` or `00:01.5`.
        default: the value of a missing time.

    Raises:
        SoctkError: the text is not a time.
    """
    if is_missing(time):
        return default
    match = _TIMEDELTA.fullmatch(time)
    if match and any(match.groups()):
        days, hours, minutes, rest = (float((part or "0").replace(",", ".")) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + rest
    try:
        return float(time)
    except ValueError as error:
        raise SoctkError(
            f"'{time}' is not a time",
            remedy="Write seconds, such as 1.5, or 0 days 00:00:01.5, or ignore the column: --column start= or "
            "--column end=.",
        ) from error
