"""Models with random weights, on fbank if nothing else is given, and noise, for tests that need no training."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

from soctk import config
from soctk.features import upstream
from soctk.inference.bundle import FORMAT, PRIOR, Bundle, EncoderSettings, ModelSettings
from soctk.inference.recogniser import Recogniser
from soctk.inference.result import TimedResult
from soctk.inference.torch_runtime import TorchRuntime
from soctk.schema import Normalisation
from soctk.training.classifier import EmotionClassifier

RATE = 8000


def noise(seconds: float, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Return noise `(channels, samples)`, the loudness of which changes."""
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, (channels, round(RATE * seconds)))
    return (samples * np.sin(np.arange(samples.shape[1]) / RATE)).astype(np.float32)


def random_bundle(
    pooling: str = "mean",
    head: str = "linear",
    *overrides: str,
    channel: str = "1",
    speeds: tuple[float, ...] = (),
    normalise: Normalisation = "none",
    name: str = "fbank",
    layers: Sequence[int] = (0,),
) -> Bundle:
    """Return a model of three emotions, on some hidden states of an encoder."""
    encoder = upstream.load(name)
    experiment = config.load([ROOT / "conf"], pooling, head, overrides=overrides)
    settings = ModelSettings(
        format=FORMAT,
        emotions=["calm", "angry", "sad"],
        channel=channel,
        speeds=list(speeds),
        normalise=normalise,
        encoder=EncoderSettings(
            name=encoder.name,
            source=encoder.source,
            layers=list(layers),
            hidden_size=encoder.hidden_sizes[0],
            sample_rate=encoder.sample_rate,
            frame_shift_ms=encoder.frame_shift,
            precision="float32",
            dtype="float16",
        ),
        experiment=experiment,
        training={"experiment": "random", "folds": "all"},
        made_with={"soctk": "0.1.0"},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = EmotionClassifier(encoder.hidden_sizes[0], len(layers), 3, experiment).eval()
        weights = {name: weight.numpy() for name, weight in classifier.state_dict().items()}
        if experiment.recentre.by == "speaker":
            weights[PRIOR] = torch.randn(classifier.descriptor_size).numpy()
    return Bundle(settings, weights, ["0" * 64], Path("model"))


def random_model(*args, **options) -> Recogniser:
    """Return a recogniser; the arguments are those of `random_bundle`."""
    bundle = random_bundle(*args, **options)
    return Recogniser(bundle, TorchRuntime(bundle, upstream.load(options.get("name", "fbank"))))


def assert_same(segments: Iterable[TimedResult], expected: Iterable[TimedResult]) -> None:
    """Check that segments have the same bounds and, up to rounding, the same posteriors."""
    for ours, other in zip(segments, expected, strict=True):
        assert (ours.start, ours.end) == (other.start, other.end)
        assert ours.result.posteriors == pytest.approx(other.result.posteriors, abs=1e-5)
