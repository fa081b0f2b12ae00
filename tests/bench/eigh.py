"""Time of the eigendecompositions of a batch of covariances: LAPACK, called by torch, compared with soctk's kernels.

    .venv/bin/python tests/bench/eigh.py

B = 32 covariances in float32 and float64 (LAPACK computes in that dtype, the kernels in float64), with one thread
and with all. Errors are those of U diag(s) U', relative to the largest eigenvalue.
"""

import click
import torch
from tabulate import tabulate
from timing import compare, median, ratio

from soctk.pooling.fast import kernels


def error(matrices: torch.Tensor, spectrum: torch.Tensor, vectors: torch.Tensor) -> str:
    back = (vectors * spectrum.unsqueeze(1)) @ vectors.mT
    return f"{((back - matrices).abs().amax((1, 2)) / spectrum.amax(1)).max().item():.0e}"


@click.command(context_settings={"show_default": True})
@click.option("--rounds", default=15, help="Number of times that each function is timed.")
@click.option("--threads", default=torch.get_num_threads(), help="Number of torch threads.")
def main(rounds: int, threads: int) -> None:
    """Print one row for each size, dtype and number of threads."""
    torch.manual_seed(0)
    rows = []
    for size in (8, 24, 64, 128, 180, 256, 400):
        frames = torch.randn(32, max(150, size + 1), size, dtype=torch.float64)
        for dtype in (torch.float64, torch.float32):
            matrices = (frames.mT @ frames).to(dtype)
            ways = {
                "LAPACK": lambda matrices=matrices: torch.linalg.eigh(matrices),
                "ours": lambda matrices=matrices: kernels.eigh(matrices),
            }
            for number in sorted({1, threads}):
                torch.set_num_threads(number)
                times = compare(ways, rounds, calls=1)
                errors = [error(matrices, *way()) for way in ways.values()]
                name = str(dtype).removeprefix("torch.")
                rows.append(
                    [size, name, number, *map(median, times.values()), ratio(times["LAPACK"], times["ours"]), *errors]
                )
    headers = ["D", "dtype", "threads", "LAPACK ms", "ours ms", "LAPACK/ours", "error LAPACK", "ours"]
    click.echo(tabulate(rows, headers, "github", disable_numparse=True))


if __name__ == "__main__":
    main()
