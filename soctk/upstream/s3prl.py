"""Upstreams of s3prl, by name: fbank, mfcc, wav2vec2_base_960, hubert_base, wavlm_base_plus, ..."""

import logging
import math
from importlib.metadata import version

import numpy as np
import torch

logging.getLogger("s3prl").setLevel(logging.ERROR)  # it warns of the optional packages of upstreams not asked for
from s3prl.nn import S3PRLUpstream  # noqa: E402
from s3prl.upstream.baseline.expert import UpstreamExpert as SpectralFeatures  # noqa: E402

from soctk.errors import SoctkError, unknown_name  # noqa: E402

SAMPLE_RATE = 16000  # of every s3prl upstream, in Hz


class S3prlUpstream:
    """An upstream of s3prl (soctk.upstream.Upstream), as `s3prl.nn.S3PRLUpstream` gives it.

    But for digital silence: there s3prl's fbank and mfcc divide by a standard deviation that is all rounding, and their
    frames, noise of any size, are given as zeros.
    """

    sample_rate = SAMPLE_RATE
    max_seconds = math.inf

    def __init__(self, name: str, device: str):
        self.name = name
        self.source = f"espnet-s3prl {version('espnet-s3prl')}: {name}"
        self._device = device
        self._model = _load(name).to(device).eval()
        self._is_spectral = isinstance(self._model.upstream, SpectralFeatures)
        self.frame_shift = 1000 * self._model.downsample_rates[-1] / SAMPLE_RATE
        self.hidden_sizes = list(self._model.hidden_sizes)

    @torch.inference_mode()
    def hidden_states(self, waveform: np.ndarray) -> list[torch.Tensor]:
        """See soctk.upstream.Upstream."""
        samples = torch.from_numpy(waveform).to(self._device)
        states, _ = self._model(samples[None], torch.tensor([len(waveform)]))
        if self._is_spectral and not waveform.any():
            states = [torch.zeros_like(state) for state in states]
        return [state[0].float().cpu() for state in states]


def _load(name: str) -> S3PRLUpstream:
    names = S3PRLUpstream.available_names(only_registered_ckpt=True)
    known = [known for known in names if known.islower()]  # the others are classes that s3prl's hub imports
    if name not in known:
        raise unknown_name("upstream", name, known, where="--upstream")
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
