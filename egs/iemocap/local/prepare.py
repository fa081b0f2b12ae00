"""Write the data directory of IEMOCAP (Busso et al. 2008, doi 10.1007/s10579-008-9076-6).

Session1/dialog/EmoEvaluation/DIALOGUE.txt has a line for each turn: times, name, label, valence, activation and
dominance. The recording is Session1/sentences/wav/DIALOGUE/TURN.wav. The letter before the number of a turn is its
speaker; the letter after the session, as in Ses01F_impro01_M000, is the actor who wore the markers, not the speaker.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from soctk.cli.common import Command, Directory
from soctk.corpus import audio, datadir, folds, quick_checks, recordings
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError, listing

EMOTIONS = {"neu": "Neutral", "hap": "Happy", "exc": "Happy", "sad": "Sad", "ang": "Angry"}
CLASSES = ("Neutral", "Happy", "Sad", "Angry")
USED = 5531  # turns with these labels in the whole corpus
DIMENSIONS = ("valence", "arousal", "dominance")  # the order of the three ratings; IEMOCAP calls arousal activation
SESSIONS = [f"Session{number}" for number in range(1, 6)]
REMEDY = "Unpack IEMOCAP_full_release again, and give it or a parent folder with --corpus DIR."
NAME = r"Ses(?P<session>0[1-5])[FM]_\w+_(?P<letter>[FM])[A-Z]*\d{3}"
LINE = re.compile(rf"\[[\d.]+ - [\d.]+\]\t(?P<name>{NAME})\t(?P<label>[a-z]{{3}})\t\[(?P<ratings>[\d., ]+)\]")


@dataclass(frozen=True)
class Turn:
    """A labelled turn: its speaker, label and mean ratings from 1 to 5."""

    name: str
    speaker: str
    label: str
    ratings: tuple[float, ...]


def find_sessions(corpus: Path, partial: bool) -> dict[str, Path]:
    """Return session -> folder, from any folder that contains the sessions.

    Raises:
        SoctkError: sessions are missing, or a session is there twice.
    """
    tables = [file for file in recordings.list_files(corpus.absolute()) if file.parent.name == "EmoEvaluation"]
    folders: dict[str, set[Path]] = {}
    for file in tables:
        session = file.parents[2]
        if session.name in SESSIONS and file.parent.parent.name == "dialog":
            folders.setdefault(session.name, set()).add(session)
    twice = [f"{name}: {' and '.join(map(str, sorted(paths)))}" for name, paths in folders.items() if len(paths) > 1]
    if twice:
        raise SoctkError(f"sessions are there twice\n{listing(twice)}", "Keep one copy of each session.", corpus)
    missing = [f"{name}/dialog/EmoEvaluation" for name in SESSIONS if name not in folders]
    if missing and not (partial and folders):
        hint = " To use an incomplete copy, give --partial true." if folders else ""
        raise SoctkError(f"{len(missing)} of the 5 sessions are missing\n{listing(missing)}", f"{REMEDY}{hint}", corpus)
    if missing:
        click.echo(f"Warning: {len(missing)} of the 5 sessions are missing\n{listing(missing)}")
    return {name: paths.pop() for name, paths in sorted(folders.items())}


def read_turns(session: Path) -> Iterator[Turn]:
    """Yield the turns of a session, from the tables in EmoEvaluation; other lines are evaluations of single annotators.

    Raises:
        SoctkError: a table has no turn.
    """
    for table in sorted((session / "dialog" / "EmoEvaluation").glob("Ses*.txt")):
        turns = list(LINE.finditer(table.read_text(encoding="utf-8", errors="replace")))
        if not turns:
            raise SoctkError("no line with times, turn, label and three ratings", REMEDY, table)
        for turn in turns:
            ratings = tuple(float(number) for number in turn["ratings"].split(","))
            yield Turn(turn["name"], f"Ses{turn['session']}{turn['letter']}", turn["label"], ratings)


def find_recordings(sessions: dict[str, Path], turns: list[Turn], partial: bool) -> dict[str, Path]:
    """Return turn -> recording, for the turns with a class.

    Raises:
        SoctkError: recordings are missing.
    """
    paths = {
        turn.name: sessions[f"Session{turn.name[4]}"]
        / "sentences"
        / "wav"
        / turn.name.rpartition("_")[0]
        / f"{turn.name}.wav"
        for turn in turns
    }
    missing = [str(path) for path in paths.values() if not path.is_file()]
    what = f"{len(missing)} of the {len(paths)} recordings are missing\n{listing(missing)}"
    if missing and not (partial and len(missing) < len(paths)):
        hint = " To use an incomplete copy, give --partial true." if len(missing) < len(paths) else ""
        raise SoctkError(what, remedy=f"Unpack sentences/wav of each session. {REMEDY}{hint}")
    if missing:
        click.echo(f"Warning: {what}\nResults cannot be compared with published ones.")
    return {name: path for name, path in paths.items() if path.is_file()}


@click.command(cls=Command)
@click.argument("corpus", type=Directory(exists=True))
@click.argument("data", type=Directory())
@click.option("--partial", is_flag=True, help="Use an incomplete copy.")
def main(corpus: Path, data: Path, partial: bool) -> None:
    """Write the data directory DATA of IEMOCAP in the folder CORPUS: 4 classes, and the ratings of three dimensions."""
    sessions = find_sessions(corpus, partial)
    turns = [turn for session in sessions.values() for turn in read_turns(session)]
    labelled = [turn for turn in turns if turn.label in EMOTIONS]
    dropped = Counter(turn.label for turn in turns if turn.label not in EMOTIONS)
    click.echo(
        f"{len(turns)} turns = {len(labelled)} in {len(CLASSES)} classes + "
        + " + ".join(f"{count} {label}" for label, count in sorted(dropped.items()))
    )
    if len(labelled) != USED and len(sessions) == len(SESSIONS):
        click.echo(
            f"Warning: the release of 2008 has {USED} turns in these classes; this is another version of IEMOCAP"
        )
    paths = find_recordings(sessions, labelled, partial)
    utterances = {turn.name: f"{turn.speaker}-{turn.name}" for turn in labelled if turn.name in paths}
    kept = {utterances[turn.name]: turn for turn in labelled if turn.name in utterances}
    infos = audio.check({utt: paths[turn.name] for utt, turn in kept.items()})
    speakers = {turn.speaker for turn in kept.values()}
    iemocap = DataDir(
        wav={utt: paths[turn.name] for utt, turn in kept.items()},
        speaker={utt: turn.speaker for utt, turn in kept.items()},
        emotion={utt: EMOTIONS[turn.label] for utt, turn in kept.items()},
        seconds={utt: round(info.seconds, 4) for utt, info in infos.items()},
        gender={name: name[-1].lower() for name in speakers},
        fold={name: k for name, k in folds.read(Path("conf/folds.yaml")).items() if name in speakers},
        emotions=CLASSES,
        dimensions={
            name: {utt: turn.ratings[number] for utt, turn in kept.items()} for number, name in enumerate(DIMENSIONS)
        },
        extra={
            "dialogue": {utt: "improvised" if "impro" in turn.name else "scripted" for utt, turn in kept.items()},
            "label": {utt: turn.label for utt, turn in kept.items()},
        },
    )
    datadir.write(data, iemocap)
    for note in quick_checks.recording_notes(iemocap, infos):
        click.echo(note)


if __name__ == "__main__":
    main()
