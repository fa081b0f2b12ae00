"""soctk-extract: extract the features of a corpus with a frozen upstream."""

import time
from pathlib import Path
from typing import Literal

import click

from soctk.cli.common import CONTEXT, Command, Directory, Layers, conf_option, device_option, nj_option, speed_option

# Audio that a GPU encodes at a time, by default; a CPU is as fast with one utterance at a time.
_GPU_BATCH_SECONDS = 160.0


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("data", type=Directory())
@click.argument("store", type=Directory())
@click.option(
    "--upstream",
    required=True,
    help="Encoder: a NAME in conf/upstream or s3prl, s3prl:NAME, a DIR, or a Hugging Face hub id.",
)
@conf_option
@click.option(
    "--layer",
    "layers",
    type=Layers("last", "all"),
    default="last",
    help='Hidden states: last, all, or numbers such as "3 4"; 0 is the input of layer 1.',
)
@click.option(
    "--dtype", type=click.Choice(["float16", "float32"]), default="float16", help="Number format of the frames on disk."
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    help="Number format of the encoder's computation; below float32, with autocast.",
)
@click.option(
    "--batch-seconds",
    type=click.FloatRange(min=0),
    help="Seconds of audio in a batch, for encoders whose output does not depend on it. 0: one utterance at a time.",
    show_default=f"0 on a CPU, {_GPU_BATCH_SECONDS:g} on a GPU",
)
@speed_option
@nj_option
@click.option(
    "--job", type=click.IntRange(min=1), help="Divide the work into --nj parts, and do only this part, from 1."
)
@device_option
def main(
    data: Path,
    store: Path,
    upstream: str,
    conf_dirs: tuple[Path, ...],
    layers: Literal["last", "all"] | tuple[int, ...],
    dtype: Literal["float16", "float32"],
    precision: Literal["float32", "bfloat16", "float16"],
    batch_seconds: float | None,
    speeds: tuple[float, ...],
    nj: int,
    job: int | None,
    device: str,
) -> None:
    """Extract the frames of the data directory DATA into the feature store STORE.

    After an interruption, run the same command again: it extracts only what is missing. On a CPU, --nj is the number of
    processes; on a GPU, it is the number of decoding threads. To share the work among N machines, start N commands with
    --nj N, the first with --job 1, the second with --job 2, and so on.
    """
    from soctk import config
    from soctk.corpus import datadir
    from soctk.device import resolve
    from soctk.features.extract import Extraction, extract, format_size

    if job and job > nj:
        raise click.UsageError(f"--job {job} is beyond --nj {nj}")
    corpus = datadir.read(data)
    device = resolve(device)
    if batch_seconds is None:
        batch_seconds = 0 if device == "cpu" else _GPU_BATCH_SECONDS
    known = config.load_upstream(config.conf_directories(given=conf_dirs), upstream)
    extraction = Extraction(upstream, layers, dtype, precision, device, batch_seconds, known, speeds)
    started = time.perf_counter()
    summary = extract(corpus, store, extraction, nj, job)
    copies = f", each at {1 + len(speeds)} speeds" if speeds else ""
    click.echo(f"{store}: {len(corpus.wav)} utterances{copies}, {summary.utterances} of them extracted now")
    if summary.utterances:
        seconds = time.perf_counter() - started
        click.echo(
            f"{store}: {summary.seconds / 3600:.2f} h of audio in {seconds:.0f} s, real-time factor "
            f"{seconds / summary.seconds:.4f}, {format_size(summary.bytes)} written"
        )
    if summary.left:
        click.echo(f"{store}: {summary.left} utterances are left to other parts; it can be used when all are there")
