"""The runtime of a packed model that computes with torch."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from soctk.device import resolve
from soctk.errors import SoctkError
from soctk.features.upstream import Upstream
from soctk.inference import encoders
from soctk.inference.bundle import PRIOR, SETTINGS, Bundle
from soctk.training.classifier import EmotionClassifier


class TorchRuntime:
    """Encoder, pooling and head in torch; see soctk.inference.runtime.Runtime.

    Args:
        bundle: the packed model.
        encoder: its encoder.
        device: `cpu` or `cuda`.
        more_encoders: its further encoders.
    """

    def __init__(self, bundle: Bundle, encoder: Upstream, device: str = "cpu", more_encoders: Sequence[Upstream] = ()):
        self.encoder, self._encoders = encoder, [encoder, *more_encoders]
        self.classifier = classifier(bundle).to(device)
        self.device, self._layers = device, [settings.layers for settings in bundle.settings.encoders]
        # Encoders stop after the highest hidden state by hooks on their layers, which all threads would see.
        self._encoding = threading.Lock()

    @classmethod
    def load(cls, bundle: Bundle, encoder: Path | None = None, device: str = "cpu") -> "TorchRuntime":
        """Load the encoder of a model; see soctk.inference.runtime.load."""
        device = resolve(device)
        first, *others = encoders.load_all(bundle, encoder, device)
        return cls(bundle, first, device, others)

    @property
    def max_seconds(self) -> float:
        """See Runtime."""
        return min(encoder.max_seconds for encoder in self._encoders)

    @torch.inference_mode()
    def hidden_states(self, waveforms: Sequence[np.ndarray], encoder: int = 0) -> list[np.ndarray]:
        """See Runtime.hidden_states."""
        used = self._encoders[encoder]
        together = len(waveforms) if used.batches else 1
        states = []
        with self._encoding:
            for first in range(0, len(waveforms), together):
                states += used.hidden_states(waveforms[first : first + together], self._layers[encoder])
        return [one.cpu().numpy() for one in states]

    @torch.inference_mode()
    def describe(self, frames: Sequence[np.ndarray], encoder: int = 0) -> np.ndarray:
        """See Runtime.describe."""
        lengths = torch.tensor([len(one) for one in frames], device=self.device)
        together = torch.cat([torch.from_numpy(one) for one in frames]).to(self.device)
        first = sum(map(len, self._layers[:encoder]))
        return self.classifier.describe(together, lengths, first).cpu().numpy()

    @torch.inference_mode()
    def logits(self, descriptors: np.ndarray) -> np.ndarray:
        """See Runtime.logits."""
        return self.classifier.head(torch.from_numpy(descriptors).to(self.device)).cpu().numpy()


def classifier(bundle: Bundle) -> EmotionClassifier:
    """Return the classifier of a model, in evaluation mode.

    Raises:
        SoctkError: the weights are not those of the model in config.yaml.
    """
    made = _new_classifier(bundle)
    shapes = {name: tuple(weight.shape) for name, weight in made.state_dict().items()}
    bundle.check_weights(shapes, made.descriptor_size)
    weights = {name: torch.from_numpy(weight) for name, weight in bundle.weights.items() if name != PRIOR}
    made.load_state_dict(weights, assign=True)
    return made.eval()


def _new_classifier(bundle: Bundle) -> EmotionClassifier:
    """Return a classifier without weights, for which no memory is reserved: the settings may be damaged."""
    settings = bundle.settings
    sizes = [encoder.hidden_size for encoder in settings.encoders for _ in encoder.layers]
    try:
        with torch.device("meta"):
            return EmotionClassifier(sizes, len(sizes), len(settings.outputs), settings.experiment)
    except SoctkError as error:
        raise bundle.damaged(SETTINGS, error.what) from error
    except (RuntimeError, OverflowError, TypeError) as error:  # sizes that torch cannot represent
        raise bundle.damaged(SETTINGS, "a size is too large") from error
