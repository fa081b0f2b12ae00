"""Start and end columns: the part of a recording that is the utterance of a row."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from soctk.corpus import audio
from soctk.corpus.audio import AudioInfo
from soctk.corpus.cutting import OVERSHOOT
from soctk.corpus.importing.rows import Row
from soctk.corpus.labels import is_missing
from soctk.corpus.segments import Clip
from soctk.errors import SoctkError, listing

_TIMEDELTA = re.compile(r"(?:(\d+) days?)?\s*(?:(?:(\d+):)?(\d+):(\d+(?:[.,]\d+)?))?", re.ASCII)


def find_clips(rows: Sequence[Row], root: Path) -> list[Clip]:
    """Return the part of a recording that each row describes; a row without start and end is a whole recording.

    Raises:
        SoctkError: a time is malformed, or a start is negative or not before its end.
    """
    clips, outside = [], []
    for row in rows:
        start, end = parse_seconds(row.get("start", ""), 0), parse_seconds(row.get("end", ""), math.inf)
        if not 0 <= start < end:
            outside.append(f"{row['path']}: {row.get('start') or 0} to {row.get('end') or 'the end'}")
        clip_end = None if end == math.inf else round(end, 6)
        clips.append(Clip((root / row["path"]).absolute(), round(start, 6), clip_end))
    if outside:
        raise SoctkError(
            f"in {len(outside)} of {len(rows)} rows, the start is negative or not before the end\n{listing(outside)}",
            remedy="Write a start from 0 s and a later end. If the files are cut already, ignore these columns: "
            "--column start= --column end=.",
        )
    return clips


def inspect(clips: Mapping[str, Clip], channel: str) -> tuple[dict[str, Clip], dict[str, AudioInfo]]:
    """Decode the recordings; return the part of each recording that is used, and the properties of this part.

    A part that is the whole recording, up to OVERSHOOT seconds at each end, becomes the whole recording: tables round
    times. Other parts without an end, or with an end up to OVERSHOOT seconds after the recording, get its end.

    Args:
        clips: utterance -> part of a recording.
        channel: 1, 2, ..., or mix for the mean of all channels.

    Raises:
        SoctkError: soctk.corpus.audio.check raises it.
    """
    parts_of = Counter(clip.path for clip in clips.values())
    # If one row describes a recording from its beginning, it probably describes all of it.
    probably_whole = {utt for utt, clip in clips.items() if parts_of[clip.path] == 1 and clip.start <= OVERSHOOT}
    found = {utt: Clip(clip.path) if utt in probably_whole else clip for utt, clip in clips.items()}
    infos = audio.check(found, channel)
    others = {
        utt: clip
        for utt, clip in clips.items()
        if utt in probably_whole and clip.end is not None and abs(clip.end - infos[utt].seconds) > OVERSHOOT
    }
    if others:
        infos |= audio.check(others, channel)
        found |= others
    return {utt: _with_end(clip, infos[utt].seconds) for utt, clip in found.items()}, infos


def _with_end(clip: Clip, seconds: float) -> Clip:
    """Return a part of a recording with its end: that of the recording, if the table has none or a later one."""
    if clip.is_whole:
        return clip
    end = clip.start + seconds
    is_given = clip.end is not None and clip.end <= end + 1e-3  # a sample or so, because samples are counted
    return Clip(clip.path, clip.start, clip.end if is_given else round(end, 6))


def parse_seconds(time: str, default: float) -> float:
    """Return a time in seconds; `default` for a missing value.

    Args:
        time: a number of seconds such as 1.5 or 1,5, `0 days 00:00:01.5` (audformat), `00:00:01,500` or `00:01.5`.
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
        return float(time.replace(",", ".", 1))
    except ValueError as error:
        raise SoctkError(
            f"'{time}' is not a time",
            remedy="Write seconds, such as 1.5, or 0 days 00:00:01.5, or ignore the column: --column start= or "
            "--column end=.",
        ) from error
