"""Time of SOC pooling, forward and backward, compared with the projection alone and with other implementations.

    bin/setup bench
    .venv/bin/python tests/bench/soc.py                    # B=32, T=150, D=768, float32, on the CPU
    .venv/bin/python tests/bench/soc.py --reference DIR    # also the authors' layer, DIR/soc_ser/soc.py
    .venv/bin/python tests/bench/soc.py --device cuda

`projection` is X W' alone, which every such layer needs; `eigh` is the layer written with torch.linalg.eigh and
autograd; `spd_learn` uses the layers of that package. Errors are those of the descriptors, relative to `eigh` in
float64.
"""

import importlib.util
from pathlib import Path

import click
import torch
from tabulate import tabulate
from timing import compare, median, ratio
from torch import nn

from soctk.pooling.layers import SOC

EPS = 1e-5


class Straightforward(nn.Module):
    """The layer as in the paper, by torch.linalg.eigh and autograd, for utterances of the same length."""

    def __init__(self, projection: nn.Linear):
        super().__init__()
        self.projection = projection

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        z = self.projection(frames)
        z = z - z.mean(1, keepdim=True)
        covariance = z.mT @ z / (z.shape[1] - 1)
        identity = torch.eye(z.shape[2], dtype=z.dtype, device=z.device)
        trace = covariance.diagonal(dim1=1, dim2=2).sum(-1)[:, None, None]
        eigenvalues, vectors = torch.linalg.eigh(covariance / (trace + EPS) + EPS * identity)
        logarithm = (vectors * eigenvalues.clamp(min=1e-7).log().unsqueeze(1)) @ vectors.mT
        rows, columns = torch.triu_indices(*logarithm.shape[1:], device=z.device)
        return logarithm[:, rows, columns]


class SPDLearn(nn.Module):
    """The same layer made of spd_learn's layers."""

    def __init__(self, projection: nn.Linear):
        from spd_learn.modules import CovLayer, LogEig, TraceNorm  # gpu.py does without

        super().__init__()
        self.projection = projection
        self.layers = nn.Sequential(CovLayer(), TraceNorm(epsilon=EPS), LogEig(upper=True))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.layers(self.projection(frames).mT)


def authors(reference: Path, projection: nn.Linear) -> nn.Module:
    """Return the authors' layer with the given projection."""
    spec = importlib.util.spec_from_file_location("reference_soc", reference / "soc_ser" / "soc.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    theirs = module.SOCPooling(projection.in_features, projection.out_features, EPS).to(projection.weight.device)
    theirs.projection = projection
    return theirs


def step(function, gradient: torch.Tensor, weight: torch.Tensor):
    """Return a function that runs forward and backward once."""

    def run():
        weight.grad = None
        function().backward(gradient)
        if weight.is_cuda:
            torch.cuda.synchronize()

    return run


def error(result: torch.Tensor, exact: torch.Tensor) -> str:
    return f"{((result - exact).norm() / exact.norm()).item():.0e}"


@click.command(context_settings={"show_default": True})
@click.option("--reference", type=click.Path(exists=True, path_type=Path), help="A checkout of the authors' code.")
@click.option("--device", default="cpu", help="cpu or cuda.")
@click.option("--rounds", default=15, help="Number of times that each function is timed.")
@click.option("--threads", default=torch.get_num_threads(), help="Number of torch threads.")
@torch.no_grad()
def main(reference: Path | None, device: str, rounds: int, threads: int) -> None:
    """Print one row for each d."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    batch, time, width = 32, 150, 768
    frames = torch.randn(batch, time, width, device=device)
    lengths = torch.full((batch,), time, device=device)
    rows = []
    for d in (8, 24, 32, 64, 128, 256):
        layer = SOC(width, d, EPS).to(device)
        weight = layer.projection.weight
        projection = nn.Linear(width, d, bias=False).to(device)  # computed by torch, not oneDNN
        projection.weight = weight
        layers = {"eigh": Straightforward(projection), "spd_learn": SPDLearn(projection)}
        if reference:
            layers["authors"] = authors(reference, projection)
        exact = Straightforward(nn.Linear(width, d, bias=False).to(frames, non_blocking=False).double())
        exact.projection.weight.copy_(weight)
        exact = exact(frames.double())
        errors = {"soc": error(layer(frames, lengths), exact)}
        errors |= {name: error(other(frames), exact) for name, other in layers.items() if name != "spd_learn"}
        with torch.enable_grad():
            grad_frames, grad_descriptor = torch.randn(batch, time, d).to(device), torch.randn_like(exact).float()
            calls = {
                "projection": step(lambda projection=projection: projection(frames), grad_frames, weight),
                "soc": step(lambda layer=layer: layer(frames, lengths), grad_descriptor, weight),
            }
            for name, other in layers.items():
                calls[name] = step(lambda other=other: other(frames), grad_descriptor, weight)
            times = compare(calls, rounds)
        rows.append(
            [
                d,
                *(median(times[name]) for name in calls),
                ratio(times["soc"], times["projection"]),
                *(ratio(times["soc"], times[name]) for name in layers),
                *(f"{name} {value}" for name, value in errors.items()),
            ]
        )
    headers = ["d", *(f"{name} ms" for name in calls), "soc/projection", *(f"soc/{name}" for name in layers)]
    click.echo(
        f"B={batch}, T={time}, D={width}, {device}, {threads} threads; ms: median (quartiles) of {rounds} rounds"
    )
    click.echo(tabulate(rows, [*headers, *["error"] * len(errors)], "github", disable_numparse=True))


if __name__ == "__main__":
    main()
