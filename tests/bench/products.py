"""Speed of matrix products in float32 on the CPU, in GFLOP/s: oneDNN (soctk.onednn) compared with torch's MKL.

.venv/bin/python tests/bench/products.py
ONEDNN_MAX_CPU_ISA=AVX2 .venv/bin/python tests/bench/products.py    # as on a processor without AVX-512
"""

import statistics

import click
import torch
from tabulate import tabulate
from timing import compare, ratio
from torch import nn

from soctk import onednn

# N, K and M of the product of N x K with the transpose of M x K.
SIZES = [(150, 768, 768), (150, 768, 3072), (4800, 768, 24), (4800, 512, 8)]


@click.command(context_settings={"show_default": True})
@click.option("--rounds", default=15, help="Number of times that each function is timed.")
@torch.inference_mode()
def main(rounds: int) -> None:
    """Print one row for each size and number of threads."""
    rows = []
    for threads in range(1, torch.get_num_threads() + 1):
        torch.set_num_threads(threads)
        for n, k, m in SIZES:
            layer, inputs = nn.Linear(k, m), torch.randn(n, k)
            packed = nn.Sequential(layer)
            onednn.pack(packed)
            times = compare(
                {"torch": lambda f=layer, x=inputs: f(x), "oneDNN": lambda f=packed, x=inputs: f(x)}, rounds
            )
            rates = [2e-6 * n * k * m / statistics.median(times[name]) for name in ("torch", "oneDNN")]
            rows.append(
                [threads, f"{n}, {k}, {m}", *(f"{rate:.0f}" for rate in rates), ratio(times["torch"], times["oneDNN"])]
            )
    click.echo(
        tabulate(rows, ["threads", "N, K, M", "torch", "oneDNN", "torch / oneDNN"], "github", disable_numparse=True)
    )


if __name__ == "__main__":
    main()
