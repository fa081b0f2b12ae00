"""Upstreams of s3prl, by name: fbank, mfcc, wav2vec2_base_960, hubert_base, wavlm_base_plus, ..."""

import logging
from importlib.metadata import version

import numpy as np
import torch

logging.getLogger("s3prl").setLevel(logging.ERROR)  # it warns of the optional packages of upstreams not asked for
from s3prl.nn import S3PRLUpstream  # noqa: E402

from soctk.errors import SoctkError, unknown_name  # noqa: E402

SAMPLE_RATE = 16000  # of every s3prl upstream, in Hz


class S3prlUpstream:
    """An upstream of s3prl (soctk.upstream.Upstream), as `s3prl.nn.S3PRLUpstream` gives it."""

    sample_rate = SAMPLE_RATE

    def __init__(self, name: str, device: str):
        self.name = name
        self.source = f"espnet-s3prl {version('espnet-s3prl')}: {name}"
        self._device = device
        self._model = _load(name).to(device).eval()
        self.frame_shift = 1000 * self._model.downsample_rates[-1] / SAMPLE_RATE
        self.num_layers = self._model.num_layers
        self.hidden_size = self._model.hidden_sizes[-1]

    @torch.inference_mode()
    def hidden_states(self, waveform: np.ndarray) -> list[torch.Tensor]:
        """See soctk.upstream.Upstream."""
        samples = torch.from_numpy(waveform).to(self._device)
        states, _ = self._model(samples[None], torch.tensor([len(waveform)]))
        return [state[0].float().cpu() for state in states]


def _load(name: str) -> S3PRLUpstream:
    known = S3PRLUpstream.available_names(only_registered_ckpt=True)
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
