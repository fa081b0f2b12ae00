"""The models of one fold, and their predictions for its disturbed test recordings; each recording is encoded once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from soctk.corpus import audio
from soctk.corpus.datadir import DataDir
from soctk.corpus.disturbance import CLEAN, Condition, Sounds
from soctk.features.upstream import Upstream
from soctk.inference import waveforms
from soctk.inference.recogniser import Recogniser
from soctk.parallel import one_thread
from soctk.scoring.runs import RunDirectory
from soctk.training.experiment import Experiment
from soctk.training.recentre import Recentring


@dataclass(frozen=True)
class Model:
    """The model of a run.

    Attributes:
        run: the run.
        experiment: its experiment.
        recogniser: the model.
    """

    run: RunDirectory
    experiment: Experiment
    recogniser: Recogniser

    @property
    def speeds(self) -> list[float]:
        """The speeds over which predictions are averaged."""
        return [1, *self.recogniser.settings.speeds]

    def outputs(self, samples: np.ndarray, rate: int) -> np.ndarray:
        """Return the outputs `(copies, K)` of the head at each speed, without re-centring."""
        described = [self.recogniser.describe(samples, rate, speed) for speed in self.speeds]
        return self.recogniser.runtime.logits(np.stack(described))

    def recentred(self, outputs: np.ndarray, utterances: Sequence[str]) -> np.ndarray:
        """Return outputs `(copies, N, K)` minus the contribution of the means of the speakers.

        The head is linear, so its output for a difference of descriptors is the difference of its outputs, except the
        bias. The mean of a speaker is that of the speaker's recordings under the same condition
        (soctk.training.recentre): in use, they come from the same place.
        """
        prior = self.recogniser.bundle.prior
        if prior is None:
            return outputs
        data, options = self.experiment.data, self.experiment.config.recentre
        enrol = None if options.enrol == "all" else options.enrol
        recentring = Recentring.of(list(data.speaker.values()), enrol, options.relevance, self.run.seed)
        enrolled = dict(zip(data.utterances, recentring.enrolled, strict=True))
        bias = self.recogniser.bundle.weights["head.bias"]
        trained = np.isfinite(bias)  # a class without training utterances has -inf
        result, own = outputs.copy(), outputs[..., trained] - bias[trained]
        of_prior = self.recogniser.runtime.logits(prior[None])[0, trained] - bias[trained]
        speakers = np.array([data.speaker[utt] for utt in utterances])
        is_enrolled = np.array([enrolled[utt] for utt in utterances])
        for speaker in np.unique(speakers):
            rows = np.flatnonzero(speakers == speaker)
            heard = rows[is_enrolled[rows]]
            weight = len(heard) / (len(heard) + options.relevance) if len(heard) else 0.0
            means = own[:, heard].mean(1, keepdims=True) if len(heard) else 0.0
            centred = own[:, rows] - weight * means - (1 - weight) * of_prior
            result[:, rows[:, None], np.flatnonzero(trained)] = centred + bias[trained]
        return result


@dataclass(frozen=True)
class FoldTest:
    """The test of one fold.

    Attributes:
        models: the models of the fold.
        data: the corpus.
        utterances: the test utterances.
        sounds: the test recordings, and noise.
        encoders: the encoders that the models use.
    """

    models: Sequence[Model]
    data: DataDir
    utterances: Sequence[str]
    sounds: Sounds
    encoders: "Sequence[SharedEncoder]"

    def answer(self, condition: Condition, utterances: Sequence[str]) -> list[list[np.ndarray]]:
        """Return the outputs of each model for each utterance (Model.outputs)."""
        rows = []
        with one_thread():
            for utt in utterances:
                samples, rate = self._disturbed(condition, utt)
                rows.append([model.outputs(samples, rate) for model in self.models])
                for encoder in self.encoders:
                    encoder.forget()
        return [list(of_model) for of_model in zip(*rows, strict=True)]

    def _disturbed(self, condition: Condition, utterance: str) -> tuple[np.ndarray, int]:
        """Return a disturbed recording, and its sample rate in Hz.

        Noise is added at the sample rate of the encoder, or at that of the recording if it is lower: noise above the
        highest frequency that the encoder hears would count for the ratio, and change nothing.
        """
        samples, rate = audio.load_native(self.sounds.clips[utterance], self.data.channel)
        if condition.kind == CLEAN:
            return samples, rate
        parts = self.models[0].experiment.features.store.parts  # a model may leave out some of them
        to = min(rate, max(part.settings["sample_rate"] for part in parts))
        return condition.apply(waveforms.resample(samples, rate, to), to, utterance, self.sounds), to


class SharedEncoder:
    """An encoder that encodes each waveform once, for all models (soctk.features.upstream.Upstream).

    Args:
        encoder: the encoder.
        layers: the hidden states that any of the models uses.
    """

    def __init__(self, encoder: Upstream, layers: Sequence[int]):
        self._encoder, self._layers = encoder, sorted(set(layers))
        self._known: dict[bytes, torch.Tensor] = {}
        self.batches = False  # `hidden_states` encodes one waveform at a time

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def hidden_states(self, several: Sequence[np.ndarray], layers: Sequence[int]) -> list[torch.Tensor]:
        """See soctk.features.upstream.Upstream.hidden_states."""
        chosen = [self._layers.index(layer) for layer in layers]
        states = []
        for waveform in several:
            key = waveform.tobytes()
            if key not in self._known:
                (self._known[key],) = self._encoder.hidden_states([waveform], self._layers)
            states.append(self._known[key][chosen])
        return states

    def forget(self) -> None:
        """Forget all waveforms."""
        self._known.clear()
