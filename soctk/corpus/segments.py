"""Segments: utterances that are parts of longer recordings, as in Kaldi's file `segments`."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a recording.

    Attributes:
        recording: the id of the recording (`wav.scp`).
        start: its first moment, in seconds from the beginning of the recording.
        end: its last moment, in seconds.
    """

    recording: str
    start: float
    end: float

    @classmethod
    def parse(cls, text: str) -> "Segment":
        """Return the segment of a line of `segments` without its utterance: recording, start and end.

        Raises:
            ValueError: these are not a word and two numbers.
        """
        recording, start, end = text.split()
        return cls(recording, float(start), float(end))

    @property
    def is_valid(self) -> bool:
        """Whether the times are a start from 0 s and a later end."""
        return 0 <= self.start < self.end < math.inf

    def __str__(self) -> str:
        return f"{self.recording} {self.start!r} {self.end!r}"
