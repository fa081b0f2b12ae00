"""soctk-score: score experiments."""

from pathlib import Path

import click

from soctk.cli.common import (
    CONTEXT,
    Command,
    Directory,
    compare_option,
    data_option,
    exp_argument,
    option,
    published_option,
)


@click.command(cls=Command, context_settings=CONTEXT)
@exp_argument
@data_option
@compare_option
@published_option
@option(
    "--format",
    "style",
    type=click.Choice(["text", "md", "tsv", "json", "latex"]),
    default="text",
    help="Format of the printed tables.",
)
@option(
    "--output",
    type=Directory(),
    help="Directory of RESULTS.md and scores.json.",
    show_default="EXP; nothing is written if there are several",
)
def main(
    exp: tuple[Path, ...],
    data: Path | None,
    compare: bool,
    published_scores: Path | None,
    style: str,
    output: Path | None,
) -> None:
    """Score every predictions.tsv below EXP. Print the tables, and write them to RESULTS.md and scores.json.

    Predictions are refused if they are incomplete or inconsistent, or if a test speaker was in the training data.
    """
    from soctk import provenance
    from soctk.reporting import formats, report

    made = report.make(exp, provenance.command_line(), data, compare, published_scores)
    output = output or (exp[0] if len(exp) == 1 else None)
    if output:
        formats.write(output, made)
    click.echo(formats.FORMATS[style](made).rstrip("\n"))
    if style == "text":
        files = [click.format_filename(output / name) for name in ("RESULTS.md", "scores.json")] if output else []
        written = f"Written to {' and '.join(files)}" if files else ""
        click.echo("\n" + (written or "RESULTS.md is not written: with several EXP, give --output DIR."))
