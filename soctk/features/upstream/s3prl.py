"""Encoders of s3prl, by name: fbank, mfcc, wav2vec2_base_960, hubert_base, wavlm_base_plus, ..."""

import logging
import math
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import torch

logging.getLogger("s3prl").setLevel(logging.ERROR)  # s3prl warns of optional packages that other upstreams need
from s3prl.nn import S3PRLUpstream  # noqa: E402
from s3prl.upstream.baseline.expert import UpstreamExpert as SpectralFeatures  # noqa: E402
from s3prl.upstream.hubert.expert import UpstreamExpert as Hubert  # noqa: E402
from s3prl.upstream.wav2vec2.expert import UpstreamExpert as Wav2Vec2  # noqa: E402
from s3prl.upstream.wavlm.expert import UpstreamExpert as WavLM  # noqa: E402

from soctk import onednn  # noqa: E402
from soctk.errors import SoctkError, unknown_name  # noqa: E402
from soctk.features.upstream import early_exit, opensmile  # noqa: E402

_NORMALISED = ("fbank", "mfcc")  # each feature of an utterance gets mean 0 and variance 1
SAMPLE_RATE = 16000  # Hz, the same for all s3prl upstreams


class S3prlUpstream:
    """An encoder of s3prl with the interface soctk.features.upstream.Upstream; it encodes one utterance at a time.

    The frames equal those of `s3prl.nn.S3PRLUpstream`, except for values of fbank and mfcc that are constant over time,
    such as those of digital silence, and of frequencies that a recording with a low sample rate lacks. There s3prl
    divides rounding errors by their standard deviation, which gives noise; this class returns zeros.
    """

    hub = ""
    has_units = False
    note = ""
    sample_rate = SAMPLE_RATE
    max_seconds = math.inf
    # Some encoders normalise over the padded batch, and s3prl does not say which.
    batches = False

    def __init__(self, name: str, device: str, precision: str):
        self.name = name
        self.source = f"espnet-s3prl {version('espnet-s3prl')}: {name}"
        self._device = device
        self._autocast = torch.autocast(device, getattr(torch, precision), enabled=precision != "float32")
        self._model = _load(name).to(device).eval()
        if precision == "float32":
            onednn.pack(self._model)
        self._model._match_length = _match_length
        self._expert = self._model.upstream
        self.frame_shift = 1000 * self._model.downsample_rates[-1] / SAMPLE_RATE
        self.hidden_sizes = list(self._model.hidden_sizes)

    @torch.inference_mode()
    def hidden_states(self, waveforms: Sequence[np.ndarray], layers: Sequence[int]) -> list[torch.Tensor]:
        """See soctk.features.upstream.Upstream."""
        (waveform,) = waveforms
        samples = torch.from_numpy(waveform).to(self._device)
        with self._autocast:
            if isinstance(self._expert, Wav2Vec2 | Hubert | WavLM) and max(layers) < len(self.hidden_sizes) - 1:
                states = self._run_lower_layers(samples, layers)
            else:
                every_state, _ = self._model(samples[None], torch.tensor([len(waveform)]))
                states = [every_state[layer][0] for layer in layers]
        stacked = torch.stack(states).float()
        if isinstance(self._expert, SpectralFeatures) and not waveform.any():
            stacked.zero_()
        elif self.name in _NORMALISED:
            stacked.masked_fill_((stacked == stacked[:, :1]).all(1, keepdim=True), 0)
        return [stacked]

    def _run_lower_layers(self, samples: torch.Tensor, layers: Sequence[int]) -> list[torch.Tensor]:
        """Return hidden states `(T, D)` below the last one.

        T is the same as in S3PRLUpstream: the number of samples divided by the frame shift, rounded up. If the encoder
        returns fewer frames, its last frame is repeated.
        """
        encoder = self._expert.model.encoder
        frame_counts: list[int] = []  # the number before the encoder pads to an even number of frames
        counter = encoder.register_forward_pre_hook(lambda _, args: frame_counts.append(args[0].shape[1]))
        try:
            states = early_exit.hidden_states(lambda: self._expert([samples]), encoder.layers, layers)
        finally:
            counter.remove()
        frames = math.ceil(len(samples) / self._model.downsample_rates[-1])
        index = torch.arange(frames, device=samples.device).clamp(max=frame_counts[0] - 1)
        return [state[index, 0] for state in states]


def _match_length(frames: torch.Tensor, count: int) -> torch.Tensor:
    """Return `count` of the frames `(B, T, D)`; if there are fewer, the last one is repeated.

    S3PRLUpstream does the same, but it raises AssertionError for some recordings of 50 to 65 ms.
    """
    return frames[:, torch.arange(count, device=frames.device).clamp(max=frames.shape[1] - 1)]


def _load(name: str) -> S3PRLUpstream:
    names = S3PRLUpstream.available_names(only_registered_ckpt=True)
    known = [known for known in names if known.islower()]  # other names are classes that s3prl's hub imports
    if name not in known:
        others = "Give your own encoder as ./DIRECTORY, and an encoder of the Hugging Face hub as OWNER/NAME."
        raise unknown_name("upstream", name, [*known, *opensmile.NAMES], where="--upstream", also=others)
    try:
        return S3PRLUpstream(name)
    except OSError as error:  # includes the connection errors of requests
        raise SoctkError(
            f"s3prl could not download the weights of {name} ({type(error).__name__})",
            remedy="The first use needs a network connection. Or give the directory of a checkpoint: --upstream DIR.",
            where="--upstream",
        ) from error
    except ImportError as error:
        raise SoctkError(
            f"s3prl's {name} needs a package that is missing ({error})",
            remedy="Install this package.",
            where="--upstream",
        ) from error
