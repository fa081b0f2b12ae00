"""soctk-report: one HTML page of results."""

from pathlib import Path

import click

from soctk.cli.common import (
    CONTEXT,
    Command,
    command_line,
    compare_option,
    data_option,
    descriptors_option,
    exp_argument,
    feats_option,
    published_option,
)


@click.command(cls=Command, context_settings=CONTEXT)
@exp_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The page.",
    show_default="report.html in the first EXP",
)
@data_option
@compare_option
@published_option
@feats_option
@descriptors_option
def main(
    exp: tuple[Path, ...],
    output: Path | None,
    data: Path | None,
    compare: bool,
    figures: Path | None,
    feats: Path | None,
    has_descriptors: bool,
) -> None:
    """Write one HTML page about every experiment below EXP.

    It has the tables of soctk-score, the pictures of soctk-plot, and the errors worth listening to: the most
    confidently wrong utterances, with a player of the recording, which stays where it is; all else is in the page.
    """
    from soctk.reporting import figures as drawing
    from soctk.reporting import page, report

    made = report.make(exp, command_line(), data, compare, figures)
    output = output or exp[0] / "report.html"
    page.write(output, made, drawing.pictures(made.experiments, feats, has_descriptors))
    click.echo(f"Written to {output}")
