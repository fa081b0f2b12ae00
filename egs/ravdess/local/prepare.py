"""Write the data directory of RAVDESS (Livingstone & Russo 2018, doi 10.1371/journal.pone.0196391).

File names are modality-channel-emotion-intensity-statement-repetition-actor; speech, audio only, is 03-01.
"""

from collections import defaultdict
from pathlib import Path

import click

from soctk.cli.common import Command, Directory
from soctk.corpus import audio, datadir, folds, recordings
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError, listing

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
STATEMENTS = {"01": "kids", "02": "dogs"}  # Kids, or dogs, are talking, or sitting, by the door
ACTORS = [f"{actor:02}" for actor in range(1, 25)]
REMEDY = (
    "Unpack Audio_Speech_Actors_01-24.zip anew and give its folder: --corpus DIR; "
    "or remove downloads/ and let ./run.sh without --corpus download it again."
)


def expected_names() -> list[str]:
    """Return the 1,440 file names: every combination but the strong neutral, which was not recorded."""
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
        SoctkError: recordings are missing, or two of the same name differ in content.
    """
    copies = recordings.find(corpus, "03-01-*.wav")
    expected = expected_names()
    missing = [name for name in expected if name not in copies]
    if missing:
        raise SoctkError(
            f"{len(missing)} of the {len(expected)} recordings are missing\n{listing(missing)}",
            remedy=REMEDY,
            where=corpus,
        )
    paths = recordings.first_of_each(copies, expected, corpus, REMEDY)
    repeated = sum(len(copies[name]) > 1 for name in expected)
    if repeated:
        click.echo(f"{corpus} holds {repeated} files more than once; the first of each is taken")
    return dict(zip(expected, paths, strict=True))


def tell_peculiarities(infos: dict[str, audio.AudioInfo]) -> None:
    """Say which recordings are stereo, and which are the same recording under two names."""
    stereo = sorted(utt for utt, info in infos.items() if info.channels > 1)
    if stereo:
        click.echo(f"{len(stereo)} files are stereo; their first channel is taken, as EmoBox does\n{listing(stereo)}")
    names = defaultdict(list)
    for utt, info in infos.items():
        names[info.digest].append(utt)
    for same in names.values():
        if len(same) > 1:
            click.echo(f"Warning: the same recording under {len(same)} names, all kept: {', '.join(same)}")


@click.command(cls=Command)
@click.argument("corpus", type=Directory(exists=True))
@click.argument("data", type=Directory())
def main(corpus: Path, data: Path) -> None:
    """Find RAVDESS's recordings below CORPUS and write the data directory DATA."""
    found = find_recordings(corpus)
    utterances = {name: f"actor{name[-2:]}-{name}" for name in found}
    wav = {utterances[name]: path for name, path in found.items()}
    infos = audio.check(wav)
    tell_peculiarities(infos)
    datadir.write(
        data,
        DataDir(
            wav=wav,
            speaker={utt: utt.partition("-")[0] for utt in wav},
            emotion={utterances[name]: EMOTIONS[name.split("-")[2]] for name in found},
            seconds={utt: round(info.seconds, 4) for utt, info in infos.items()},
            gender={f"actor{actor}": "m" if int(actor) % 2 else "f" for actor in ACTORS},
            fold=folds.read(Path("conf/folds.yaml")),
            emotions=tuple(EMOTIONS.values()),
            extra={
                "intensity": {utterances[name]: INTENSITIES[name.split("-")[3]] for name in found},
                "statement": {utterances[name]: STATEMENTS[name.split("-")[4]] for name in found},
            },
        ),
    )


if __name__ == "__main__":
    main()
