"""The recogniser: recordings or waveforms -> frames -> descriptors -> posteriors, by a packed model."""

import copy
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import layer_norm

from soctk.errors import SoctkError
from soctk.features.upstream import Upstream
from soctk.inference import bundle as bundles
from soctk.inference import encoders, waveforms
from soctk.inference.bundle import Bundle


@dataclass(frozen=True)
class Result:
    """The answer for one recording.

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
class Speaker:
    """What re-centring knows about a speaker, from recordings without labels (`Recogniser.enrol`).

    Attributes:
        offsets: speed -> the vector `(P,)` that is subtracted from the descriptors of the speaker.
    """

    offsets: Mapping[float, torch.Tensor]


class Recogniser:
    """A trained model with its encoder. Several threads may use one recogniser.

    Args:
        bundle: the packed model.
        encoder: its encoder.
        device: `cpu` or `cuda`, the device of the encoder.
    """

    def __init__(self, bundle: Bundle, encoder: Upstream, device: str = "cpu"):
        self.bundle, self.encoder = bundle, encoder
        self.settings = bundle.settings
        self._device = device
        self._classifier = bundle.classifier.to(device)
        self._prior = None if bundle.prior is None else bundle.prior.to(device)
        # Encoders stop after the highest hidden state by hooks on their layers, which all threads would see.
        self._encoding = threading.Lock()

    @classmethod
    def load(cls, folder: Path, encoder: Path | None = None, device: str = "cpu") -> "Recogniser":
        """Load a packed model.

        Args:
            folder: the folder that soctk-pack wrote.
            encoder: the folder of the encoder, if the model does not include it.
            device: `cpu` or `cuda`.

        Raises:
            SoctkError: the folder is no packed model or damaged, or its encoder is not available.
        """
        bundle = bundles.read(folder)
        return cls(bundle, encoders.load(bundle, encoder, device), device)

    def with_channel(self, channel: str) -> "Recogniser":
        """Return this recogniser for files whose speech is in another channel: 1, 2, ..., or mix for their mean."""
        other = copy.copy(self)
        other.settings = self.settings.model_copy(update={"channel": channel})
        return other

    @property
    def emotions(self) -> list[str]:
        """The classes, in the order of the logits."""
        return self.settings.emotions

    @property
    def is_recentred(self) -> bool:
        """Whether the model needs recordings of the speaker without labels (`enrol`)."""
        return self._prior is not None

    def __call__(self, recording: Any, sample_rate: int | None = None, speaker: Speaker | None = None) -> Result:
        """Classify one recording.

        Args:
            recording: the path of a file; or a waveform `(samples,)` or `(channels, samples)`, numpy or torch, in
                floating point with full scale 1, or signed integers.
            sample_rate: of a waveform, in Hz.
            speaker: the speaker, for a model with re-centring (`enrol`).

        Raises:
            SoctkError: the file cannot be used, the recording is longer than the encoder takes, or frames overflow.
            ValueError: the waveform cannot be used (soctk.inference.waveforms.read), or the model needs a speaker.
        """
        samples, rate = waveforms.read(recording, sample_rate, self.settings.channel)
        return self.result(self.log_posteriors(samples, rate, speaker))

    def predict(self, recordings: Sequence[Any], speaker: Speaker | None = None) -> list[Result]:
        """Classify several files; see `__call__`."""
        return [self(recording, speaker=speaker) for recording in recordings]

    @torch.inference_mode()
    def log_posteriors(self, samples: np.ndarray, rate: int, speaker: Speaker | None = None) -> torch.Tensor:
        """Return the log-posteriors `(K,)` of a waveform `(samples,)` with a rate in Hz.

        With copies at other speeds in training, the posteriors are the mean over the waveform and its copies.

        Raises:
            ValueError: the model has re-centring, and there is no speaker.
        """
        if self.is_recentred and speaker is None:
            raise ValueError(
                "this model subtracts the mean descriptor of the speaker, so it needs recordings of the speaker "
                "(without labels): model(recording, speaker=model.enrol(recordings))"
            )
        by_speed = []
        for speed in self._speeds:
            descriptor = self.describe(samples, rate, speed)
            if speaker is not None:
                descriptor = descriptor - speaker.offsets[speed]
            by_speed.append(self._classifier.head(descriptor[None])[0].log_softmax(-1))
        return torch.stack(by_speed).logsumexp(0).log_softmax(-1)

    @torch.inference_mode()
    def describe(self, samples: np.ndarray, rate: int, speed: float = 1) -> torch.Tensor:
        """Return the descriptor `(P,)` of a waveform `(samples,)` with a rate in Hz, played at a speed."""
        frames = self.frames(samples, rate, speed)
        return self._classifier.describe(frames, torch.tensor([len(frames)], device=frames.device))[0]

    @torch.inference_mode()
    def frames(self, samples: np.ndarray, rate: int, speed: float = 1) -> torch.Tensor:
        """Return the frames `(T, L, D)` of the L hidden states of the model, as training read them from the store.

        Raises:
            SoctkError: the waveform is longer than the encoder takes, or frames overflow.
        """
        settings = self.settings.encoder
        waveform = waveforms.resample(samples, rate, settings.sample_rate, speed)
        if len(waveform) > self.encoder.max_seconds * settings.sample_rate:
            raise SoctkError(
                f"{len(waveform) / settings.sample_rate:.1f} s are longer than this encoder takes "
                f"({self.encoder.max_seconds:g} s)",
                remedy="Classify it in windows (soctk-predict --window 3, model.windows).",
            )
        with self._encoding:
            (states,) = self.encoder.hidden_states([waveform], settings.layers)
        rounded = states.to(getattr(torch, settings.dtype))  # as in the store
        if not rounded.isfinite().all():
            raise SoctkError(f"the frames are not finite in {settings.dtype}", remedy="Check the recording.")
        frames = rounded.to(self._device).float().transpose(0, 1)
        return layer_norm(frames, frames.shape[-1:]) if self.settings.experiment.frames.layer_norm else frames

    @torch.inference_mode()
    def enrol(self, recordings: Sequence[Any], sample_rate: int | None = None) -> Speaker:
        """Return a speaker, from recordings of the speaker without labels; see `__call__` for their forms.

        Raises:
            ValueError: there are no recordings, or the model has no re-centring.
        """
        if self._prior is None:
            raise ValueError("this model has no re-centring, so it needs no recordings of the speaker")
        if not recordings:
            raise ValueError("at least one recording of the speaker is needed")
        inputs = [waveforms.read(recording, sample_rate, self.settings.channel) for recording in recordings]
        count, relevance = len(inputs), self.settings.experiment.recentre.relevance
        offsets = {}
        for speed in self._speeds:
            mean = torch.stack([self.describe(samples, rate, speed) for samples, rate in inputs]).mean(0)
            offsets[speed] = (count * mean + relevance * self._prior) / (count + relevance)
        return Speaker(offsets)

    @property
    def _speeds(self) -> list[float]:
        return [1, *self.settings.speeds]

    def result(self, log_posteriors: torch.Tensor) -> Result:
        """Return log-posteriors `(K,)` by the names of the classes."""
        posteriors = dict(zip(self.emotions, log_posteriors.exp().tolist(), strict=True))
        return Result(max(posteriors, key=posteriors.__getitem__), posteriors)
