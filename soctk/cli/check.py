"""soctk-check: find errors in a corpus."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from soctk.cli.common import CONTEXT, Command, Directory, option

if TYPE_CHECKING:
    from soctk.corpus.audio import AudioInfo
    from soctk.corpus.datadir import DataDir


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("corpus", type=Directory(exists=True))
@option("--cases", type=click.IntRange(min=0), default=5, help="Number of cases to list for each finding.")
def main(corpus: Path, cases: int) -> None:
    """Open every recording of CORPUS, a data directory or any folder, and report errors.

    In a data directory with emotions and folds, trivial classifiers then show how well the level of a recording, its
    duration, its text and so on predict the emotion without the voice. Their scores are written to CORPUS/cues.json,
    for soctk-score and soctk-report.

    The exit code is 1 if an error would change a result.
    """
    from tabulate import tabulate

    from soctk.corpus.doctor import check
    from soctk.errors import listing

    diagnosis = check(corpus)
    findings = diagnosis.findings
    click.echo(f"{corpus}: {diagnosis.summary}\n")
    rows = [(f.what, len(f.cases), ("yes" if f.changes_results else "no") if f.cases else "") for f in findings]
    click.echo(tabulate(rows, ("looked for", "found", "changes results"), tablefmt="simple"))
    for finding in findings:
        if finding.cases and cases:
            click.echo(f"\n{finding.what}:\n{listing(finding.cases, at_most=cases)}")
            if finding.remedy:
                click.echo(finding.remedy)
    if diagnosis.data is not None:
        click.echo(f"\n{_run_trivial_classifiers(diagnosis.data, diagnosis.usable)}")
    if any(finding.cases and finding.changes_results for finding in findings):
        raise click.exceptions.Exit(1)


def _run_trivial_classifiers(data: "DataDir", infos: Mapping[str, "AudioInfo"]) -> str:
    """Write the scores of the trivial classifiers into the data directory, and return them as text."""
    from soctk.reporting.trivial import as_text
    from soctk.scoring import cues
    from soctk.training import trivial

    obstacle = trivial.find_obstacle(data)
    if not obstacle and len(infos) < len(data.speaker):
        obstacle = "they need all recordings. Correct the errors above, and run soctk-check again"
    if obstacle or data.path is None:
        return f"No trivial classifiers: {obstacle}."
    found = trivial.evaluate(data, infos)
    try:
        cues.write(data.path, found)
        note = f"Written to {data.path / cues.FILE}, for soctk-score and soctk-report."
    except OSError as error:
        note = f"Not written for soctk-score and soctk-report: {error.filename}: {error.strerror}."
    return f"{as_text(found)}\n\n{note}"
