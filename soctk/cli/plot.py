"""soctk-plot: draw figures of results."""

from pathlib import Path

import click

from soctk.cli.common import (
    CONTEXT,
    Command,
    Directory,
    data_option,
    descriptors_option,
    exp_argument,
    feats_option,
    option,
)
from soctk.errors import printable


@click.command(cls=Command, context_settings=CONTEXT)
@exp_argument
@data_option
@feats_option
@descriptors_option
@option("--format", "style", type=click.Choice(["png", "svg", "pdf"]), default="png", help="File format.")
@option("--output", type=Directory(), help="Directory of the figures.", show_default="EXP/figures of the first EXP")
def main(
    exp: tuple[Path, ...],
    data: Path | None,
    feats: Path | None,
    has_descriptors: bool,
    style: str,
    output: Path | None,
) -> None:
    """Draw the results of every experiment below EXP.

    The figures are: WA with confidence intervals; and for each experiment its confusion matrix, WA by speaker, learning
    curves, t-SNE (and UMAP, if umap-learn is installed) of the logits of test utterances, and, if its descriptors have
    log-covariances and its feature store is available, the variance of these between emotions and between speakers. For
    dimensions, they are CCC with confidence intervals; and predicted over labelled values, and learning curves.
    """
    from soctk.reporting import figures
    from soctk.scoring.score import score

    experiments = score(exp, data)
    for path in figures.save(
        figures.pictures(experiments, feats, has_descriptors), output or exp[0] / "figures", style
    ):
        click.echo(printable(str(path)))
