"""Write the data directory of RAVDESS (Livingstone & Russo 2018, doi 10.1371/journal.pone.0196391).

File names are modality-channel-emotion-intensity-statement-repetition-actor. Audio-only speech begins with 03-01.
"""

from pathlib import Path

import click

from soctk.cli.common import Command, Directory
from soctk.corpus import audio, datadir, folds, quick_checks, recordings
from soctk.corpus.datadir import DataDir

EMOTIONS = {
    "01": "Neutral",
    "02": "Calm",
    "03": "Happy",
    "04": "Sad",
    "05": "Angry",
    "06": "Fearful",
    "07": "Disgust",
    "08": "Surprised",
}
INTENSITIES = {"01": "normal", "02": "strong"}
STATEMENTS = {"01": "kids", "02": "dogs"}  # "Kids are talking by the door", "Dogs are sitting by the door"
ACTORS = [f"{actor:02}" for actor in range(1, 25)]
REMEDY = (
    "Unpack Audio_Speech_Actors_01-24.zip again and give its folder with --corpus DIR. "
    "Or remove downloads/ and run ./run.sh without --corpus, which downloads it again."
)


def expected_names() -> list[str]:
    """Return the 1,440 names: every combination except neutral with strong intensity, which was not recorded."""
    return [
        f"03-01-{emotion}-{intensity}-{statement}-{repetition}-{actor}"
        for actor in ACTORS
        for emotion in EMOTIONS
        for intensity in ("01", "02")
        if (emotion, intensity) != ("01", "02")
        for statement in ("01", "02")
        for repetition in ("01", "02")
    ]


def find_recordings(corpus: Path) -> dict[str, Path]:
    """Return name -> recording for the whole corpus.

    Raises:
        SoctkError: recordings are missing, or two recordings with the same name differ in content.
    """
    copies = recordings.find(corpus, "03-01-*.wav")
    return recordings.choose(copies, expected_names(), corpus, REMEDY, click.echo)


@click.command(cls=Command)
@click.argument("corpus", type=Directory(exists=True))
@click.argument("data", type=Directory())
def main(corpus: Path, data: Path) -> None:
    """Write the data directory DATA of RAVDESS's recordings in the folder CORPUS."""
    paths = find_recordings(corpus)
    utterances = {name: f"actor{name[-2:]}-{name}" for name in paths}
    wav = {utterances[name]: path for name, path in paths.items()}
    infos = audio.check(wav)
    ravdess = DataDir(
        wav=wav,
        speaker={utt: utt.partition("-")[0] for utt in wav},
        emotion={utterances[name]: EMOTIONS[name.split("-")[2]] for name in paths},
        seconds={utt: round(info.seconds, 4) for utt, info in infos.items()},
        gender={f"actor{actor}": "m" if int(actor) % 2 else "f" for actor in ACTORS},
        fold=folds.read(Path("conf/folds.yaml")),
        emotions=tuple(EMOTIONS.values()),
        extra={
            "intensity": {utterances[name]: INTENSITIES[name.split("-")[3]] for name in paths},
            "statement": {utterances[name]: STATEMENTS[name.split("-")[4]] for name in paths},
        },
        duplicates=frozenset(datadir.read_duplicates(Path("conf/duplicates"))),
    )
    datadir.write(data, ravdess)
    for note in quick_checks.recording_notes(ravdess, infos):
        click.echo(note)


if __name__ == "__main__":
    main()
