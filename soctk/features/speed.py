"""Speed perturbation (Ko, Peddinti, Povey & Khudanpur 2015): copies of utterances at lower or higher playback speed."""

from collections.abc import Iterable, Sequence


def copy_id(utterance: str, speed: float) -> str:
    """Return the id of a copy in a feature store, such as `UTT-sp0.9`; at speed 1 it is the id of the utterance."""
    return utterance if speed == 1 else f"{utterance}-sp{speed:g}"


def with_copies(utterances: Sequence[str], speeds: Iterable[float]) -> list[str]:
    """Return the ids of the utterances, then of their copies at the first speed, then at the second, and so on."""
    return [copy_id(utterance, speed) for speed in (1, *speeds) for utterance in utterances]
