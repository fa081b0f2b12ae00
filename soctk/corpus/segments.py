"""Segments: utterances that are parts of longer recordings, as in Kaldi's file `segments`; and where their sound is."""

import math
from dataclasses import dataclass
from pathlib import Path


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


@dataclass(frozen=True, slots=True)
class Clip:
    """The place of the sound of an utterance: a file, or a part of it.

    Attributes:
        path: the file.
        start: the first moment, in seconds from the beginning of the file.
        end: the last moment, in seconds; None for the end of the file.
    """

    path: Path
    start: float = 0.0
    end: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole file."""
        return self.start == 0 and self.end is None

    def __str__(self) -> str:
        if self.is_whole:
            return str(self.path)
        return f"{self.path} from {self.start:g} s to {'the end' if self.end is None else f'{self.end:g} s'}"
