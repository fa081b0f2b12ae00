"""soctk-cross: train on one corpus, test on another."""

from pathlib import Path
from typing import Any

import click

from soctk.cli.common import (
    CONTEXT,
    Command,
    Directory,
    File,
    cluster_option,
    device_option,
    nj_option,
    option,
    seeds_option,
)
from soctk.cli.model_options import model_options


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("exp", type=Directory())
@option(
    "--corpus",
    "sources",
    type=(Directory(), Directory(), File()),
    metavar="DATA STORE LABELS",
    multiple=True,
    required=True,
    help="A data directory, its feature store, and its label map. Repeat it for each corpus.",
)
@option(
    "--train",
    "trained",
    metavar="NAME",
    multiple=True,
    help="Train on this corpus. Can be repeated.",
    show_default="each corpus",
)
@option(
    "--test",
    "tested",
    metavar="NAME",
    multiple=True,
    help="Test on this corpus. Can be repeated.",
    show_default="each corpus",
)
@model_options
@seeds_option
@nj_option
@cluster_option
@device_option
def main(
    exp: Path,
    sources: tuple[tuple[Path, Path, Path], ...],
    trained: tuple[str, ...],
    tested: tuple[str, ...],
    seeds: list[int],
    nj: int,
    cluster: str | None,
    device: str,
    **model: Any,
) -> None:
    """Train on each corpus, test on each, and write the matrix of UA to EXP/CROSS.md.

    A corpus has the name of its data directory. Its label map is a YAML file with lines LABEL: CLASS. Only classes that
    all corpora have are used; the command prints the dropped labels. An experiment is written to EXP/TRAIN-to-TEST, or
    to EXP/NAME for training and testing on one corpus; soctk-score reads them. Finished experiments are not repeated.
    """
    from soctk.cluster.option import open_cluster
    from soctk.corpus import datadir
    from soctk.corpus.labels import read as read_labels
    from soctk.errors import unknown_name
    from soctk.features.store import FeatureStore
    from soctk.reporting import cross_table
    from soctk.training import cross, settings

    if len(sources) < 2:
        raise click.UsageError("give --corpus twice or more")
    if isinstance(model["layers"], tuple) and isinstance(model["layers"][0], tuple):
        raise click.UsageError("--layer has a comma, which separates several encoders, and soctk-cross takes one")
    settings.resolve(**model)  # reports a wrong setting before the corpora are read
    corpora = [
        cross.Corpus(data.resolve().name, datadir.read(data, recordings=False), FeatureStore.open(store), {})
        for data, store, _ in sources
    ]
    corpora = cross.with_common_classes(corpora, [read_labels(labels) for *_, labels in sources])
    named = {corpus.name: corpus for corpus in corpora}
    for name in (*trained, *tested):
        if name not in named:
            raise unknown_name("corpus", name, named, where="--train, --test")
    for corpus in corpora:
        click.echo(f"{corpus.name}: {corpus.summary}")
    utterances = min(len(corpus.data.utterances) for corpus in corpora)
    config = settings.resolve(**model, utterances=utterances)
    if note := settings.describe_size(model["preset"], utterances, config):
        click.echo(f"{note} (the smallest corpus)")
    pairs = [(train, test) for train in trained or named for test in tested or named]
    for train, test in pairs:
        cross.check(named[train], named[test], config, exp, seeds)
    matrix = {}
    stores = [path for source in sources for path in source[:2]]
    with open_cluster(cluster, device, exp, inputs=stores) as (executor, device):
        if executor:
            named_pairs = [(named[train], named[test]) for train, test in pairs]
            cross.run_on(executor, named_pairs, config, exp, seeds, device, executor.memory() / 2)
    for train, test in pairs:
        matrix[train, test] = cross.run(named[train], named[test], config, exp, seeds, nj, device)
        click.echo(f"trained on {train}, tested on {test}: UA {matrix[train, test]:.2f}")
    click.echo(cross_table.write(exp / "CROSS.md", corpora, matrix, config, seeds))
