"""Write the data directory of CREMA-D (Cao et al. 2014, doi 10.1109/TAFFC.2014.2336244).

File names are actor, sentence, emotion and level: 1001_DFA_ANG_XX. The sentence IEO has three levels, the others one.
"""

import csv
from itertools import product
from pathlib import Path

import click

from soctk.cli.common import Command, Directory
from soctk.corpus import audio, datadir, folds, quick_checks, recordings
from soctk.corpus.datadir import DataDir

EMOTIONS = {"NEU": "Neutral", "HAP": "Happy", "SAD": "Sad", "ANG": "Angry", "FEA": "Fear", "DIS": "Disgust"}
SENTENCES = ("DFA", "IEO", "IOM", "ITH", "ITS", "IWL", "IWW", "MTI", "TAI", "TIE", "TSI", "WSI")
LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified"}
ACTORS = range(1001, 1092)
# Combinations that were never recorded or published: all emotions of three sentences, and two neutral ones.
ABSENT = {
    *(f"{take}_{emotion}_XX" for take, emotion in product(("1008_WSI", "1009_MTI", "1019_ITH"), EMOTIONS)),
    "1002_TIE_NEU_XX",
    "1076_ITS_NEU_XX",
}
REMEDY = (
    "Get the folder AudioWAV of https://github.com/CheyneyComputerScience/CREMA-D with git lfs, and give it or a "
    "parent folder with --corpus DIR."
)


def expected_names() -> list[str]:
    """Return the names of the 7,442 recordings."""
    names = []
    for actor, sentence, emotion in product(ACTORS, SENTENCES, EMOTIONS):
        levels = ("LO", "MD", "HI") if sentence == "IEO" and emotion != "NEU" else ("XX",)
        names += [f"{actor}_{sentence}_{emotion}_{level}" for level in levels]
    return [name for name in names if name not in ABSENT]


@click.command(cls=Command)
@click.argument("corpus", type=Directory(exists=True))
@click.argument("data", type=Directory())
@click.option("--partial", is_flag=True, help="Use an incomplete copy.")
def main(corpus: Path, data: Path, partial: bool) -> None:
    """Write the data directory DATA of CREMA-D's recordings in the folder CORPUS."""
    paths = recordings.find_expected(corpus, "1*_*_*_*.wav", expected_names(), REMEDY, click.echo, partial)
    parts = {name.replace("_", "-"): name.split("_") for name in paths}
    wav = {utt: paths["_".join(its_parts)] for utt, its_parts in parts.items()}
    speaker = {utt: actor for utt, (actor, *_) in parts.items()}
    present = set(speaker.values())
    with Path("local/sex.csv").open() as file:
        gender = {row["actor"]: row["sex"] for row in csv.DictReader(file)}
    infos = audio.check(wav)
    cremad = DataDir(
        wav=wav,
        speaker=speaker,
        emotion={utt: EMOTIONS[emotion] for utt, (_, _, emotion, _) in parts.items()},
        seconds={utt: round(info.seconds, 4) for utt, info in infos.items()},
        gender={name: sex for name, sex in gender.items() if name in present},
        fold={name: k for name, k in folds.read(Path("conf/folds.yaml")).items() if name in present},
        emotions=tuple(EMOTIONS.values()),
        extra={
            "sentence": {utt: sentence for utt, (_, sentence, _, _) in parts.items()},
            "level": {utt: LEVELS[level] for utt, (_, _, _, level) in parts.items()},
        },
    )
    datadir.write(data, cremad)
    for note in quick_checks.recording_notes(cremad, infos):
        click.echo(note)


if __name__ == "__main__":
    main()
