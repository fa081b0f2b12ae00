"""Time and memory of soctk-import on a table of segments, beside the time that reading the sound takes."""

import csv
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import soundfile

RATE = 8000
SECONDS = 1.0  # of each segment; a second lies between the starts of two of them
PARTS = ("Train", "Train", "Train", "Development", "Test1", "Test2")


def write_table(root: Path, segments: int, recordings: int, speakers: int) -> None:
    """Write recordings of noise, and a table with a partition, of which one speaker in ten is unknown."""
    noise, each = np.random.default_rng(0), segments // recordings
    rows = []
    for number in range(recordings):
        samples = noise.integers(-3000, 3000, int(each * SECONDS * RATE), dtype=np.int16)
        soundfile.write(root / f"rec{number:05}.wav", samples, RATE)
        for segment in range(each):
            speaker = (number * each + segment) * 7919 % speakers
            rows.append(
                {
                    "file": f"rec{number:05}.wav",
                    "start": f"{segment * SECONDS:.3f}",
                    "end": f"{(segment + 1) * SECONDS:.3f}",
                    "speaker": "Unknown" if speaker % 10 == 0 else f"p{speaker:05}",
                    "emotion": "ANHSF"[(number + segment) % 5],
                    "split": PARTS[number % len(PARTS)],
                }
            )
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def timed(*command: str) -> tuple[float, float]:
    """Run a command; return its seconds, and the GB at its peak."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


@click.command(context_settings={"show_default": True})
@click.option("--segments", default=100_000)
@click.option("--recordings", default=2_500)
@click.option("--speakers", default=1_500)
def main(segments: int, recordings: int, speakers: int) -> None:
    """Print the seconds of soctk-import, and of reading the sound alone with the same functions, and the memory."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        write_table(root, segments, recordings, speakers)
        whole, memory = timed(str(Path(sys.executable).with_name("soctk-import")), str(root / "labels.csv"),
                              str(root / "data"))  # fmt: skip
        read = (
            "from soctk.corpus import audio, datadir; import sys; from pathlib import Path; "
            "data = datadir.read(Path(sys.argv[1])); audio.check(data.clips)"
        )
        sound, _ = timed(sys.executable, "-c", read, str(root / "data"))
        print(f"{segments} segments of {recordings} recordings, {speakers} speakers")
        print(f"soctk-import {whole:.1f} s, of which the sound {sound:.1f} s at most; {memory:.2f} GB at its peak")


if __name__ == "__main__":
    main()
