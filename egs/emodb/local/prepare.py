"""Write the data directory of EmoDB (Burkhardt et al. 2005, doi 10.21437/Interspeech.2005-446).

File names are speaker (two digits), sentence (a letter and two digits), emotion and version (a letter each): 03a01Fa.
"""

from pathlib import Path

import click

from soctk.cli.common import Command, Directory
from soctk.corpus import audio, datadir, folds, quick_checks, recordings
from soctk.corpus.datadir import DataDir

# The letters are the first ones of the German words, such as Wut and Langeweile.
EMOTIONS = {
    "N": "Neutral",
    "F": "Happy",
    "T": "Sad",
    "W": "Angry",
    "A": "Fear",
    "E": "Disgust",
    "L": "Boredom",
}
SECONDS = 1487.1  # of all recordings together
MEN = {"03", "10", "11", "12", "15"}
REMEDY = "Unpack download.zip of EmoDB again, and give its folder wav or a parent folder with --corpus DIR."


@click.command(cls=Command)
@click.argument("corpus", type=Directory(exists=True))
@click.argument("data", type=Directory())
@click.option("--partial", is_flag=True, help="Use an incomplete copy.")
def main(corpus: Path, data: Path, partial: bool) -> None:
    """Write the data directory DATA of EmoDB's recordings in the folder CORPUS."""
    names = Path("local/names.txt").read_text().split()
    paths = recordings.find_expected(corpus, "[0-9][0-9][ab][0-9][0-9]??.wav", names, REMEDY, click.echo, partial)
    wav = {f"{name[:2]}-{name[2:]}": path for name, path in paths.items()}
    speaker = {utt: utt[:2] for utt in wav}
    infos = audio.check(wav)
    total = sum(info.seconds for info in infos.values())
    if len(wav) == len(names) and abs(total - SECONDS) > 0.01 * SECONDS:
        click.echo(
            f"Warning: the recordings last {total:.1f} s together, not {SECONDS} s: they are cut or padded; results "
            "cannot be compared with published ones"
        )
    emodb = DataDir(
        wav=wav,
        speaker=speaker,
        emotion={utt: EMOTIONS[utt[6]] for utt in wav},
        seconds={utt: round(info.seconds, 4) for utt, info in infos.items()},
        gender={name: "m" if name in MEN else "f" for name in speaker.values()},
        fold={name: k for name, k in folds.read(Path("conf/folds.yaml")).items() if name in speaker.values()},
        emotions=tuple(EMOTIONS.values()),
        extra={"sentence": {utt: utt[3:6] for utt in wav}},
    )
    datadir.write(data, emodb)
    for note in quick_checks.recording_notes(emodb, infos):
        click.echo(note)


if __name__ == "__main__":
    main()
