"""Write the data directory of MSP-Podcast (Lotfian & Busso 2019, doi 10.1109/TAFFC.2017.2736999).

Labels/labels_consensus.csv has a row for each recording: FileName, EmoClass, EmoAct, EmoVal, EmoDom, SpkrID, Gender and
Split_Set. The recordings are in Audios (older releases: Audio).
"""

import csv
from collections import Counter
from pathlib import Path

import click

from soctk.cli.common import Command, Directory
from soctk.corpus import audio, datadir, names, quick_checks, recordings
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError, listing

EMOTIONS = {
    "N": "Neutral",
    "H": "Happy",
    "S": "Sad",
    "A": "Angry",
    "F": "Fear",
    "D": "Disgust",
    "U": "Surprise",
    "C": "Contempt",
}
LEFT_OUT = {"X": "no agreement", "O": "other"}
DIMENSIONS = {"arousal": "EmoAct", "valence": "EmoVal", "dominance": "EmoDom"}
PARTS = {
    "train": "train",
    "development": "dev",
    "validation": "dev",
    "test1": "test1",
    "test2": "test2",
    "test3": "test3",
}
COLUMNS = ("FileName", "EmoClass", *DIMENSIONS.values(), "SpkrID", "Gender", "Split_Set")
TABLES = ("labels_consensus.csv", "labels_concensus.csv")  # the second spelling is that of older releases
REMEDY = "Unpack Audios and Labels of one release, and give their folder with --corpus DIR."


def read_table(corpus: Path) -> list[dict[str, str]]:
    """Return the rows of the consensus labels.

    Raises:
        SoctkError: the table is missing, is there twice, or lacks columns.
    """
    found = [file for file in recordings.list_files(corpus.absolute()) if file.name in TABLES]
    if len(found) != 1:
        what = f"{TABLES[0]} is there {len(found)} times\n{listing(map(str, found))}" if found else f"no {TABLES[0]}"
        raise SoctkError(what, remedy=REMEDY, where=corpus)
    with found[0].open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        lacking = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if lacking:
            raise SoctkError(f"no column {', '.join(lacking)}", "Take the table of the release as it is.", found[0])
        return list(reader)


def choose(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the rows with a class and a part of the partition, and tell how many others there are.

    Raises:
        SoctkError: a class or a part is unknown, or no row is left.
    """
    unknown = {f"EmoClass {row['EmoClass']}" for row in rows if row["EmoClass"] not in {*EMOTIONS, *LEFT_OUT}}
    unknown |= {f"Split_Set {row['Split_Set']}" for row in rows if row["Split_Set"].lower() not in PARTS}
    if unknown:
        raise SoctkError(
            f"unknown values\n{listing(sorted(unknown))}",
            "Take the table of the release as it is.",
            "labels_consensus.csv",
        )
    kept = [row for row in rows if row["EmoClass"] in EMOTIONS]
    dropped = Counter(LEFT_OUT[row["EmoClass"]] for row in rows if row["EmoClass"] in LEFT_OUT)
    click.echo(
        f"{len(rows)} rows = {len(kept)} in 8 classes" + "".join(f" + {n} {w}" for w, n in sorted(dropped.items()))
    )
    return kept


def name_speaker(row: dict[str, str]) -> str:
    """Return the speaker, or "" if the table does not know it."""
    speaker = names.to_word(row["SpkrID"])
    return "" if speaker.lower() in ("", "unknown") else f"spk{int(speaker):04}" if speaker.isdigit() else speaker


@click.command(cls=Command)
@click.argument("corpus", type=Directory(exists=True))
@click.argument("data", type=Directory())
@click.option("--partial", is_flag=True, help="Use an incomplete copy.")
def main(corpus: Path, data: Path, partial: bool) -> None:
    """Write the data directory DATA of MSP-Podcast in the folder CORPUS: 8 classes, 3 dimensions, and its partition."""
    rows = {Path(row["FileName"]).stem: row for row in choose(read_table(corpus))}
    copies = recordings.find(corpus, "MSP-PODCAST_*.wav")
    paths = recordings.choose(copies, sorted(rows), corpus, REMEDY, click.echo, partial)
    speakers = {name: name_speaker(rows[name]) for name in paths}
    utterances = {name: f"{speaker}-{name}" if speaker else name for name, speaker in speakers.items()}
    kept = {utterances[name]: rows[name] for name in paths}
    speaker = {utterances[name]: speakers[name] or name for name in paths}
    infos = audio.check({utterances[name]: path for name, path in paths.items()})
    sexes = {speaker[utt]: row["Gender"][:1].lower() for utt, row in kept.items() if speaker[utt] != utt}
    podcast = DataDir(
        wav={utterances[name]: path for name, path in paths.items()},
        speaker=speaker,
        emotion={utt: EMOTIONS[row["EmoClass"]] for utt, row in kept.items()},
        seconds={utt: round(info.seconds, 4) for utt, info in infos.items()},
        gender={name: sex for name, sex in sexes.items() if sex in ("f", "m")},
        fold={},
        emotions=tuple(EMOTIONS.values()),
        dimensions={
            name: {utt: float(row[column]) for utt, row in kept.items()} for name, column in DIMENSIONS.items()
        },
        split={utt: PARTS[row["Split_Set"].lower()] for utt, row in kept.items()},
    )
    datadir.write(data, podcast)
    for note in quick_checks.recording_notes(podcast, infos):
        click.echo(note)


if __name__ == "__main__":
    main()
