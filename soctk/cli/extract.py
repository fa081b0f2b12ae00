"""soctk-extract: extract the features of a corpus with a frozen upstream."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from soctk.cli.common import (
    CONTEXT,
    Command,
    Directory,
    Layers,
    augment_option,
    cluster_option,
    conf_option,
    device_option,
    nj_option,
    normalise_option,
    option,
    speed_option,
)

if TYPE_CHECKING:
    from soctk.schema import Augmentation

# The default of --batch-seconds on a GPU. A CPU does not gain from batches.
_GPU_BATCH_SECONDS = 160.0


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("data", type=Directory())
@click.argument("store", type=Directory())
@option(
    "--upstream",
    required=True,
    help="Encoder: a name in conf/upstream or in s3prl, s3prl:NAME, egemaps, egemaps-lld, a folder, a Hugging Face hub "
    "id, or your own class, MODULE:CLASS or FILE.py:CLASS.",
)
@conf_option
@option(
    "--layer",
    "layers",
    type=Layers("all", "last"),
    default="all",
    help='Hidden states: all, last, or numbers such as "3 4"; 0 is the input of layer 1.',
)
@option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    help="Number format of the frames on disk.",
    show_default="float16; float32 for eGeMAPS",
)
@option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    help="Number format of the encoder's computation; bfloat16 and float16 use autocast.",
)
@option(
    "--batch-seconds",
    type=click.FloatRange(min=0),
    help="Seconds of audio in a batch. 0: one utterance at a time, as for encoders whose output depends on the batch.",
    show_default=f"0 on a CPU, {_GPU_BATCH_SECONDS:g} on a GPU",
)
@speed_option
@augment_option
@normalise_option
@nj_option
@option(
    "--job",
    type=click.IntRange(min=1),
    help="Divide the work into --nj parts, and do only this one, a number from 1 to --nj.",
    show_default="all parts",
)
@cluster_option
@device_option
def main(
    data: Path,
    store: Path,
    upstream: str,
    conf_dirs: tuple[Path, ...],
    layers: Literal["last", "all"] | tuple[int, ...],
    dtype: Literal["float16", "float32"] | None,
    precision: Literal["float32", "bfloat16", "float16"],
    batch_seconds: float | None,
    speeds: tuple[float, ...],
    augmentations: "tuple[Augmentation, ...]",
    normalise: Literal["none", "level"],
    nj: int,
    job: int | None,
    cluster: str | None,
    device: str,
) -> None:
    """Extract the frames of the data directory DATA into the feature store STORE.

    After an interruption, run the same command again: it extracts only missing utterances. On a CPU, --nj is the number
    of processes; on a GPU, it is the number of threads that decode audio. To share the work among N machines, give
    --cluster, or start N commands with --nj N, the first with --job 1, the second with --job 2, and so on.
    """
    from soctk import config
    from soctk.cluster.option import open_cluster
    from soctk.corpus import datadir
    from soctk.errors import plural
    from soctk.features.copies import list_copies
    from soctk.features.disk_space import format_size
    from soctk.features.extract import Extraction, extract, is_finished

    if job and job > nj:
        raise click.UsageError(f"--job {job} is beyond --nj {nj}")
    if job and cluster:
        raise click.UsageError("--job divides the work by hand, and --cluster does it; give one of them")
    corpus = datadir.read(data)
    known = config.load_upstream(config.conf_directories(given=conf_dirs), upstream)
    first = next(iter(corpus.clips.values())).path
    is_needed = bool(cluster) and not is_finished(corpus, store, list_copies(speeds, augmentations))
    with open_cluster(cluster, device, store, [data, first, Path(upstream)], is_needed) as (executor, device):
        if batch_seconds is None:
            batch_seconds = 0 if device == "cpu" else _GPU_BATCH_SECONDS
        extraction = Extraction(
            upstream, layers, dtype, precision, device, batch_seconds, known, speeds, augmentations, normalise
        )
        started = time.perf_counter()
        summary = extract(corpus, store, extraction, nj, job, executor)
    copies = f", each at {1 + len(speeds)} speeds" if speeds else ""
    copies += f", with copies for training only: {', '.join(augmentations)}" if augmentations else ""
    count = plural(len(corpus.utterances), "utterance")
    click.echo(f"{store}: {count}{copies}, {summary.utterances} of them extracted now")
    if summary.utterances:
        seconds = time.perf_counter() - started
        click.echo(
            f"{store}: {summary.seconds / 3600:.2f} h of audio in {seconds:.0f} s, real-time factor "
            f"{seconds / summary.seconds:.4f}, {format_size(summary.bytes)} written"
        )
    if summary.others:
        click.echo(f"{store}: {plural(summary.others, 'utterance')} extracted by another process at the same time")
    if summary.left:
        click.echo(f"{store}: {plural(summary.left, 'utterance')} left to other parts; all parts must be done")
