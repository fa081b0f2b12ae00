"""The inputs of the transformer layers of an encoder: clean for prediction, augmented for training."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from soctk.finetuning.augmentation import Augmenter
from soctk.finetuning.encoder import TunedEncoder
from soctk.finetuning.recordings import Waveforms
from soctk.training.inputs import half_of_memory

_SHARE_OF_GPU = 0.25  # of its memory, for inputs that are kept


@dataclass
class LayerInputs:
    """The outputs `(T, D)` of the front end for the rows of a corpus.

    A front end that is not trained computes each row once; the result is kept on the device while there is room, and
    all runs of a process share it. Noise and gain need a new computation, masks do not.

    Attributes:
        waveforms: the waveforms of all rows.
        device: `cpu` or `cuda`.
        processes: how many processes keep inputs of their own in the memory of the machine.
    """

    waveforms: Waveforms
    device: str
    processes: int = 1
    _kept: dict[int, torch.Tensor] = field(default_factory=dict, init=False, repr=False)
    _room: float | None = field(default=None, init=False, repr=False)

    def clean(self, encoder: TunedEncoder, rows: Sequence[int]) -> list[torch.Tensor]:
        """Return the inputs `(T, D)` of rows."""
        if not encoder.has_frozen_front_end:
            return encoder.front_end([self.waveforms[row] for row in rows])
        missing = [row for row in dict.fromkeys(rows) if row not in self._kept]
        new: dict[int, torch.Tensor] = {}
        if missing:
            frames = self._frozen(encoder, [self.waveforms[row] for row in missing])
            new = {row: one.clone() for row, one in zip(missing, frames, strict=True)}  # not a part of the batch
            self._kept |= {row: one for row, one in new.items() if self._take_room(one.nbytes)}
        return [new[row] if row in new else self._kept[row] for row in rows]

    def augmented(self, encoder: TunedEncoder, rows: Sequence[int], augmenter: Augmenter) -> list[torch.Tensor]:
        """Return the changed inputs `(T, D)` of rows."""
        names = [self.waveforms.utterances[row].name for row in rows]
        changed: dict[int, np.ndarray] = {}
        if augmenter.changes_waveforms:
            found = [augmenter.waveform(self.waveforms[row], name) for row, name in zip(rows, names, strict=True)]
            changed = {place: waveform for place, waveform in enumerate(found) if waveform is not None}
        clean = self.clean(encoder, [row for place, row in enumerate(rows) if place not in changed])
        noisy: list[torch.Tensor] = []
        if changed:
            compute = partial(self._frozen, encoder) if encoder.has_frozen_front_end else encoder.front_end
            noisy = compute(list(changed.values()))
        frames = (iter(noisy), iter(clean))
        ordered = [next(frames[place not in changed]) for place in range(len(rows))]
        return [augmenter.mask(one, name) for one, name in zip(ordered, names, strict=True)]

    def _frozen(self, encoder: TunedEncoder, waveforms: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Return the outputs of a front end that is not trained, without gradients, in float32."""
        # Not inference_mode: its tensors could not be used for gradients later. In float32: all runs share the clean
        # inputs, and a batch of clean and noisy inputs has one number format.
        with torch.no_grad(), torch.autocast(self.device, enabled=False):
            return encoder.front_end(waveforms)

    def _take_room(self, size: int) -> bool:
        if self._room is None:
            is_gpu = self.device == "cuda"
            self._room = (
                _SHARE_OF_GPU * torch.cuda.mem_get_info()[1] if is_gpu else half_of_memory() / 2 / self.processes
            )
        self._room -= size
        return self._room >= 0
