"""Values, gradients and errors of the pooling layers, against the authors' layer, numpy and pyriemann."""

import inspect
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyriemann.geometry.tangentspace import tangent_space

from soctk import pooling
from soctk.mappings import read_yaml

# A value for each option of each layer.
OPTIONS = {
    "mean": {},
    "stats": {"eps": 1e-10},
    "asp": {"hidden": 5, "eps": 1e-10},
    "soc": {"d": 4, "eps": 1e-5, "shrinkage": 0.0, "normalisation": "trace"},
    "soc_nolem": {"d": 4, "eps": 1e-5, "shrinkage": 0.1, "normalisation": "none"},
    "soc_full": {"d": 0, "shrinkage": 0.1, "eps": 1e-8, "normalisation": "mean"},
    "corr": {"eps": 1e-10},
}
D = 6
# Every layer alone, layers with other options, and a concatenation.
LAYERS = {
    **{name: (name, {}) for name in pooling.POOLINGS},
    "soc, d > T": ("soc", {"d": 9}),
    "soc, with shrinkage": ("soc", {"shrinkage": 0.2}),
    "soc, mean normalisation": ("soc", {"normalisation": "mean"}),
    "soc, no normalisation": ("soc", {"normalisation": "none", "eps": 1e-3}),
    "soc_full, with projection": ("soc_full", {"d": 3}),
    "mean+soc_full": ("mean+soc_full", {}),
}

with np.load(Path(__file__).parents[1] / "golden" / "soc_reference.npz") as archive:
    GOLDEN = dict(archive)
CASES = sorted({name.partition("/")[0] for name in GOLDEN})


def make(name: str) -> pooling.Pooling:
    torch.manual_seed(0)
    poolings, changed = LAYERS[name]
    return pooling.create(poolings, D, {part: OPTIONS[part] | changed for part in poolings.split("+")})


@pytest.fixture(params=LAYERS)
def layer(request) -> pooling.Pooling:
    return make(request.param)


def test_options_in_conf_equal_the_defaults_of_the_constructors(conf):
    shipped = {file.stem: read_yaml(file) for file in (conf[0] / "pooling").glob("*.yaml")}
    assert set(OPTIONS) == set(pooling.POOLINGS) == set(shipped)
    for name, options in shipped.items():
        parameters = inspect.signature(pooling.POOLINGS[name]).parameters
        assert {option: parameters[option].default for option in parameters if option != "input_size"} == options


@pytest.mark.parametrize("case", CASES)
def test_soc_equals_the_authors_layer_in_value_and_gradient(case):
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


@pytest.mark.parametrize("name", LAYERS)
@given(seed=st.integers(0, 2**32 - 1), lengths=st.lists(st.integers(2, 30), min_size=1, max_size=4))
def test_descriptors_do_not_depend_on_batch_and_padding(name, seed, lengths):
    layer, generator = make(name), torch.Generator().manual_seed(seed)
    utterances = [torch.randn(length, D, generator=generator) for length in lengths]
    batch = torch.full((len(lengths), max(lengths) + 5, D), math.nan)
    for row, utterance in zip(batch, utterances, strict=True):
        row[: len(utterance)] = utterance
    together = layer(batch, torch.tensor(lengths))
    for result, utterance in zip(together, utterances, strict=True):
        alone = layer(utterance[None], torch.tensor([len(utterance)]))[0]
        assert (result - alone).abs().max() <= 1e-5 * alone.abs().max()


@pytest.mark.parametrize("name", LAYERS)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(2, 30))
def test_descriptors_do_not_depend_on_the_order_of_frames(name, seed, length):
    layer, generator = make(name).double(), torch.Generator().manual_seed(seed)
    frames = torch.randn(1, length, D, generator=generator, dtype=torch.float64)
    shuffled = frames[:, torch.randperm(length, generator=generator)]
    torch.testing.assert_close(layer(shuffled, torch.tensor([length])), layer(frames, torch.tensor([length])))


