"""Upstreams of s3prl, by name: fbank, mfcc, wav2vec2_base_960, hubert_base, wavlm_base_plus, ..."""

import logging
import math
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import torch

logging.getLogger("s3prl").setLevel(logging.ERROR)  # it warns of the optional packages of upstreams not asked for
from s3prl.nn import S3PRLUpstream  # noqa: E402
from s3prl.upstream.baseline.expert import UpstreamExpert as SpectralFeatures  # noqa: E402
from s3prl.upstream.hubert.expert import UpstreamExpert as Hubert  # noqa: E402
from s3prl.upstream.wav2vec2.expert import UpstreamExpert as Wav2Vec2  # noqa: E402
from s3prl.upstream.wavlm.expert import UpstreamExpert as WavLM  # noqa: E402

from soctk import onednn  # noqa: E402
from soctk.errors import SoctkError, unknown_name  # noqa: E402
from soctk.features.upstream import early_exit  # noqa: E402

SAMPLE_RATE = 16000  # of every s3prl upstream, in Hz


class S3prlUpstream:
    """An upstream of s3prl (soctk.features.upstream.Upstream), as `s3prl.nn.S3PRLUpstream` gives it, one utterance at a time.

    But for digital silence: there s3prl's fbank and mfcc divide by a standard deviation that is all rounding, and their
    frames, noise of any size, are given as zeros.
    """

    sample_rate = SAMPLE_RATE
    max_seconds = math.inf
    # Some of its encoders normalise over the padded batch, and nothing tells which.
    batches = False

    def __init__(self, name: str, device: str, precision: str):
        self.name = name
        self.source = f"espnet-s3prl {version('espnet-s3prl')}: {name}"
        self._device = device
        self._autocast = torch.autocast(device, getattr(torch, precision), enabled=precision != "float32")
        self._model = _load(name).to(device).eval()
        if precision == "float32":
            onednn.pack(self._model)
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
                states = self._lower_states(samples, layers)
            else:
                every_state, _ = self._model(samples[None], torch.tensor([len(waveform)]))
                states = [every_state[layer][0] for layer in layers]
        stacked = torch.stack(states).float()
        if isinstance(self._expert, SpectralFeatures) and not waveform.any():
            stacked.zero_()
        return [stacked]

    def _lower_states(self, samples: torch.Tensor, layers: Sequence[int]) -> list[torch.Tensor]:
        """Return states `(T, D)` below the last, as many frames as S3PRLUpstream gives: the end may stand twice."""
        encoder = self._expert.model.encoder
        entering: list[int] = []  # frames, before the encoder pads them to an even number
        counter = encoder.register_forward_pre_hook(lambda _, args: entering.append(args[0].shape[1]))
        try:
            states = early_exit.hidden_states(lambda: self._expert([samples]), encoder.layers, layers)
        finally:
            counter.remove()
        frames = math.ceil(len(samples) / self._model.downsample_rates[-1])
        index = torch.arange(frames, device=samples.device).clamp(max=entering[0] - 1)
        return [state[index, 0] for state in states]


def _load(name: str) -> S3PRLUpstream:
    names = S3PRLUpstream.available_names(only_registered_ckpt=True)
    known = [known for known in names if known.islower()]  # the others are classes that s3prl's hub imports
    if name not in known:
        others = "An encoder of your own is given by its folder, ./FOLDER, one of the Hugging Face hub as OWNER/NAME."
        raise unknown_name("upstream", name, known, where="--upstream", also=others)
    try:
        return S3PRLUpstream(name)
    except OSError as error:  # requests' connection errors too
        raise SoctkError(
            f"s3prl could not get the weights of {name} ({type(error).__name__})",
            remedy="Connect to the network for the first use, or give a checkpoint's folder: --upstream DIR.",
            where="--upstream",
        ) from error
    except ImportError as error:
        raise SoctkError(
            f"s3prl's {name} needs a package that is not there ({error})", remedy="Install it.", where="--upstream"
        ) from error
