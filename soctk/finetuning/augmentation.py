"""Changes of training utterances on the fly, determined by seed, epoch and utterance: a resumed run repeats them."""

from dataclasses import dataclass

import numpy as np
import torch

from soctk.corpus import degradations
from soctk.features.babble import generator
from soctk.schema import FineTuneConfig


@dataclass(frozen=True)
class Augmenter:
    """Changes an utterance in one epoch: its speed, its noise and level, and masks on the inputs of the encoder.

    Attributes:
        options: the settings.
        speeds: how many rows of an utterance differ in speed: 1, and a copy at each further speed. Each has the same
            probability.
        seed: the seed of the run.
        epoch: the epoch, from 1.
    """

    options: FineTuneConfig
    speeds: int
    seed: int
    epoch: int

    @property
    def changes_waveforms(self) -> bool:
        """Whether any waveform gets noise or another level."""
        return self.options.noise > 0 or self.options.gain > 0

    def speed(self, utterance: str) -> int:
        """Return which copy of the utterance is used, from 0."""
        return int(self._generator("speed", utterance).integers(self.speeds))

    def waveform(self, waveform: np.ndarray, utterance: str) -> np.ndarray | None:
        """Return a degraded waveform `(samples,)`; None if the utterance stays as it is in this epoch."""
        rng, options = self._generator("waveform", utterance), self.options
        changed = None
        if rng.random() < options.noise:
            noise = (degradations.white, degradations.pink)[rng.integers(2)](len(waveform), rng)
            changed = degradations.add_noise(waveform, noise, rng.uniform(*options.snr))
        if options.gain:
            original = waveform if changed is None else changed
            changed = degradations.gain(original, rng.uniform(-options.gain, options.gain))
        return changed

    def mask(self, frames: torch.Tensor, utterance: str) -> torch.Tensor:
        """Replace spans of time, and of channels, of frames `(T, D)` by the mean over time (SpecAugment: by zero)."""
        options = self.options
        if not options.time_masks and not options.channel_masks:
            return frames
        rng = self._generator("masks", utterance)
        times = _spans(rng, len(frames), options.time_masks, options.time_mask)
        channels = _spans(rng, frames.shape[1], options.channel_masks, options.channel_mask)
        hidden = torch.from_numpy(times[:, None] | channels[None]).to(frames.device)
        return torch.where(hidden, frames.mean(0, keepdim=True), frames)

    def _generator(self, purpose: str, utterance: str) -> np.random.Generator:
        return generator(self.seed, f"{purpose} {self.epoch}", utterance)


def _spans(rng: np.random.Generator, size: int, count: int, share: float) -> np.ndarray:
    """Return a boolean array `(size,)` that is True in `count` random spans of up to `share` of the size."""
    inside = np.zeros(size, bool)
    for _ in range(count):
        length = rng.integers(int(share * size) + 1)
        start = rng.integers(size - length + 1)
        inside[start : start + length] = True
    return inside
