"""soctk-train: train and test all folds and seeds of one configuration."""

from pathlib import Path
from typing import Literal

import click

from soctk.cli.common import (
    CONTEXT,
    Command,
    Directory,
    Layers,
    combine_option,
    conf_option,
    device_option,
    enrol_option,
    folds_option,
    head_option,
    nj_option,
    option,
    pooling_option,
    preset_option,
    recentre_option,
    seeds_option,
    set_option,
)


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("data", type=Directory())
@click.argument("store", type=Directory())
@click.argument("experiment", type=Directory())
@preset_option
@pooling_option
@head_option
@conf_option
@set_option
@option(
    "--layer",
    "layers",
    type=Layers("all"),
    help='Hidden states in STORE to train on: all, or numbers such as "3 4".',
    show_default="all, from conf/frames.yaml",
)
@combine_option
@recentre_option
@enrol_option
@folds_option
@seeds_option
@option(
    "--protocol",
    type=click.Choice(["soctk", "emobox", "cross-lingual"]),
    default="soctk",
    help="Validation utterances: the next fold (soctk), 20% of the other folds at random (emobox), or a fifth of the "
    "training speakers (cross-lingual, where each of two folds is a language).",
)
@option(
    "--tensorboard", is_flag=True, help="Also write the training log in TensorBoard's format, beside each train.jsonl."
)
@option(
    "--max-memory",
    metavar="GB",
    type=click.FloatRange(min=0),
    help="Memory for frames, in GB. If the frames of the corpus need more, each batch is read from STORE.",
    show_default="half of the machine's memory",
)
@nj_option
@device_option
def main(
    data: Path,
    store: Path,
    experiment: Path,
    preset: str,
    pooling: str | None,
    head: str | None,
    conf_dirs: tuple[Path, ...],
    overrides: tuple[str, ...],
    layers: str | tuple[int, ...] | None,
    combine: str | None,
    recentre: str | None,
    enrol: str | int | None,
    folds: list[int],
    seeds: list[int],
    protocol: Literal["soctk", "emobox", "cross-lingual"],
    tensorboard: bool,
    max_memory: float | None,
    nj: int,
    device: str,
) -> None:
    """Train and test on the data directory DATA with the features in STORE, and write EXPERIMENT/foldK/seedS.

    Finished runs with the same settings are not repeated.
    """
    from soctk.corpus import datadir
    from soctk.device import resolve
    from soctk.features.store import FeatureStore
    from soctk.training import settings
    from soctk.training.experiment import Experiment
    from soctk.training.inputs import Features

    config = settings.resolve(
        preset=preset,
        conf_dirs=conf_dirs,
        pooling=pooling,
        head=head,
        layers=layers,
        combine=combine,
        recentre=recentre,
        enrol=enrol,
        protocol=protocol,
        overrides=overrides,
    )
    corpus = datadir.read(data, recordings=False)
    folds = folds or corpus.folds
    device = resolve(device)
    features = Features(FeatureStore.open(store), corpus.utterances, device)
    if max_memory is not None:
        features.max_bytes = 1e9 * max_memory
    done = Experiment(config, corpus, features, experiment, device, tensorboard).run(folds, seeds, nj)
    click.echo(
        f"{experiment}: {len(folds)} folds x {len(seeds)} seeds, {done} of {len(folds) * len(seeds)} trained now"
    )