@pytest.mark.parametrize("padding", [0.0, torch.nan, torch.inf])
def test_padding_has_no_gradient_and_no_effect_on_gradients(layer, padding):
    own = torch.randn(2, 9, D, generator=torch.Generator().manual_seed(0))
    gradients = []
    for value in (0.0, padding):
        layer.zero_grad()
        frames = own.clone()
        frames[0, 4:] = value
        layer(frames.requires_grad_(), torch.tensor([4, 9])).square().sum().backward()
        assert not frames.grad[0, 4:].any()
        assert frames.grad[0, :4].any()
        assert frames.grad[1].any()
        gradients.append([frames.grad, *(parameter.grad for parameter in layer.parameters())])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-6, atol=0)


DEGENERATE = {
    "silence": torch.zeros(2, 8, D),
    "constant frames": torch.full((2, 8, D), 3.7),
    "one frame": torch.randn(2, 1, D, generator=torch.Generator().manual_seed(0)),
    "fewer frames than d": torch.randn(2, 2, D, generator=torch.Generator().manual_seed(0)),
    "equal columns": torch.randn(2, 8, 1, generator=torch.Generator().manual_seed(0)).expand(2, 8, D),
    "float16": torch.randn(2, 8, D, generator=torch.Generator().manual_seed(0)).half(),
    "float16 at its largest": torch.full((2, 8, D), 65504.0).half() * torch.tensor([1.0, -1.0] * 4).half()[:, None],
    "bfloat16": torch.randn(2, 8, D, generator=torch.Generator().manual_seed(0)).bfloat16(),
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
    assert out.dtype == torch.float32


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_infinity_raise_unless_they_are_padding(layer, value):
    frames = torch.randn(2, 8, D, generator=torch.Generator().manual_seed(0))
    frames[1, 5, 2] = value
    assert layer(frames, torch.tensor([8, 5])).isfinite().all()
    with pytest.raises(ValueError, match="frames of utterance 1 of the batch are NaN, infinite or too large"):
        layer(frames, torch.tensor([8, 6]))


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((2, 8, D + 1), [8, 8], rf"frames \(B, T, {D}\) are needed, not \(2, 8, {D + 1}\)"),
        ((2, 8, D), [8, 9], r"lengths must be within 1..8, not \[8, 9\]"),
        ((2, 8, D), [8, 0], r"lengths must be within 1..8, not \[8, 0\]"),
        ((2, 8, D), [8], r"are needed, not \(2, 8, \d\) and \(1,\)"),
    ],
)
def test_wrong_shapes_and_lengths_raise(layer, shape, lengths, message):
    with pytest.raises(ValueError, match=message):
        layer(torch.randn(shape), torch.tensor(lengths))


def test_a_silent_utterance_does_not_change_the_gradients_of_others():
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


