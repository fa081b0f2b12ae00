"""soctk-report: write one HTML page of results."""

from pathlib import Path

import click

from soctk.cli.common import (
    CONTEXT,
    Command,
    compare_option,
    data_option,
    descriptors_option,
    exp_argument,
    feats_option,
    option,
    published_option,
)
from soctk.errors import printable


@click.command(cls=Command, context_settings=CONTEXT)
@exp_argument
@option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The HTML file to write.",
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
    published_scores: Path | None,
    feats: Path | None,
    has_descriptors: bool,
) -> None:
    """Write one HTML page about every experiment below EXP.

    The page contains the tables of soctk-score, the figures of soctk-plot, and the utterances whose labels are most
    likely wrong, each with an audio player. The recordings are not copied: the players read the original files.
    Everything else is inside the page. All suspect labels are also written to report-suspect_labels.tsv.
    """
    from soctk import provenance
    from soctk.reporting import figures, listening, page, report

    made = report.make(exp, provenance.command_line(), data, compare, published_scores)
    output = output or exp[0] / "report.html"
    page.write(output, made, figures.pictures(made.experiments, feats, has_descriptors))
    written = [output]
    if any(experiment.predictions.emotions for experiment in made.experiments):
        written.append(listening.file_beside(output))
        listening.write(written[-1], made)
    click.echo(printable(f"Written to {' and '.join(map(str, written))}"))
