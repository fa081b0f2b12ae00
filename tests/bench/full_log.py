"""Time of the logarithm in full dimension through the T x T Gram matrix, compared with D x D decompositions.

    .venv/bin/python tests/bench/full_log.py                    # float32, on the CPU
    .venv/bin/python tests/bench/full_log.py --device cuda

Columns: `factored` is soctk.pooling.spd.factored_log; `projected` adds a projection to 128 dimensions; `dense` is
soctk.pooling.spd.log_covariance, which forms the D x D matrix. `eigh` is torch.linalg.eigh of the D x D matrices alone,
in float32 and float64. `log by eigh` also computes the logarithm from it, in float64; errors are relative to it.
"""

import statistics

import click
import torch
from tabulate import tabulate
from timing import compare, ratio

from soctk.pooling import spd

SHRINKAGE, EPS = 0.7, 1e-8


def frames_like_speech(batch: int, time: int, width: int) -> torch.Tensor:
    """Return Gaussian frames `(B, T, D)` that change slowly, with variances over three decades."""
    smooth = torch.nn.functional.avg_pool1d(torch.randn(batch, width, time + 7), 8, stride=1).mT
    mixing = torch.randn(width, width) * torch.logspace(0, -1.5, width)
    return 1 + smooth @ mixing.T


def log_by_eigh(matrices: torch.Tensor) -> torch.Tensor:
    eigenvalues, vectors = torch.linalg.eigh(matrices)
    return (vectors * eigenvalues.log().unsqueeze(1)) @ vectors.mT


@click.command(context_settings={"show_default": True})
@click.option("--device", default="cpu", help="cpu or cuda.")
@click.option("--rounds", default=7, help="Number of times that each function is timed.")
@click.option("--batch", default=32, help="Number of utterances, B.")
@torch.inference_mode()
def main(device: str, rounds: int, batch: int) -> None:
    """Print one row for each D and T; times are per utterance."""
    torch.manual_seed(0)
    rows = []
    for width in (512, 768, 1024):
        projection = torch.linalg.qr(torch.randn(width, 128)).Q.T.contiguous().to(device)
        for time in (50, 100, 180, 400):
            frames = frames_like_speech(batch, time, width).to(device)
            lengths = torch.full((batch,), time, device=device)
            options = {"shrinkage": SHRINKAGE, "eps": EPS, "trace": float(width)}  # the defaults of soc_full
            wide = spd.regularised_covariance(frames.double(), lengths, **options)[:2]
            narrow = wide.float()
            exact = log_by_eigh(wide)

            def synchronised(function, device=device):
                def run():
                    result = function()
                    if device != "cpu":
                        torch.cuda.synchronize()
                    return result

                return run

            calls = {
                "factored": lambda x=frames, n=lengths, o=options: spd.factored_log(x, n, **o),
                "projected": lambda x=frames, n=lengths, o=options, w=projection: spd.log_covariance(
                    x, n, **o, projection=w
                ),
                "dense": lambda x=frames, n=lengths, o=options: spd.log_covariance(x, n, **o),
                "eigh float32": lambda m=narrow: torch.linalg.eigh(m),
                "eigh float64": lambda m=wide: torch.linalg.eigh(m),
                "log by eigh": lambda m=wide: log_by_eigh(m),
            }
            times = compare({name: synchronised(call) for name, call in calls.items()}, rounds, calls=1)
            for name in times:
                count = len(wide) if "eigh" in name else batch
                times[name] = [value / count for value in times[name]]
            ours = calls["dense"]()[:2].double()
            base, factor = calls["factored"]()
            factored = (factor.mT @ factor + base[:, None, None] * torch.eye(width, device=device))[:2].double()
            errors = [f"{((x - exact).norm() / exact.norm()).item():.0e}" for x in (factored, ours)]
            rows.append(
                [
                    width,
                    time,
                    *(f"{statistics.median(times[name]):.2f}" for name in calls),
                    *(ratio(times["eigh float32"], times[name]) for name in ("factored", "dense")),
                    *(ratio(times["eigh float64"], times[name]) for name in ("factored", "dense")),
                    ratio(times["log by eigh"], times["dense"]),
                    *errors,
                ]
            )
    headers = [
        *("D", "T", *(f"{name} ms" for name in calls)),
        *("eigh float32/factored", "/dense", "eigh float64/factored", "/dense", "log by eigh/dense"),
        *("error factored", "dense"),
    ]
    click.echo(
        f"float32 frames, {device}, {torch.get_num_threads()} threads; medians of {rounds} rounds, per utterance"
    )
    click.echo(tabulate(rows, headers, "github", disable_numparse=True))


if __name__ == "__main__":
    main()
