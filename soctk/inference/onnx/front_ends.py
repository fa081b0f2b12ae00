"""Front ends in numpy: a waveform becomes the input of the encoder's graph, or frames for encoders without one.

Each class is the form of a feature extractor, with its settings as fields. Its arrays, such as mel filters, are in a
file of their own (soctk.inference.onnx.form), so that they are exactly those of the feature extractor.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from soctk.schema import Section

Arrays = Mapping[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]

_Window = Annotated[int, Field(ge=2, le=1 << 16)]


class Samples(Section):
    """The input of wav2vec 2.0, HuBERT and WavLM: the waveform.

    Attributes:
        normalise: whether the waveform gets mean 0 and variance 1.
    """

    kind: Literal["samples"]
    normalise: bool

    def shapes(self) -> Shapes:
        """Return the shapes of the arrays, by name."""
        return {}

    def __call__(self, waveform: np.ndarray, arrays: Arrays) -> np.ndarray:
        """Return the input `(1, samples)` for a waveform `(samples,)`."""
        del arrays
        if self.normalise:
            waveform = (waveform - waveform.mean()) / np.sqrt(waveform.var() + np.float32(1e-7))
        return waveform[None]


class LogMel(Section):
    """The input of Whisper (Radford et al. 2022): log-mel spectrogram with a range of 8 in log10, shifted and scaled.

    Attributes:
        fft: the length of the Hann window, in samples.
        shift: the time between two frames, in samples.
        bins: the number of mel filters.
    """

    kind: Literal["log_mel"]
    fft: _Window
    shift: PositiveInt
    bins: PositiveInt

    def shapes(self) -> Shapes:
        """Return the shapes of the arrays, by name."""
        return {"mel": (self.fft // 2 + 1, self.bins)}

    def __call__(self, waveform: np.ndarray, arrays: Arrays) -> np.ndarray:
        """Return the input `(1, bins, frames)` for a waveform `(samples,)`, of more than half a window."""
        padded = np.pad(waveform, self.fft // 2, mode="reflect")
        window = np.hanning(self.fft + 1)[:-1]
        spectra = np.fft.rfft(_cut(padded, self.fft, self.shift)[:-1] * window)
        log = np.log10(np.maximum(np.square(np.abs(spectra)) @ arrays["mel"], 1e-10))
        log = np.maximum(log, log.max() - 8)
        return ((log.T[None] + 4) / 4).astype(np.float32)


class Kaldi(Section):
    """fbank and mfcc of s3prl, as Kaldi computes them, with derivatives; they are frames, and there is no graph.

    Attributes:
        length: of a window, in samples.
        shift: the time between two frames, in samples.
        fft: the length of the Fourier transform, in samples.
        bins: the number of mel filters.
        cepstra: the number of cepstral coefficients; 0 for fbank.
        deltas: how many times the derivative over time is added.
        normalise: whether each feature gets mean 0 and variance 1 over time.
    """

    kind: Literal["kaldi"]
    length: _Window
    shift: PositiveInt
    fft: _Window
    bins: PositiveInt
    cepstra: NonNegativeInt
    deltas: Annotated[int, Field(ge=0, le=2)]
    normalise: bool

    def shapes(self) -> Shapes:
        """Return the shapes of the arrays, by name."""
        cosines = {"cosines": (self.bins, self.cepstra)} if self.cepstra else {}
        return {"window": (self.length,), "mel": (self.fft // 2, self.bins), **cosines}

    def __call__(self, waveform: np.ndarray, arrays: Arrays) -> np.ndarray:
        """Return the hidden states `(1, T, D)` of a waveform `(samples,)`."""
        cut = _cut(waveform.astype(np.float64), self.length, self.shift)
        cut = cut - cut.mean(1, keepdims=True)
        before = np.concatenate([cut[:, :1], cut[:, :-1]], axis=1)
        spectra = np.abs(np.fft.rfft((cut - 0.97 * before) * arrays["window"], self.fft))[:, : self.fft // 2]
        frames = np.log(np.maximum(np.square(spectra) @ arrays["mel"], np.finfo(np.float32).eps))
        if self.cepstra:
            frames = frames @ arrays["cosines"]
        orders = [frames]
        for _ in range(self.deltas):
            orders.append(_derivative(orders[-1]))
        frames = np.concatenate(orders, axis=1)
        if self.normalise:
            # Features that are constant over time are 0, as in soctk.features.upstream.s3prl.
            varies = (np.ptp(frames, axis=0) > 0) & waveform.any()
            frames = varies * (frames - frames.mean(0)) / (frames.std(0, ddof=1) + 1e-10)
        # s3prl gives as many frames as there are shifts, and repeats the last one.
        rows = np.minimum(np.arange(-(-len(waveform) // self.shift)), len(frames) - 1)
        return frames[rows][None].astype(np.float32)


FrontEnd = Annotated[Samples | LogMel | Kaldi, Field(discriminator="kind")]


def _cut(samples: np.ndarray, length: int, shift: int) -> np.ndarray:
    """Return the windows `(N, length)` that lie inside of the samples."""
    return np.lib.stride_tricks.sliding_window_view(samples, length)[::shift]


def _derivative(frames: np.ndarray) -> np.ndarray:
    """Return the slope over time of a line through five frames, for each frame and feature `(T, D)`."""
    padded, count = np.pad(frames, [(2, 2), (0, 0)], mode="edge"), len(frames)
    return sum((k * padded[2 + k : 2 + k + count] for k in (-2, -1, 1, 2)), np.zeros(1)) / 10
