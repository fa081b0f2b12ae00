"""soctk-train: the folds and seeds of one configuration."""

from pathlib import Path

import click

from soctk.cli.common import CONTEXT, Command, Directory, Numbers, device_option, nj_option


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("data", type=Directory())
@click.argument("store", type=Directory())
@click.argument("experiment", type=Directory())
@click.option("--pooling", required=True, help="A name that has a conf/pooling/NAME.yaml, or several joined by +.")
@click.option("--head", default="mlp", help="mlp, or linear: logistic regression on poolings without parameters.")
@click.option(
    "--conf", "layers", type=Directory(), multiple=True, required=True, help="conf/ directory; later ones win."
)
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="A setting, such as train.lr=1e-3.")
@click.option("--folds", type=Numbers(), default="", help='Folds to test, such as "1 2".', show_default="all")
@click.option("--seeds", type=Numbers(), default="1", help='Seeds, such as "1 2 3".')
@click.option(
    "--protocol",
    type=click.Choice(["soctk", "emobox", "cross-lingual"]),
    default="soctk",
    help="How to choose validation.",
)
@nj_option
@device_option
def main(
    data: Path,
    store: Path,
    experiment: Path,
    pooling: str,
    head: str,
    layers: tuple[Path, ...],
    overrides: tuple[str, ...],
    folds: list[int],
    seeds: list[int],
    protocol: str,
    nj: int,
    device: str,
) -> None:
    """Train and test on the features in STORE of the data directory DATA; leave foldK/seedS under EXPERIMENT.

    Runs that are already there with the same settings are not repeated.
    """
    from soctk import config, datadir
    from soctk.device import resolve
    from soctk.experiment import Experiment
    from soctk.store import FeatureStore

    if not seeds:
        raise click.UsageError("--seeds needs at least one number")
    settings = config.load(layers, pooling, head, protocol, overrides)
    corpus = datadir.read(data)
    folds = folds or corpus.folds
    done = Experiment(settings, corpus, FeatureStore.open(store), experiment, resolve(device)).run(folds, seeds, nj)
    click.echo(
        f"{experiment}: {len(folds)} folds x {len(seeds)} seeds, {done} of {len(folds) * len(seeds)} trained now"
    )
