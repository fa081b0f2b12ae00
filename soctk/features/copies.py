"""Copies of utterances in a feature store: at other playback speeds (Ko et al. 2015), or degraded (augmented)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from soctk.schema import Augmentation


@dataclass(frozen=True, slots=True)
class Copy:
    """A kind of copy of each utterance; without arguments, the utterance itself.

    Attributes:
        speed: the playback speed, which changes tempo and pitch together.
        augmentation: the name of a degradation (soctk.features.augmentation); "" for none.
    """

    speed: float = 1
    augmentation: Augmentation | Literal[""] = ""

    def of(self, utterance: str) -> str:
        """Return its id in a feature store: `UTT`, `UTT-sp0.9` or `UTT-aug-noise`."""
        if self.augmentation:
            return f"{utterance}-aug-{self.augmentation}"
        return utterance if self.speed == 1 else f"{utterance}-sp{self.speed:g}"


def list_copies(speeds: Iterable[float] = (), augmentations: Iterable[Augmentation] = ()) -> list[Copy]:
    """Return the utterance itself, then its copies at each speed, then those with each augmentation."""
    return [Copy(), *(Copy(speed=speed) for speed in speeds), *(Copy(augmentation=name) for name in augmentations)]


def with_copies(
    utterances: Sequence[str], speeds: Iterable[float] = (), augmentations: Iterable[Augmentation] = ()
) -> list[str]:
    """Return the ids of the utterances, then of their copies at the first speed, and so on (`list_copies`)."""
    return [copy.of(utterance) for copy in list_copies(speeds, augmentations) for utterance in utterances]
