"""Write the data directory of a corpus of EmoBox (arXiv 2406.07162), with EmoBox's folds and classes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import corpora
from corpora import Corpus

from soctk.cli.common import Command, Directory
from soctk.corpus import datadir, emobox, importing, recordings
from soctk.corpus.importing.rows import Row
from soctk.errors import SoctkError, listing, plural

METADATA = "git clone https://github.com/emo-box/EmoBox, and give its folder with --emobox DIR."
REMEDY = "Get the whole corpus (README.md), unpack it, and give its folder with --corpus DIR."


def find_metadata(folder: str, name: str) -> Path:
    """Return EmoBox's folder data/NAME, given a checkout of EmoBox or its folder data.

    Raises:
        SoctkError: there is no such folder, or its lists of utterances are missing.
    """
    if not folder:
        raise SoctkError("stage 0 needs EmoBox's metadata", remedy=METADATA)
    for parent in (Path(folder, "data"), Path(folder)):
        if (parent / name).is_dir():
            if not emobox.is_emobox(parent / name):
                raise SoctkError("no list of utterances such as fold_1/NAME_test_fold_1.jsonl", METADATA, parent / name)
            return parent / name
    raise SoctkError(f"no metadata of {name}: neither data/{name} nor {name} is a folder", METADATA, folder)


def find_recordings(rows: Sequence[Mapping[str, Any]], corpus: Path, partial: bool) -> dict[str, Path]:
    """Return path in the metadata -> recording.

    Raises:
        SoctkError: recordings are missing; with `partial`, all of them.
    """
    paths = list(dict.fromkeys(row["wav"] for row in rows))
    found = recordings.match(corpus, paths, "Keep one copy of the corpus in this folder.")
    missing = [path for path in paths if path not in found]
    what = f"{len(missing)} of the {plural(len(paths), 'recording')} are missing\n{listing(missing)}"
    if missing and not (partial and found):
        hint = f"{REMEDY} To use an incomplete copy, give --partial true." if found else REMEDY
        raise SoctkError(what, remedy=hint, where=corpus)
    if missing:
        click.echo(f"Warning: {what}\nResults cannot be compared with published ones.")
    return found


def make_row(row: Mapping[str, Any], corpus: Corpus, path: Path) -> Row:
    """Return the row of an utterance for the import, from EmoBox's description of it."""
    division = "utterance_fold" if row["fold"].isdigit() else "split"
    made = {"path": str(path), "emotion": row["emo"], division: row["fold"], **corpus.describe(row["wav"])}
    if "start_time" in row:
        made |= {"start": str(row["start_time"]), "end": str(row["end_time"])}
    return made


@click.command(cls=Command)
@click.argument("name")
@click.argument("corpus", type=Directory(exists=True))
@click.argument("data", type=Directory())
@click.option("--emobox", "checkout", default="", help="EmoBox's checkout, or its folder data.")
@click.option("--partial", is_flag=True, help="Use an incomplete copy.")
def main(name: str, corpus: Path, data: Path, checkout: str, partial: bool) -> None:
    """Write the data directory DATA of EmoBox's corpus NAME, with the recordings in the folder CORPUS."""
    described = corpora.read()[name]
    account = importing.Account()
    metadata = find_metadata(checkout, name)
    rows = emobox.read(metadata, lambda line: account.note(line) if "--channel" not in line else None)
    account.read[metadata] = len(rows)
    tested = [row for row in rows if row["fold"]]
    account.left_out["in no fold"] += len(rows) - len(tested)
    found = find_recordings(tested, corpus / name if (corpus / name).is_dir() else corpus, partial)
    present = [row for row in tested if row["wav"] in found]
    account.left_out["without a recording"] += len(tested) - len(present)
    try:
        made = [make_row(row, described, found[row["wav"]]) for row in present]
    except ValueError as error:
        raise SoctkError(f"the path '{error}' does not tell the speaker", "Report it: corpora.tsv is wrong.") from error
    copies = Path("conf", "duplicates", name)
    known = frozenset(datadir.read_duplicates(copies)) if copies.is_file() else frozenset()
    table = data / "folds.yaml"
    made_corpus = importing.build_corpus(made, corpus, {}, table, None, account, described.channel, known)
    known = frozenset(group for group in known if group <= set(made_corpus.utterances))
    datadir.write(data, replace(made_corpus, duplicates=known))
    if described.note:
        account.note(f"Note: {described.note}")
    for line in account.summary(len(made_corpus.utterances)):
        click.echo(line)


if __name__ == "__main__":
    main()
