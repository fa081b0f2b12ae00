"""The answers of a recogniser."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """The answer for one recording or one window.

    Attributes:
        emotion: the class with the highest posterior.
        posteriors: class -> posterior; they sum to 1.
    """

    emotion: str
    posteriors: dict[str, float]

    @property
    def confidence(self) -> float:
        """The posterior of the emotion."""
        return self.posteriors[self.emotion]


@dataclass(frozen=True)
class Segment:
    """The answer for one window of a recording.

    Attributes:
        start: the start of the window, in s.
        end: its end, in s.
        result: the answer.
    """

    start: float
    end: float
    result: Result
