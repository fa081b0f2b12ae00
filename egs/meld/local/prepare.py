"""Write the data directory of MELD (Poria et al. 2019, doi 10.18653/v1/P19-1050).

PART_sent_emo.csv has a row for each utterance: Speaker, Emotion, Dialogue_ID and Utterance_ID. The recording is
diaD_uttU.mp4 in the folder of the part; the same names occur in all parts.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from soctk.cli.common import Command, Directory
from soctk.corpus import audio, datadir, names, quick_checks, recordings
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError, listing

EMOTIONS = {
    "neutral": "Neutral",
    "joy": "Happy",
    "sadness": "Sad",
    "anger": "Angry",
    "fear": "Fear",
    "disgust": "Disgust",
    "surprise": "Surprise",
}
# Part -> the folder of its recordings, and the number of its utterances.
FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
COUNTS = {"train": 9989, "dev": 1109, "test": 2610}
COLUMNS = ("Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
# In the published archive, the first of these is missing and the second cannot be decoded (issues 22 and 39 of
# github.com/declare-lab/MELD).
KNOWN = {"dev": {"dia110_utt7"}, "train": {"dia125_utt3"}}
CHANNEL = "mix"  # most of the videos have six channels, and the speech is not in the first one
REMEDY = (
    "Unpack MELD.Raw.tar.gz and the train.tar.gz, dev.tar.gz and test.tar.gz in it, and give the folder MELD.Raw with "
    "--corpus DIR. The three tables are also in https://github.com/declare-lab/MELD (data/MELD)."
)


@dataclass(frozen=True)
class Utterance:
    """An utterance: its part of the partition, the name of its recording, speaker and class."""

    part: str
    name: str
    speaker: str
    emotion: str


def find_tables(corpus: Path) -> dict[str, Path]:
    """Return part -> its table.

    Raises:
        SoctkError: a table is missing.
    """
    files = list(recordings.list_files(corpus.absolute()))
    tables = {part: [file for file in files if file.name == f"{part}_sent_emo.csv"] for part in FOLDERS}
    missing = [f"{part}_sent_emo.csv" for part, found in tables.items() if not found]
    if missing:
        raise SoctkError(f"{len(missing)} of the 3 tables are missing\n{listing(missing)}", REMEDY, corpus)
    return {part: found[0] for part, found in tables.items()}


def read_table(part: str, table: Path) -> Iterator[Utterance]:
    """Yield the utterances of a part.

    Raises:
        SoctkError: columns are missing, or a class is unknown.
    """
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    lacking = [column for column in COLUMNS if not rows or column not in rows[0]]
    if lacking:
        raise SoctkError(f"no column {', '.join(lacking)}", "Take the table of MELD as it is.", table)
    unknown = sorted({row["Emotion"] for row in rows} - EMOTIONS.keys())
    if unknown:
        raise SoctkError(f"unknown emotions: {', '.join(unknown)}", "Take the table of MELD as it is.", table)
    for row in rows:
        name = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
        # The same name is spelled in several ways.
        speaker = names.skeleton(names.normalise(row["Speaker"]), numbers=False).replace("/", "_")
        yield Utterance(part, name, speaker, EMOTIONS[row["Emotion"]])


def find_recordings(corpus: Path, utterances: list[Utterance], partial: bool) -> dict[Utterance, Path]:
    """Return utterance -> recording, without those that are known to be missing or unreadable.

    Raises:
        SoctkError: other recordings are missing.
    """
    files = {
        (file.parent.name, file.stem): file for file in recordings.list_files(corpus.absolute()) if _is_audio(file)
    }
    paths = {utterance: files.get((FOLDERS[utterance.part], utterance.name)) for utterance in utterances}
    found = {utterance: path for utterance, path in paths.items() if path and not _is_known(utterance)}
    lacking = [utterance for utterance in utterances if utterance not in found and not _is_known(utterance)]
    missing = [f"{FOLDERS[utterance.part]}/{utterance.name}.mp4" for utterance in lacking]
    what = f"{len(missing)} of the {len(utterances)} recordings are missing\n{listing(missing)}"
    if missing and not (partial and found):
        hint = " To use an incomplete copy, give --partial true." if found else ""
        raise SoctkError(what, remedy=f"{REMEDY}{hint}", where=corpus)
    if missing:
        click.echo(f"Warning: {what}\nResults cannot be compared with published ones.")
    return found


def _is_audio(file: Path) -> bool:
    return file.suffix.lower() in {".mp4", *audio.SUFFIXES}


def _is_known(utterance: Utterance) -> bool:
    return utterance.name in KNOWN.get(utterance.part, ())


@click.command(cls=Command)
@click.argument("corpus", type=Directory(exists=True))
@click.argument("data", type=Directory())
@click.option("--partial", is_flag=True, help="Use an incomplete copy.")
def main(corpus: Path, data: Path, partial: bool) -> None:
    """Write the data directory DATA of MELD in the folder CORPUS, with its partition."""
    utterances = [u for part, table in find_tables(corpus).items() for u in read_table(part, table)]
    for part, count in COUNTS.items():
        own = sum(utterance.part == part for utterance in utterances)
        if own != count:
            click.echo(f"Warning: {part}_sent_emo.csv has {own} rows, not {count}: this is another version of MELD")
    found = find_recordings(corpus, utterances, partial)
    known = sum(map(_is_known, utterances))
    if known:
        click.echo(
            f"{known} utterances are left out: their recordings are missing or unreadable in the published archive"
        )
    ids = {u: f"{u.speaker}-{u.part}-{u.name}" for u in found}
    infos = audio.check({ids[u]: path for u, path in found.items()}, CHANNEL)
    meld = DataDir(
        wav={ids[u]: path for u, path in found.items()},
        speaker={ids[u]: u.speaker for u in found},
        emotion={ids[u]: u.emotion for u in found},
        seconds={utt: round(info.seconds, 4) for utt, info in infos.items()},
        gender={},
        fold={},
        emotions=tuple(EMOTIONS.values()),
        split={ids[u]: u.part for u in found},
        channel=CHANNEL,
    )
    datadir.write(data, meld)
    for note in quick_checks.recording_notes(meld, infos):
        click.echo(note)


if __name__ == "__main__":
    main()
