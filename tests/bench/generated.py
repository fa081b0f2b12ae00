"""Generated corpora and feature stores, for measurements at any size."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile
import torch

from soctk.corpus.datadir import DataDir
from soctk.features.interface import OneEncoder

EMOTIONS = tuple("abcdefgh")


class Generated(OneEncoder):
    """A feature store of frames `(T, 1, D)` in float16 that are generated when they are read.

    Args:
        utterances: ids.
        classes: the class of each.
        mean_length: in frames; lengths are within 30% of it.
        width: D.
        contrast: how much the standard deviations of the features of two classes differ.
        seed: of the frames.
    """

    path, where = None, "generated frames"

    def __init__(
        self,
        utterances: Sequence[str],
        classes: Sequence[int],
        mean_length: int,
        width: int,
        contrast: float = 0.2,
        seed: int = 0,
    ):
        generator = torch.Generator().manual_seed(seed)
        shortest, longest = round(0.7 * mean_length), round(1.3 * mean_length)
        lengths = torch.randint(shortest, longest + 1, (len(utterances),), generator=generator)
        self._lengths = dict(zip(utterances, lengths.tolist(), strict=True))
        self._class = dict(zip(utterances, classes, strict=True))
        self._pool = torch.randn(1 << 16, width, generator=generator).half()
        self._scales = (1 + contrast * torch.randn(8, width, generator=generator)).half()
        self._number = {utt: number for number, utt in enumerate(utterances)}
        self.settings = {"upstream": "generated", "source": "bench", "layers": [0], "hidden_size": width}

    @cached_property
    def recordings(self) -> dict[str, str]:
        """See Store."""
        return {utt: f"{number:064x}" for utt, number in self._number.items()}

    def checksum(self) -> str:
        """See Store."""
        return "generated"

    def lengths(self, utterances: Sequence[str]) -> list[int]:
        """See Store."""
        return [self._lengths[utt] for utt in utterances]

    def load(self, utterances: Sequence[str], layers: Sequence[int] | None = None) -> torch.Tensor:
        """See Store."""
        return torch.cat([self._frames(utt) for utt in utterances]).unsqueeze(1)

    def _frames(self, utt: str) -> torch.Tensor:
        start = self._number[utt] * 9973 % (len(self._pool) - self._lengths[utt])
        return self._pool[start : start + self._lengths[utt]] * self._scales[self._class[utt]]


def generated_corpus(folder: Path, count: int, speakers: int, folds: int) -> DataDir:
    """Return a corpus whose recordings are all the same silent file."""
    folder.mkdir()
    soundfile.write(folder / "silence.wav", np.zeros(1600), 16000)
    number_of = {f"spk{number % speakers:04}-{number:06}": number for number in range(count)}
    utterances = sorted(number_of)
    wav = dict.fromkeys(utterances, folder / "silence.wav")
    return DataDir(
        wav=wav,
        speaker={utt: utt.partition("-")[0] for utt in utterances},
        emotion={utt: EMOTIONS[number_of[utt] // speakers % 8] for utt in utterances},
        seconds=dict.fromkeys(utterances, 3.0),
        gender={},
        fold={f"spk{number:04}": number % folds + 1 for number in range(speakers)},
        emotions=EMOTIONS,
        path=folder,
    )
