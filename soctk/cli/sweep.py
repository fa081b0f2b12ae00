"""soctk-sweep: compare many settings on validation utterances."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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

if TYPE_CHECKING:
    import pandas as pd


class Axis(click.ParamType):
    """An axis of the grid, KEY=[VALUE, ...] in YAML."""

    name = "axis"

    def convert(self, value, param, ctx):
        """Return the key and the list of values."""
        from soctk.mappings import parse_yaml

        if isinstance(value, tuple):
            return value
        key, _, values = value.partition("=")
        try:
            listed = parse_yaml(values)
        except ValueError:
            listed = None
        if not key or not isinstance(listed, list) or not listed:
            self.fail(f"'{value}' is not of the form KEY=[VALUE, ...]", param, ctx)
        return key, listed


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("data", type=Directory())
@click.argument("store", type=Directory())
@click.argument("sweep", type=Directory())
@option(
    "--grid",
    type=Axis(),
    multiple=True,
    required=True,
    metavar="KEY=[VALUE, ...]",
    help='An axis, such as "pooling=[mean, mean+soc_full]", "head=[mlp, linear]", or any setting, such as '
    '"frames.layers=[[3], [3, 4]]". Can be repeated.',
)
@with_store_option
@model_options
@target_option
@folds_option
@seeds_option
@option(
    "--protocol",
    type=click.Choice(["soctk", "emobox"]),
    default="soctk",
    help="Validation utterances: the next fold (soctk), or 20% of the other folds at random (emobox).",
)
@option(
    "--nested",
    "is_nested",
    is_flag=True,
    help="Also score the choice among the combinations itself: for each fold and seed, the combination with the lowest "
    "validation loss of this run predicts the test utterances. Written to SWEEP/nested.",
)
@nj_option
@cluster_option
@device_option
def main(
    data: Path,
    store: Path,
    sweep: Path,
    others: tuple[Path, ...],
    grid: tuple[tuple[str, list], ...],
    is_nested: bool,
    folds: list[int],
    seeds: list[int],
    protocol: Literal["soctk", "emobox"],
    nj: int,
    cluster: str | None,
    device: str,
    **model: Any,
) -> None:
    """Train every combination of the --grid axes on the features in STORE, each in a directory of SWEEP.

    The printed table, also written to SWEEP/sweep.tsv, contains only validation scores. Choose one combination from it,
    and then score only this combination on the test utterances: soctk-score SWEEP/NAME. With --nested, the output ends
    with test scores for which each fold chose the combination by its own validation loss.
    """
    from soctk.cluster.option import open_cluster
    from soctk.corpus import datadir, splits
    from soctk.features import side_by_side
    from soctk.training.inputs import Features
    from soctk.training.settings import SETTINGS
    from soctk.training.sweep import Sweep, edges

    if len(dict(grid)) < len(grid):
        raise click.UsageError("--grid gives an axis twice; write its values as one list")
    given = {key for name, key in SETTINGS.items() if model[name] is not None}
    given.update(override.partition("=")[0] for override in model["overrides"])
    for axis in given.intersection(dict(grid)):
        raise click.UsageError(f"{axis} is an axis of --grid, and another option sets it too; leave that option out")
    corpus = datadir.read(data, recordings=False)
    opened = side_by_side.open_stores(store, *others)
    model["layers"] = side_by_side.numbers(opened, model["layers"])
    model["utterances"] = len(corpus.utterances)
    points = Sweep(dict(grid), splits.protocol_of(corpus, protocol), model, is_nested)
    with open_cluster(cluster, device, sweep, inputs=[data, store, *others]) as (executor, device):
        features = Features(opened, corpus.utterances, device)
        if executor:
            features.max_bytes = executor.memory() / 2
        table = points.run(corpus, features, sweep, folds or corpus.folds, seeds, nj, executor)
    _print_points(sweep, table)
    for line in edges(dict(grid), {str(axis): value for axis, value in table.iloc[0].items()}):
        click.echo(line)
    if is_nested:
        _print_nested(sweep)


def _print_points(sweep: Path, table: "pd.DataFrame") -> None:
    """Print the validation scores of all points, and the best point."""
    from tabulate import tabulate

    from soctk.reporting.wording import number

    scores = [str(column) for column in table if str(column).startswith("valid_")]
    shown = table[["name", *scores, "runs"]].rename(columns={"name": "point"})
    for name in scores:
        metric = "log_loss" if name == "valid_loss" else name.removeprefix("valid_")
        shown[name] = [number(value, metric) for value in table[name]]
    click.echo(
        tabulate(shown.to_dict("list"), headers="keys", tablefmt="simple", showindex=False, disable_numparse=True)
    )
    best = ", ".join(f"{name.removeprefix('valid_')} {shown[name][0]}" for name in scores)
    click.echo(f"\nBest on validation: {sweep / table['name'][0]} (validation {best})")


def _print_nested(sweep: Path) -> None:
    """Print the test scores of the nested choice with 95% intervals, and the runs that chose each point."""
    from soctk.reporting.tables import bounds
    from soctk.reporting.wording import digits, number, split_key, title
    from soctk.scoring.score import score
    from soctk.training import nested

    click.echo(f"\nChosen in each run by its own validation loss: {sweep / nested.DIRECTORY}")
    experiments = score([sweep / nested.DIRECTORY])
    for scored in experiments:
        scores = (
            f"{title(key)} {number(interval.value, key)} {bounds(interval, digits(key))}".rstrip()
            for key, interval in scored.pooled.items()
            if split_key(key)[0] in scored.scale.compared
        )
        click.echo(f"  {scored.test or 'test'}: {', '.join(scores)}")
    for point, runs in experiments[0].nested_choice.items():
        if runs:
            click.echo(f"  {point}: {', '.join(runs)}")
