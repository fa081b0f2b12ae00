"""soctk-import: a data directory from a table of labels, EmoBox's or audformat's metadata, or file names."""

from pathlib import Path

import click

from soctk.cli.common import CONTEXT, Command, Directory, File


class Column(click.ParamType):
    """What a column is, and its name, as WHAT=NAME."""

    name = "column"

    def convert(self, value, param, ctx):
        """Return a pair of str."""
        what, equals, name = value.partition("=")
        known = ("path", "emotion", "speaker", "sex", "fold")
        if not equals or what not in known:
            self.fail(f"'{value}' is not WHAT=NAME, WHAT one of {', '.join(known)}", param, ctx)
        return what, name


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.argument("data", type=Directory())
@click.option("--audio", type=Directory(exists=True), help="What paths are relative to.", show_default="by the source")
@click.option("--pattern", help="What file names tell, such as '{speaker}_{emotion}_{n}.wav'.")
@click.option("--column", "columns", type=Column(), multiple=True, help="A column's name, such as path=recording.")
@click.option("--labels", type=File(exists=True), help="YAML: LABEL: CLASS lines; null for CLASS drops the label.")
@click.option("--folds", type=File(), help="Fold table, used or, if it is not there, written.", show_default="in DATA")
@click.option("--num-folds", type=click.IntRange(min=2), help="How many folds to make.", show_default="5")
def main(
    sources: tuple[Path, ...],
    data: Path,
    audio: Path | None,
    pattern: str | None,
    columns: tuple[tuple[str, str], ...],
    labels: Path | None,
    folds: Path | None,
    num_folds: int | None,
) -> None:
    """Write the data directory DATA from SOURCES.

    A source is a table (.csv, .tsv, .jsonl) with the columns path, emotion, speaker and perhaps sex and fold; a folder
    of EmoBox's metadata; with --pattern, a folder of recordings. Further sources complete the first, by path or by
    speaker: tables, or the db.yaml of an audformat database.

    Folds that nothing says are made, by speaker, balanced by class and sex.
    """
    from soctk.corpus import datadir, importing
    from soctk.corpus.folds import read as read_folds
    from soctk.corpus.labels import read as read_labels

    rows = importing.read(sources, pattern, dict(columns))
    classes = read_labels(labels) if labels else {}
    if classes:
        rows, dropped = importing.relabel(rows, classes)
        for label, count in sorted(dropped.items()):
            click.echo(f"dropped, as {labels} says: '{label}', {count} utterances")
    table = folds or data / "folds.yaml"
    is_made = not (table.exists() and read_folds(table))
    corpus = importing.build_corpus(rows, audio or importing.audio_root(sources[0]), classes, table, num_folds)
    datadir.write(data, corpus)
    click.echo(f"{data}: {datadir.summary(corpus)}")
    click.echo(f"folds: {table}{', written now' if is_made else ''}")
