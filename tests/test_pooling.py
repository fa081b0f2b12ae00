import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soctk import pooling
from soctk.errors import SoctkError

OPTIONS = {"mean": {}, "soc": {"d": 4, "eps": 1e-5}}
D = 6

with np.load(Path(__file__).parent / "golden" / "soc_reference.npz") as archive:
    GOLDEN = dict(archive)
CASES = sorted({name.partition("/")[0] for name in GOLDEN})


def make(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return pooling.create(name, D, OPTIONS[name])


@pytest.fixture(params=sorted(pooling.POOLINGS))
def layer(request) -> torch.nn.Module:
    return make(request.param)


def test_every_layer_has_options_here_and_defaults_in_conf(conf):
    shipped = {file.stem for file in (conf[0] / "pooling").glob("*.yaml")}
    assert set(OPTIONS) == set(pooling.POOLINGS) == shipped


@pytest.mark.parametrize("case", CASES)
def test_soc_is_the_authors_in_value_and_gradient(case):
    golden = {
        name: torch.from_numpy(GOLDEN[f"{case}/{name}"])
        for name in ("x", "weight", "out", "upstream_grad", "grad_x", "grad_weight")
    }
    frames = golden["x"].requires_grad_()
    d, input_size = golden["weight"].shape
    layer = pooling.SOC(input_size, d=d, eps=1e-5).to(frames.dtype)
    layer.projection.weight.data = golden["weight"]
    out = layer(frames, torch.full((len(frames),), frames.shape[1]))
    out.backward(golden["upstream_grad"])
    tolerance = 1e-8 if frames.dtype == torch.float64 else 2e-4
    for computed, name in ((out, "out"), (frames.grad, "grad_x"), (layer.projection.weight.grad, "grad_weight")):
        error = (computed.detach() - golden[name]).abs().max() / golden[name].abs().max()
        assert error <= tolerance, f"{name} is off by {error:.1e}"


@pytest.mark.parametrize("name", pooling.POOLINGS)
@given(seed=st.integers(0, 2**32 - 1), lengths=st.lists(st.integers(2, 30), min_size=1, max_size=4))
def test_an_utterance_has_one_descriptor_alone_in_any_batch_padded_by_anything(name, seed, lengths):
    layer, generator = make(name), torch.Generator().manual_seed(seed)
    utterances = [torch.randn(length, D, generator=generator) for length in lengths]
    batch = torch.full((len(lengths), max(lengths) + 5, D), math.nan)
    for row, utterance in zip(batch, utterances, strict=True):
        row[: len(utterance)] = utterance
    together = layer(batch, torch.tensor(lengths))
    for result, utterance in zip(together, utterances, strict=True):
        alone = layer(utterance[None], torch.tensor([len(utterance)]))[0]
        assert (result - alone).abs().max() <= 1e-5 * alone.abs().max()


@pytest.mark.parametrize("name", pooling.POOLINGS)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(2, 30))
def test_the_order_of_the_frames_does_not_matter(name, seed, length):
    layer, generator = make(name).double(), torch.Generator().manual_seed(seed)
    frames = torch.randn(1, length, D, generator=generator, dtype=torch.float64)
    shuffled = frames[:, torch.randperm(length, generator=generator)]
    torch.testing.assert_close(layer(shuffled, torch.tensor([length])), layer(frames, torch.tensor([length])))


def test_padding_gets_no_gradient(layer):
    frames = torch.randn(2, 9, D, requires_grad=True)
    layer(frames, torch.tensor([4, 9])).square().sum().backward()
    assert not frames.grad[0, 4:].any()
    assert frames.grad[0, :4].any()
    assert frames.grad[1].any()


DEGENERATE = {
    "silence": torch.zeros(2, 8, D),
    "constant frames": torch.full((2, 8, D), 3.7),
    "one frame": torch.randn(2, 1, D, generator=torch.Generator().manual_seed(0)),
    "fewer frames than d": torch.randn(2, 2, D, generator=torch.Generator().manual_seed(0)),
    "tiny": 1e-12 * torch.randn(2, 8, D, generator=torch.Generator().manual_seed(0)),
    "huge": 1e12 * torch.randn(2, 8, D, generator=torch.Generator().manual_seed(0)),
}


@pytest.mark.parametrize("frames", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_utterances_have_finite_values_and_gradients(layer, frames):
    frames = frames.clone().requires_grad_()
    out = layer(frames, torch.full((2,), frames.shape[1]))
    out.sum().backward()
    gradients = [frames.grad, *(parameter.grad for parameter in layer.parameters())]
    assert all(tensor.isfinite().all() for tensor in [out, *gradients])


def test_a_silent_utterance_leaves_the_gradients_of_the_others_alone():
    frames = torch.randn(3, 8, D, generator=torch.Generator().manual_seed(0))
    gradients = []
    for batch in (frames[:2], torch.stack([frames[0], frames[1], torch.zeros(8, D)])):
        layer = make("soc")
        layer(batch, torch.full((len(batch),), 8))[:2].sum().backward()
        gradients.append(layer.projection.weight.grad)
    torch.testing.assert_close(*gradients)


def test_silence_has_the_descriptor_of_the_identity_times_eps():
    out = make("soc")(torch.zeros(1, 8, D), torch.tensor([8]))[0]
    expected = torch.zeros(4, 4) + torch.eye(4) * np.log(1e-5)
    torch.testing.assert_close(out, expected[tuple(torch.triu_indices(4, 4))], rtol=1e-5, atol=1e-5)


def test_output_size_is_what_comes_out(layer):
    assert layer.input_size == D
    assert layer(torch.randn(2, 8, D), torch.tensor([8, 5])).shape == (2, layer.output_size)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("soq", {}, "Did you mean 'soc'? Known: mean, soc"),
        ("soc", {"d": 4, "epz": 1e-5}, "unknown option 'epz'\nDid you mean 'eps'? Known: d, eps"),
        ("soc", {"d": 4}, "no value for eps"),
        ("mean", {"d": 4}, "unknown option 'd'"),
        ("soc", {"d": 0, "eps": 1e-5}, "d: Input should be greater than 0, not 0"),
        ("soc", {"d": 8.5, "eps": 1e-5}, "d: Input should be a valid integer"),
        ("soc", {"d": "wide", "eps": 1e-5}, "not 'wide'"),
        ("soc", {"d": 4, "eps": 0.0}, "eps: Input should be greater than 0, not 0.0"),
    ],
)
def test_a_wrong_name_or_option_is_one_message(name, options, message):
    with pytest.raises(SoctkError) as error:
        pooling.create(name, D, options)
    assert message in str(error.value)
