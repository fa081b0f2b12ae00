"""Extraction with an encoder that only waits: the rate of all other work, in one thread and in three.

    .venv/bin/python tests/bench/beside_encoder.py

The encoder waits 2 ms for an utterance, like a GPU, and returns 13 hidden states of random numbers, 768 wide. The
recordings are noise of 2 to 6 s. For a GPU, soctk-extract uses three threads.
"""

import statistics
import tempfile
import time
from pathlib import Path

import click
from gpu import write_recordings
from tabulate import tabulate

from soctk.features import extract
from soctk.features.extract import Extraction
from soctk.parallel import Processes, Threads

ENCODER = """
import time, torch

class Waiting:
    hidden_sizes, frame_shift, batches = [768] * 13, 20.0, True

    def __init__(self, device):
        self.frames = torch.randn(13, 400, 768)

    def hidden_states(self, waveforms, layers):
        time.sleep(0.002 * len(waveforms))
        return [self.frames[list(layers), : len(waveform) // 320].clone() for waveform in waveforms]
"""


@click.command(context_settings={"show_default": True})
@click.option("--utterances", default=480)
@click.option("--shard-seconds", default=300.0, help="The seconds of sound in a shard.")
@click.option("--rounds", default=3)
def main(utterances: int, shard_seconds: float, rounds: int) -> None:
    """Print utterances a second, the median of some rounds."""
    extract.SHARD_SECONDS = shard_seconds
    ways = {"one thread": Processes(1), "three threads": Threads(3)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        data = write_recordings(place, utterances)
        (place / "waiting.py").write_text(ENCODER)
        extraction = Extraction(f"{place / 'waiting.py'}:Waiting", "all", batch_seconds=64)
        extract.collect_settings(extraction, extract._load_upstream(extraction), "1")  # imports
        for number in range(rounds):
            for name, executor in ways.items():
                started = time.perf_counter()
                extract.extract(data, place / f"{name} {number}", extraction, nj=2, executor=executor)
                seconds[name].append(time.perf_counter() - started)
    rows = [(name, f"{utterances / statistics.median(own):.0f}") for name, own in seconds.items()]
    print(tabulate(rows, ["way", "utterances/s"], "github"))


if __name__ == "__main__":
    main()
