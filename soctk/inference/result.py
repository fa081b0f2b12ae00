"""The answers of a recogniser."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Result:
    """The answer for one recording or one window.

    Attributes:
        emotion: the class with the highest posterior; "" for a model of dimensions.
        posteriors: class -> posterior; they sum to 1. Empty for a model of dimensions.
        dimensions: dimension, such as arousal -> value, in the unit of the labels; empty for a model of classes.
    """

    emotion: str = ""
    posteriors: dict[str, float] = field(default_factory=dict)
    dimensions: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, posteriors: dict[str, float]) -> "Result":
        """Return the answer of a model of classes."""
        return cls(max(posteriors, key=posteriors.__getitem__), posteriors)

    @property
    def confidence(self) -> float:
        """The posterior of the emotion."""
        return self.posteriors[self.emotion]

    @property
    def values(self) -> dict[str, float]:
        """The posteriors, or the values on the dimensions."""
        return self.posteriors or self.dimensions

    @property
    def text(self) -> str:
        """The emotion, or the values on the dimensions, such as `arousal 0.62, valence 0.40`."""
        return self.emotion or ", ".join(f"{name} {value:.3g}" for name, value in self.dimensions.items())


@dataclass(frozen=True)
class TimedResult:
    """The answer for one window of a recording.

    Attributes:
        start: the start of the window, in s.
        end: its end, in s.
        result: the answer.
        is_silent: whether all samples of the window are 0, so that the answer means nothing.
    """

    start: float
    end: float
    result: Result
    is_silent: bool = False