def test_statistics_equal_numpys():
    frames = torch.randn(1, 8, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    own = frames[0, :6].numpy()
    expected = np.concatenate([own.mean(0), own.std(0, ddof=1)])
    np.testing.assert_allclose(make("stats")(frames, torch.tensor([6]))[0], expected, rtol=1e-12)


def test_attentive_statistics_equal_numpys_weighted_ones():
    layer = make("asp").double()
    frames = torch.randn(1, 8, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    own = frames[0, :6].numpy()
    hidden, out = layer.attention[0], layer.attention[2]
    scores = (
        np.tanh(own @ hidden.weight.detach().numpy().T + hidden.bias.detach().numpy()) @ out.weight[0].detach().numpy()
    )
    weights = np.exp(scores) / np.exp(scores).sum()
    mean = np.average(own, axis=0, weights=weights)
    deviation = np.sqrt(np.average((own - mean) ** 2, axis=0, weights=weights))
    result = layer(frames, torch.tensor([6]))[0].detach()
    np.testing.assert_allclose(result, np.concatenate([mean, deviation]), rtol=1e-12)


def test_soc_nolem_equals_numpys_regularised_covariance():
    layer = make("soc_nolem").double()
    frames = torch.randn(1, 8, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    covariance = np.cov(layer.projection(frames)[0].detach(), rowvar=False)
    expected = 0.9 * covariance + (0.1 * np.trace(covariance) / 4 + 1e-5) * np.eye(4)
    np.testing.assert_allclose(layer(frames, torch.tensor([8]))[0].detach(), expected[np.triu_indices(4)], rtol=1e-12)


def test_soc_full_equals_pyriemanns_tangent_vector():
    frames = torch.randn(1, 4, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    covariance = np.cov(frames[0], rowvar=False)
    regularised = 0.9 * covariance + 0.1 * np.trace(covariance) / D * np.eye(D)
    regularised = regularised / (np.trace(covariance) / D + 1e-8) + 1e-8 * np.eye(D)
    expected = tangent_space(regularised[None], np.eye(D), metric="logeuclid")
    np.testing.assert_allclose(make("soc_full")(frames, torch.tensor([4])), expected, rtol=1e-9, atol=1e-9)


def test_projection_of_soc_full_nearly_keeps_distances():
    frames = torch.randn(12, 30, 200, generator=torch.Generator().manual_seed(0)) * torch.logspace(0, -1, 200)
    full, projected = (pooling.SOCFull(200, d=d)(frames, torch.full((12,), 30)) for d in (0, 100))
    ratio = torch.pdist(projected) / torch.pdist(full)
    assert ratio.std() / ratio.mean() < 0.03
    again = pooling.SOCFull(200, d=100)(frames, torch.full((12,), 30))
    assert torch.equal(again, projected), "the projection must be the same in every layer"


def test_concatenated_descriptors_follow_the_given_order():
    frames, lengths = torch.randn(2, 8, D), torch.tensor([8, 5])
    together = make("mean+soc_full")
    torch.testing.assert_close(
        together(frames, lengths), torch.cat([make("mean")(frames, lengths), make("soc_full")(frames, lengths)], 1)
    )
    options = {name: OPTIONS[name] for name in ("mean", "stats")}
    turned = pooling.create("stats+mean", D, options)(frames, lengths)
    torch.testing.assert_close(turned[:, 2 * D :], make("mean")(frames, lengths))


def test_gram_matrix_and_covariance_give_the_same_descriptor():
    """40 frames of 256 dimensions use the Gram matrix; padded to 300, the covariance. Their rank is nearly 1."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(1, 40, 1, generator=generator) * torch.randn(256, generator=generator)
    frames = frames + 1e-2 * torch.randn(1, 40, 256, generator=generator)
    for shrinkage in (0.0, 0.1, 0.7):
        layer = pooling.SOCFull(256, shrinkage=shrinkage, eps=1e-5)
        alone, padded = (
            layer(frames, torch.tensor([40])),
            layer(torch.cat([frames, torch.zeros(1, 260, 256)], 1), torch.tensor([40])),
        )
        assert (alone - padded).abs().max() <= 1e-5 * alone.abs().max()


def test_a_result_too_large_for_float32_raises():
    layer = pooling.SOCNoLEM(D, d=4, normalisation="none")
    with pytest.raises(ValueError, match="frames of utterance 0 of the batch are NaN, infinite or too large"):
        layer(1e20 * torch.randn(1, 8, D), torch.tensor([8]))


def test_an_unknown_normalisation_raises():
    with pytest.raises(ValueError, match="normalisation must be one of trace, mean, none, not 'norm'"):
        pooling.SOC(D, normalisation="norm")


def test_input_size_is_the_only_required_argument():
    for layer in pooling.POOLINGS.values():
        assert layer(D)(torch.randn(2, 8, D), torch.tensor([8, 5])).isfinite().all()


def test_output_size_is_the_width_of_the_descriptor(layer):
    assert layer.input_size == D
    assert layer(torch.randn(2, 8, D), torch.tensor([8, 5])).shape == (2, layer.output_size)


def test_concatenated_frames_give_the_descriptors_of_the_padded_batch(layer):
    lengths = torch.tensor([4, 9, 1])
    utterances = [torch.randn(length, D, generator=torch.Generator().manual_seed(int(length))) for length in lengths]
    padded = torch.nn.utils.rnn.pad_sequence(utterances, batch_first=True)
    expected = layer(padded, lengths)
    for dtype in (torch.float32, torch.bfloat16):
        result = layer.pool_concatenated(torch.cat(utterances).to(dtype), lengths)
        assert result.dtype == torch.float32
        if dtype == torch.float32:
            torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="lengths add up to 13, but there are 14 frames"):
        layer.pool_concatenated(torch.cat(utterances), torch.tensor([4, 8, 1]))
