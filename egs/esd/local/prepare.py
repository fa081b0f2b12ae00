"""Write the data directory of ESD (Zhou et al. 2022, doi 10.1016/j.specom.2021.11.006).

Recordings are SPEAKER/EMOTION/SPEAKER_NUMBER.wav; some copies have a folder train, evaluation or test below EMOTION.
The numbers of a speaker go from 1 to 1750, with 350 consecutive numbers for each emotion.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

import click

from soctk.cli.common import Command, Directory
from soctk.corpus import audio, datadir, quick_checks, recordings
from soctk.corpus import folds as fold_tables
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError, listing, plural

EMOTIONS = ("Neutral", "Angry", "Happy", "Sad", "Surprise")
TAKES = 350  # recordings of each speaker and emotion
WOMEN = {1, 2, 3, 7, 9, 15, 16, 17, 18, 19}
SPLITS = ("train", "evaluation", "test")
FILES = f"{'[0-9]' * 4}_{'[0-9]' * 6}.wav"
REMEDY = "Unpack the archive of ESD again, and give its folder of speakers or a parent folder with --corpus DIR."


def speaker_of(name: str) -> str:
    """Return the speaker of a recording: esd-0011 for 0011_000351."""
    return f"esd-{name[:4]}"


def emotion_of(name: str) -> str:
    """Return the emotion of a recording, from the number in its name."""
    return EMOTIONS[(int(name[5:]) - 1) // TAKES]


def names_of(speaker: str, emotion: str) -> list[str]:
    """Return the names of the 350 recordings of a speaker and an emotion."""
    first = EMOTIONS.index(emotion) * TAKES + 1
    return [f"{speaker.removeprefix('esd-')}_{number:06}" for number in range(first, first + TAKES)]


def folder_of(path: Path) -> str:
    """Return the name of the emotion folder that contains a recording, in either layout."""
    return path.parent.parent.name if path.parent.name in SPLITS else path.parent.name


def find_recordings(corpus: Path, speakers: Iterable[str], partial: bool) -> dict[str, Path]:
    """Return name -> recording for some speakers.

    Args:
        corpus: a folder with ESD at any depth.
        speakers: the speakers.
        partial: whether to use an incomplete copy, with a warning; otherwise missing recordings are an error.

    Raises:
        SoctkError: recordings are missing, have numbers that ESD does not use, or lie in the folder of an emotion that
            disagrees with their number, or two recordings with the same name differ in content.
    """
    speakers = sorted(speakers)
    copies = {name: paths for name, paths in recordings.find(corpus, FILES).items() if speaker_of(name) in speakers}
    expected = [name for speaker, emotion in product(speakers, EMOTIONS) for name in names_of(speaker, emotion)]
    chosen = recordings.choose(
        copies, expected, corpus, REMEDY, click.echo, partial, lambda missing: list_missing(copies.keys(), speakers)
    )
    misplaced = list(list_misplaced(copies))
    if misplaced:
        raise SoctkError(
            f"recordings with unknown numbers or in the wrong folder\n{listing(misplaced)}", remedy=REMEDY, where=corpus
        )
    return chosen


def list_missing(names: Iterable[str], speakers: Iterable[str]) -> Iterator[str]:
    """Yield a line for each missing speaker, and for each speaker and emotion with missing recordings."""
    names = set(names)
    for speaker in speakers:
        if not any(name.startswith(speaker.removeprefix("esd-")) for name in names):
            yield f"{speaker}: the speaker is missing"
            continue
        for emotion in EMOTIONS:
            lacking = [name for name in names_of(speaker, emotion) if name not in names]
            if lacking:
                yield f"{speaker} {emotion}: {len(lacking)} of {TAKES} are missing, such as {lacking[0]}"


def list_misplaced(copies: dict[str, list[Path]]) -> Iterator[str]:
    """Yield a line for each number that ESD does not use, and for each folder with recordings of another emotion."""
    misplaced: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for name, paths in sorted(copies.items()):
        if not 1 <= int(name[5:]) <= TAKES * len(EMOTIONS):
            yield f"{name}: the numbers of ESD go from 1 to {TAKES * len(EMOTIONS)}"
            continue
        for folder in {folder_of(path) for path in paths} - {emotion_of(name)}:
            misplaced[speaker_of(name), folder, emotion_of(name)].append(name)
    for (speaker, folder, emotion), names in misplaced.items():
        numbers = f"{plural(len(names), 'recording has', 'recordings have')} numbers of {emotion}"
        yield f"{speaker} {folder}: {numbers}, such as {names[0]}"


def check_durations(seconds: dict[str, float]) -> None:
    """Compare the duration of each speaker and emotion with EmoBox's (local/seconds.tsv); warn if they differ."""
    total: defaultdict[tuple[str, str], float] = defaultdict(float)
    count: Counter[tuple[str, str]] = Counter()
    for name, duration in seconds.items():
        total[speaker_of(name), emotion_of(name)] += duration
        count[speaker_of(name), emotion_of(name)] += 1
    with Path("local/seconds.tsv").open() as lines:
        expected = {row.pop("speaker"): row for row in csv.DictReader(lines, delimiter="\t")}
    different = [
        f"{speaker} {emotion}: {total[speaker, emotion]:.3f} s, not {expected[speaker][emotion]} s"
        for speaker, emotion in total
        if count[speaker, emotion] == TAKES
        and abs(total[speaker, emotion] - float(expected[speaker][emotion])) > 0.001 * TAKES
    ]
    if different:
        click.echo(
            "Warning: the durations differ from those in EmoBox; files may be cut short, or this is another version of "
            f"ESD\n{listing(different)}"
        )


@click.command(cls=Command)
@click.argument("corpus", type=Directory(exists=True))
@click.argument("data", type=Directory())
@click.option("--folds", type=click.Path(path_type=Path), required=True, help="The fold table; its speakers are used.")
@click.option("--partial", is_flag=True, help="Use an incomplete copy.")
def main(corpus: Path, data: Path, folds: Path, partial: bool) -> None:
    """Write the data directory DATA of ESD's recordings in the folder CORPUS."""
    fold = fold_tables.read(folds)
    paths = find_recordings(corpus, fold, partial)
    infos = audio.check(paths)
    check_durations({name: info.seconds for name, info in infos.items()})
    utterances = {name: f"esd-{name.replace('_', '-')}" for name in paths}
    present = {speaker_of(name) for name in paths}
    esd = DataDir(
        wav={utterances[name]: path for name, path in paths.items()},
        speaker={utterances[name]: speaker_of(name) for name in paths},
        emotion={utterances[name]: emotion_of(name) for name in paths},
        seconds={utterances[name]: round(info.seconds, 4) for name, info in infos.items()},
        gender={speaker: "f" if int(speaker[-4:]) in WOMEN else "m" for speaker in present},
        fold={speaker: k for speaker, k in fold.items() if speaker in present},
        emotions=EMOTIONS,
    )
    datadir.write(data, esd)
    for note in quick_checks.recording_notes(esd, {utterances[name]: info for name, info in infos.items()}):
        click.echo(note)


if __name__ == "__main__":
    main()
