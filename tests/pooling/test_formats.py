"""The formats that layers support: autocast, state_dict, deepcopy, pickle, torch.compile; and what the import loads."""

import copy
import pickle
import sys

import pytest
import torch
from conftest import run_python
from test_layers import LAYERS, D, make
from torch import nn

from soctk import pooling
from soctk.pooling import spd

LENGTHS = torch.tensor([30, 12])


@pytest.fixture(params=LAYERS)
def name(request) -> str:
    return request.param


def frames_of(time: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(2, time, D, generator=torch.Generator().manual_seed(0)).to(dtype)


def outcome(layer: nn.Module, frames: torch.Tensor, lengths: torch.Tensor, autocast: torch.dtype | None = None):
    """Return the descriptors and all gradients, with forward and backward inside an autocast block if one is given."""
    layer.zero_grad()
    x = frames.clone().requires_grad_()
    with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
        descriptors = layer(x, lengths)
        descriptors.square().sum().backward()
    return [descriptors.detach(), x.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("time", [3, 30], ids=["T < D", "T >= D"])
@pytest.mark.parametrize("rounded", [True, False], ids=["frames in half precision", "frames in float32"])
def test_autocast_changes_no_bit_of_descriptors_and_gradients(name, time, dtype, rounded):
    layer, frames, lengths = make(name), frames_of(time, dtype if rounded else torch.float32), LENGTHS.clamp(max=time)
    expected, results = outcome(layer, frames, lengths), outcome(layer, frames, lengths, dtype)
    assert results[0].dtype == torch.float32
    for result, exact in zip(results, expected, strict=True):
        assert torch.equal(result, exact)
    flat = torch.cat([row[:length] for row, length in zip(frames, lengths, strict=True)])
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        assert torch.equal(layer(frames, lengths), layer(frames.float(), lengths))
        torch.testing.assert_close(layer.pool_concatenated(flat, lengths), expected[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("time", [3, 30], ids=["T < D", "T >= D"])
def test_autocast_changes_no_bit_of_the_functions_on_matrices(time, dtype):
    functions = {
        "log_covariance": lambda x, n: spd.log_covariance(x, n, 0.1, 1e-5),
        "matrix_log": lambda x, n: spd.matrix_log(spd.covariance(x, n) + torch.eye(D)),
        "factored_log": lambda x, n: spd.factored_log(x.detach(), n, 0.1, 1e-5).factor + 0 * x.sum(),
    }
    for function in functions.values():
        results = []
        for enabled in (False, True):
            x = frames_of(time).requires_grad_()
            with torch.autocast("cpu", dtype=dtype, enabled=enabled):
                value = function(x, LENGTHS.clamp(max=time))
                value.square().sum().backward()
            results.append((value.detach(), x.grad))
        assert all(map(torch.equal, *results))


def test_a_model_trains_under_autocast():
    """The encoder before the layer and the head after it run in bfloat16."""
    torch.manual_seed(0)
    encoder, layer, head = nn.Linear(D, D), pooling.SOC(D, d=4), nn.Linear(10, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = encoder(frames_of(30))
        scores = head(layer(encoded, LENGTHS))
    assert (encoded.dtype, scores.dtype) == (torch.bfloat16, torch.bfloat16)
    scores.float().square().sum().backward()
    for module in (encoder, layer, head):
        assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in module.parameters())


def test_state_dict_survives_saving_and_strict_loading(name, tmp_path):
    layer, other = make(name), make(name)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    other.load_state_dict(torch.load(tmp_path / "layer.pt", weights_only=True), strict=True)
    assert torch.equal(other(frames_of(30), LENGTHS), layer(frames_of(30), LENGTHS))


def pickled(layer: nn.Module) -> nn.Module:
    return pickle.loads(pickle.dumps(layer))  # noqa: S301


@pytest.mark.parametrize("clone", [copy.deepcopy, pickled])
def test_copies_and_pickles_give_the_same_descriptors_and_gradients(name, clone):
    layer = make(name)
    layer(frames_of(30), LENGTHS)  # a layer that has been used
    other = clone(layer)
    for result, expected in zip(*(outcome(each, frames_of(30), LENGTHS) for each in (other, layer)), strict=True):
        assert torch.equal(result, expected)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert all(parameter.any() for parameter in layer.parameters()), "the copy must not share its parameters"


class Model(nn.Module):
    def __init__(self, layer: pooling.Pooling):
        super().__init__()
        self.encoder, self.layer, self.head = nn.Linear(D, D), layer, nn.Linear(layer.output_size, 3)

    def forward(self, frames, lengths):
        return self.head(self.layer(torch.tanh(self.encoder(frames)), lengths))


@pytest.mark.slow
@pytest.mark.filterwarnings("error:.*[Dd]ynamo:UserWarning")
@pytest.mark.parametrize(
    ("name", "backend"),
    [("soc", "eager"), *((name, "aot_eager") for name in ("asp", "soc", "soc_full, with projection", "mean+soc_full"))],
)
def test_a_compiled_model_gives_the_same_values_and_gradients(name, backend):
    torch.compiler.reset()
    model = Model(make(name))
    compiled = torch.compile(model, backend=backend)
    for time in (3, 30):
        lengths = LENGTHS.clamp(max=time)
        expected = outcome(model, frames_of(time), lengths)
        for result, exact in zip(outcome(compiled, frames_of(time), lengths), expected, strict=True):
            torch.testing.assert_close(result, exact, rtol=1e-4, atol=1e-5)


HEAVY = "numba llvmlite scipy sklearn pandas joblib threadpoolctl transformers torchaudio matplotlib torch._dynamo"


def test_the_import_loads_torch_numpy_and_pydantic_and_nothing_heavier():
    code = (
        "import sys, torch, numpy, pydantic\n"
        "before = set(sys.modules)\n"
        "import soctk.pooling\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})\n"
        f"print(*[name for name in {HEAVY.split()} if name in sys.modules])"
    )
    with run_python(code, stdout=-1) as process:
        added, heavy = process.communicate(timeout=120)[0].splitlines()
    assert heavy == ""
    others = {package for package in added.split() if not package.startswith("_")} - sys.stdlib_module_names
    from_pydantic = {"pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}
    assert others <= {"soctk", "torch", "numpy", "pydantic"} | from_pydantic
