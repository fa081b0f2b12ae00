"""What stopping idle OpenMP threads gains for SOC, forward and backward on two threads of a CPU.

    .venv/bin/python tests/bench/openmp.py

The two ways take turns in one process. Other work on the machine hides the difference: run it on an idle one.
"""

import click
import torch
from tabulate import tabulate
from timing import compare, median, ratio

from soctk.pooling import SOC, threads

BATCH, FRAMES, WIDTH = 32, 150, 768


@click.command()
@click.option("--rounds", default=25, show_default=True)
def main(rounds: int) -> None:
    """Print a row for each d."""
    torch.set_num_threads(2)
    stop = threads._stop_idle_openmp_threads
    frames, lengths = torch.randn(BATCH, FRAMES, WIDTH), torch.full((BATCH,), FRAMES)
    rows = []
    for d in (64, 128, 256):
        layer, gradient = SOC(WIDTH, d=d), torch.randn(BATCH, d * (d + 1) // 2)

        def step(stopping, layer=layer, gradient=gradient):
            threads._stop_idle_openmp_threads = stopping
            layer(frames, lengths).backward(gradient)

        times = compare({"stopped": lambda step=step: step(stop), "idle": lambda step=step: step(lambda: None)}, rounds)
        rows.append((d, median(times["stopped"]), median(times["idle"]), ratio(times["stopped"], times["idle"])))
    threads._stop_idle_openmp_threads = stop
    headers = ("d", "threads stopped, ms", "threads idle, ms", "ratio")
    print(f"B={BATCH}, T={FRAMES}, D={WIDTH}, 2 threads; median (quartiles) of {rounds} rounds")
    print(tabulate(rows, headers, "github"))


if __name__ == "__main__":
    main()
