"""Encoders on the GPU: one of each family with random weights, against the CPU, in batches and in half precision."""

import numpy as np
import pytest
import torch
from random_encoders import ENCODERS, write

from soctk.features import upstream

pytestmark = pytest.mark.gpu

LAYERS = range(4)
SAMPLES = (16000, 9001, 12345, 32000)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoders")
    for name in ENCODERS:
        write(root / name, name)
    return root


def noises() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.normal(0, 0.1, samples).astype(np.float32) for samples in SAMPLES]


def error(states: torch.Tensor, expected: torch.Tensor) -> float:
    return ((states.cpu() - expected.cpu()).norm() / expected.norm()).item()


@pytest.mark.parametrize("name", ENCODERS)
def test_frames_equal_those_on_the_cpu(checkpoints, device, name):
    on_cpu, on_device = (upstream.load(str(checkpoints / name), where) for where in ("cpu", device))
    for waveform in noises():
        expected, states = (each.hidden_states([waveform], LAYERS)[0] for each in (on_cpu, on_device))
        assert states.device.type == device
        assert error(states, expected) <= 1e-3  # cuDNN's convolutions use TF32


@pytest.mark.parametrize("name", ENCODERS)
def test_autocast_does_not_change_the_input_of_the_encoder(checkpoints, device, name):
    encoder = upstream.load(str(checkpoints / name), device)
    expected = encoder._extract_inputs(noises()[0])
    with torch.autocast(device, torch.bfloat16):
        assert torch.equal(encoder._extract_inputs(noises()[0]), expected)


@pytest.mark.parametrize("name", ENCODERS)
def test_frames_in_a_batch_equal_those_alone(checkpoints, device, name):
    encoder = upstream.load(str(checkpoints / name), device)
    assert encoder.batches
    for waveform, states in zip(noises(), encoder.hidden_states(noises(), LAYERS), strict=True):
        assert error(states, encoder.hidden_states([waveform], LAYERS)[0]) <= 1e-3


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ENCODERS)
def test_half_precision_gives_similar_frames(checkpoints, device, name, precision):
    exact, half = (upstream.load(str(checkpoints / name), device, each) for each in ("float32", precision))
    for expected, states in zip(
        exact.hidden_states(noises(), LAYERS), half.hidden_states(noises(), LAYERS), strict=True
    ):
        assert states.dtype == torch.float32
        assert 0 < error(states, expected) <= 0.05
