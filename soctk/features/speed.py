"""Speed perturbation (Ko, Peddinti, Povey & Khudanpur 2015): copies of utterances that are played slower or faster."""

from collections.abc import Iterable, Sequence


def copy_id(utterance: str, speed: float) -> str:
    """Return the id by which a feature store has an utterance played at `speed`, such as `UTT-sp0.9`; at 1 its own."""
    return utterance if speed == 1 else f"{utterance}-sp{speed:g}"


def with_copies(utterances: Sequence[str], speeds: Iterable[float]) -> list[str]:
    """Return the ids of utterances, then those of their copies at the first of `speeds`, and so on."""
    return [copy_id(utterance, speed) for speed in (1, *speeds) for utterance in utterances]
