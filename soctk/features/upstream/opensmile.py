"""Acoustic features of openSMILE: the extended Geneva minimalistic acoustic parameter set, eGeMAPS (extra egemaps)."""

import math
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import torch

from soctk.errors import missing_package

# The beginning of the source of these upstreams in feature stores and models.
PACKAGE = "opensmile"
FUNCTIONALS = "egemaps"
# Name of the upstream -> feature level of opensmile, values of a frame, and ms between two frames.
_LEVELS: dict[str, tuple[str, int, float | None]] = {
    FUNCTIONALS: ("Functionals", 88, None),
    "egemaps-lld": ("LowLevelDescriptors", 25, 10.0),
}
NAMES = tuple(_LEVELS)
_SET = "eGeMAPSv02"
_SHORTEST = 960  # samples: the window of the pitch detection, 60 ms


class OpensmileUpstream:
    """eGeMAPS (Eyben et al. 2016, doi:10.1109/TAFFC.2015.2457417) with the interface soctk.features.upstream.Upstream.

    The values are those of `opensmile.Smile.process_signal` for the waveform. `egemaps` has the 88 functionals of an
    utterance, in one frame; `egemaps-lld` has 25 low-level descriptors every 10 ms. A waveform of less than 60 ms is
    extended to 60 ms with zeros, because opensmile gives NaN for it.

    Args:
        name: one of NAMES.

    Raises:
        SoctkError: the package opensmile is not installed.
    """

    hub = ""
    sample_rate = 16000  # Hz
    max_seconds = math.inf
    batches = False
    has_units = True
    note = (
        "eGeMAPS is computed by opensmile, whose licence permits non-commercial use and research only: "
        "https://github.com/audeering/opensmile-python#license"
    )

    def __init__(self, name: str):
        try:
            import opensmile
        except ImportError as error:
            raise missing_package(PACKAGE, "egemaps", "eGeMAPS", f"--upstream {name}") from error
        level, size, self.frame_shift = _LEVELS[name]
        self.name = name
        self.source = f"{PACKAGE} {version(PACKAGE)}: {name}"
        self.hidden_sizes = [size]
        self._smile = opensmile.Smile(opensmile.FeatureSet[_SET], opensmile.FeatureLevel[level])

    def hidden_states(self, waveforms: Sequence[np.ndarray], layers: Sequence[int]) -> list[torch.Tensor]:
        """See soctk.features.upstream.Upstream."""
        (waveform,) = waveforms
        samples = np.pad(waveform, (0, max(0, _SHORTEST - len(waveform))))
        values = self._smile.process_signal(samples, self.sample_rate).to_numpy(np.float32)
        return [torch.tensor(values)[None].expand(len(layers), -1, -1)]
