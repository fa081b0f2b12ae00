"""soctk-train: train and test all folds and seeds of one configuration."""

from pathlib import Path
from typing import Any, Literal

import click

from soctk.cli.common import (
    CONTEXT,
    Command,
    Directory,
    cluster_option,
    device_option,
    folds_option,
    nj_option,
    option,
    seeds_option,
)
from soctk.cli.model_options import model_options, target_option, with_store_option


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("data", type=Directory())
@click.argument("store", type=Directory())
@click.argument("experiment", type=Directory())
@with_store_option
@model_options
@target_option
@folds_option
@seeds_option
@option(
    "--protocol",
    type=click.Choice(["soctk", "emobox", "cross-lingual"]),
    default="soctk",
    help="Validation utterances: the next fold (soctk), 20% of the other folds at random (emobox), or a fifth of the "
    "training speakers (cross-lingual, where each of two folds is a language). If DATA has a published partition or "
    "published folds (utt2split, utt2fold), these take the place of soctk.",
)
@option(
    "--tensorboard", is_flag=True, help="Also write the training log in TensorBoard's format, beside each train.jsonl."
)
@option(
    "--max-memory",
    metavar="GB",
    type=click.FloatRange(min=0),
    help="Memory for frames, in GB. If the frames of the corpus need more, each batch is read from STORE.",
    show_default="half of the memory of the machine, or of a worker of --cluster",
)
@nj_option
@cluster_option
@device_option
def main(
    data: Path,
    store: Path,
    experiment: Path,
    others: tuple[Path, ...],
    folds: list[int],
    seeds: list[int],
    protocol: Literal["soctk", "emobox", "cross-lingual"],
    tensorboard: bool,
    max_memory: float | None,
    nj: int,
    cluster: str | None,
    device: str,
    **model: Any,
) -> None:
    """Train and test on the data directory DATA with the features in STORE, and write EXPERIMENT/foldK/seedS.

    Finished runs with the same settings are not repeated.
    """
    from soctk.cluster.option import open_cluster
    from soctk.corpus import datadir, splits
    from soctk.errors import plural
    from soctk.features import side_by_side
    from soctk.scoring.runs import RunDirectory
    from soctk.training import distributed_runs, settings
    from soctk.training.experiment import Experiment
    from soctk.training.inputs import Features

    corpus = datadir.read(data, recordings=False)
    utterances = len(corpus.utterances)
    opened = side_by_side.open_stores(store, *others)
    model["layers"] = side_by_side.numbers(opened, model["layers"])
    config = settings.resolve(**model, protocol=splits.protocol_of(corpus, protocol), utterances=utterances)
    if note := settings.describe_size(model["preset"], utterances, config):
        click.echo(note)
    folds = folds or corpus.folds
    runs = [RunDirectory(experiment, fold, seed) for fold in folds for seed in seeds]
    is_needed = not all(run.path.exists() for run in runs)
    with open_cluster(cluster, device, experiment, [data, store, *others], is_needed) as (executor, device):
        features = Features(opened, corpus.utterances, device)
        if max_memory is not None:
            features.max_bytes = 1e9 * max_memory
        elif executor:
            features.max_bytes = executor.memory() / 2
        new = Experiment(config, corpus, features, experiment, device, tensorboard)
        done = distributed_runs.run(executor, [(new, folds)], seeds) if executor else new.run(folds, seeds, nj)
    click.echo(
        f"{experiment}: {plural(len(folds), 'fold')} x {plural(len(seeds), 'seed')}, "
        f"{done} of {len(folds) * len(seeds)} trained now"
    )
