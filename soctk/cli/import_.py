"""soctk-import: make a data directory from tables of labels, metadata of EmoBox, audformat or Kaldi, or file names."""

import re
from pathlib import Path

import click

from soctk.cli.common import CONTEXT, Command, Directory, File, option


class Column(click.ParamType):
    """The kind of a column and its name in the table, as KIND=NAME."""

    name = "column"

    def convert(self, value, param, ctx):
        """Return a pair of str."""
        kind, equals, name = value.partition("=")
        known = ["path", "emotion", "speaker", "sex", "fold", "utterance-fold", "split", "start", "end"]
        known += ["label", "arousal", "valence", "dominance"]
        if not equals or kind not in known:
            self.fail(f"'{value}' is not KIND=NAME with a KIND of {', '.join(known)}", param, ctx)
        return kind.replace("-", "_"), name


class Channel(click.ParamType):
    """A number from 1, or `mix`."""

    name = "channel"

    def convert(self, value, param, ctx):
        """Return the text."""
        if value != "mix" and not re.fullmatch("[1-9][0-9]{0,3}", value):
            self.fail(f"'{value}' is not 1, 2, ... or mix", param, ctx)
        return value


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("sources", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.argument("data", type=Directory())
@option("--kaldi", metavar="DIR", type=Directory(exists=True), help="Data directory of Kaldi: it is the first source.")
@option(
    "--audio",
    type=Directory(exists=True),
    help="Folder to which the paths in the first source are relative.",
    show_default="the folder of the table or of the recordings; for EmoBox, the parent of data/",
)
@option("--pattern", help="Pattern of the file names in a folder of recordings, such as '{speaker}_{emotion}_{n}.wav'.")
@option(
    "--column",
    "columns",
    type=Column(),
    metavar="KIND=NAME",
    multiple=True,
    help="Name of the column for path, emotion, speaker, sex, fold, utterance-fold (published folds that may share "
    "speakers), split (a published partition into train, dev and tests), start, end, arousal, valence or dominance, "
    "such as path=recording; or label for the label of one annotator. Can be repeated; several columns of "
    "a KIND are joined with '-', except those of label, which are votes. An empty NAME ignores the kind.",
    show_default="NAME is KIND",
)
@option(
    "--labels",
    type=File(exists=True),
    help="Label map: a YAML file with lines LABEL: CLASS. The class null drops the label's utterances.",
    show_default="labels are the classes",
)
@option(
    "--folds",
    type=File(),
    help="Fold table. If the file does not exist, folds are made and written to it.",
    show_default="DATA/folds.yaml",
)
@option("--num-folds", type=click.IntRange(min=2), help="Number of folds to make.", show_default="5")
@option(
    "--channel",
    type=Channel(),
    help="Channel of the recordings to use: 1, 2, ..., or mix for the mean of all channels.",
    show_default="1, or that of the directory of --kaldi",
)
@option(
    "--duplicates",
    type=File(exists=True),
    help="List of utterances that are known to have the same recording: two or more ids on each line.",
    show_default="none, or that of the directory of --kaldi",
)
def main(
    sources: tuple[Path, ...],
    data: Path,
    kaldi: Path | None,
    audio: Path | None,
    pattern: str | None,
    columns: tuple[tuple[str, str], ...],
    labels: Path | None,
    folds: Path | None,
    num_folds: int | None,
    channel: str | None,
    duplicates: Path | None,
) -> None:
    """Write the data directory DATA from SOURCES.

    A source is a table (.csv, .tsv, .parquet, .jsonl) with the columns path, emotion, speaker and optionally sex, fold,
    split (a published partition; speakers may then be unknown), start and end (parts of recordings, in seconds);
    or a folder of EmoBox's metadata; or, with --pattern, a folder of recordings. Further tables with the same columns
    add recordings. Other sources add columns, by path or by speaker: tables, or the db.yaml of an audformat database.
    With --kaldi, further SOURCES are not needed.

    Labels can also be numbers in the columns arousal, valence and dominance, with or without emotions, and the emotions
    of several annotators (--column label=NAME for each).

    If no source gives folds or a partition, the speakers are divided into folds, balanced by class and sex.
    """
    from soctk.corpus import datadir, importing
    from soctk.corpus.folds import read as read_folds
    from soctk.corpus.importing import kaldi as kaldi_files
    from soctk.corpus.labels import read as read_labels

    if not sources and not kaldi:
        raise click.UsageError("Missing argument 'SOURCES...'.")
    if kaldi:
        kaldi_files.check(kaldi)
        sources = (kaldi, *sources)
    account, choice = importing.Account(), _choice(columns)
    has_order = kaldi is not None and labels is None and "emotion" not in choice  # the file `emotions` applies
    choice = choice if has_order else {"distribution": (), **choice}
    classes = read_labels(labels) if labels else {}
    rows = importing.read(sources, pattern, choice, audio=audio, labels=classes, account=account)
    if classes and any("emotion" in row for row in rows):
        rows, dropped = importing.relabel(rows, classes)
        for label, count in sorted(dropped.items()):
            rule = f"with the label '{label}'" if label else "without an emotion"
            account.left_out[f"{rule}, dropped by {labels}"] += count
    rows = importing.count_votes(rows, classes, account)
    channel = channel or (datadir.read_channel(kaldi) if kaldi else "1")
    known_copies = datadir.read_known_copies(kaldi) if kaldi else frozenset()
    known_copies = frozenset(datadir.read_duplicates(duplicates)) if duplicates else known_copies
    table = folds or data / "folds.yaml"
    is_made = not (table.exists() and read_folds(table))
    root = audio or importing.audio_root(sources[0])
    order = kaldi_files.read_classes(kaldi) if kaldi and has_order else classes
    corpus = importing.build_corpus(rows, root, order, table, num_folds, account, channel, known_copies)
    datadir.write(data, corpus)
    for line in account.summary(len(corpus.utterances)):
        click.echo(line)
    click.echo(f"{data}: {datadir.summary(corpus)}")
    if corpus.fold:
        click.echo(f"folds: {table}{' (made now)' if is_made else ''}")


def _choice(columns: tuple[tuple[str, str], ...]) -> dict[str, tuple[str, ...]]:
    """Return kind -> the names of its columns, in the order given; none for a kind that is ignored."""
    choice: dict[str, tuple[str, ...]] = {}
    for kind, name in columns:
        choice[kind] = (*choice.get(kind, ()), *([name] if name else []))
    return choice
