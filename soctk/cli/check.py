"""soctk-check: find errors in a corpus."""

from pathlib import Path

import click

from soctk.cli.common import CONTEXT, Command, Directory, option


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("corpus", type=Directory(exists=True))
@option("--cases", type=click.IntRange(min=0), default=5, help="Number of cases to list for each finding.")
def main(corpus: Path, cases: int) -> None:
    """Open every recording of CORPUS, a data directory or any folder, and report errors.

    The exit code is 1 if an error would change a result.
    """
    from tabulate import tabulate

    from soctk.corpus.doctor import check
    from soctk.errors import listing

    summary, findings = check(corpus)
    click.echo(f"{corpus}: {summary}\n")
    rows = [(f.what, len(f.cases), ("yes" if f.changes_results else "no") if f.cases else "") for f in findings]
    click.echo(tabulate(rows, ("looked for", "found", "changes results"), tablefmt="simple"))
    for finding in findings:
        if finding.cases and cases:
            click.echo(f"\n{finding.what}:\n{listing(finding.cases, at_most=cases)}")
            if finding.remedy:
                click.echo(finding.remedy)
    if any(finding.cases and finding.changes_results for finding in findings):
        raise click.exceptions.Exit(1)
