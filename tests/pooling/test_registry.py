"""Pooling layers by name: wrong names and options give one message; is_trained needs neither options nor data."""

import pytest
import torch
from test_layers import OPTIONS, D

from soctk import pooling
from soctk.errors import SoctkError

SOC = OPTIONS["soc"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("soq", {}, "Did you mean 'soc'? Known: asp, corr, mean, soc, soc_full, soc_nolem, stats"),
        ("mean+soq", {"mean": {}}, "--pooling mean+soq: unknown pooling 'soq'"),
        ("mean+mean", {"mean": {}}, "a pooling is named twice"),
        ("soc", {"soc": SOC | {"epz": 1e-5}}, "unknown option 'epz'\nDid you mean 'eps'? Known: d, eps, normalisation"),
        ("soc", {"soc": {"d": 4}}, "no value for eps, shrinkage, normalisation"),
        ("mean", {"mean": {"d": 4}}, "unknown option 'd'"),
        ("soc", {"soc": SOC | {"d": 0}}, "d: Input should be greater than 0, not 0"),
        ("soc", {"soc": SOC | {"d": 8.5}}, "d: Input should be a valid integer"),
        ("soc", {"soc": SOC | {"d": "wide"}}, "not 'wide'"),
        ("soc", {"soc": SOC | {"eps": 0.0}}, "eps: Input should be greater than or equal to 0.000000000001, not 0.0"),
        ("soc", {"soc": SOC | {"shrinkage": 1.5}}, "shrinkage: Input should be less than or equal to 1, not 1.5"),
        (
            "soc",
            {"soc": SOC | {"normalisation": "norm"}},
            "normalisation: Input should be 'trace', 'mean' or 'none', not 'norm'",
        ),
        ("soc_full", {"soc_full": OPTIONS["soc_full"] | {"d": -1}}, "d: Input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_name_or_option_gives_one_message(name, options, message):
    with pytest.raises(SoctkError) as error:
        pooling.create(name, D, options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("mean", False), ("stats", False), ("asp", True), ("soc", True), ("soc_nolem", True), ("soc_full", False)),
        ("corr", False),
        *(("mean+soc_full", False), ("mean+asp", True), ("soc+mean", True)),
    ],
)
def test_is_trained_tells_whether_a_layer_has_parameters(name, expected):
    state = torch.get_rng_state()
    assert pooling.is_trained(name) == expected
    assert torch.equal(torch.get_rng_state(), state), "the random numbers of the caller must not change"
    layer = pooling.create(name, D, {part: OPTIONS[part] for part in name.split("+")})
    assert (len(list(layer.parameters())) > 0) == layer.is_trained == expected


def test_is_trained_refuses_unknown_names():
    with pytest.raises(SoctkError, match=r"--pooling mean\+asq: unknown pooling 'asq'\nDid you mean 'asp'"):
        pooling.is_trained("mean+asq")
