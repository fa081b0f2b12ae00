"""Speed and memory of soctk-predict: a warm model, a cold start, windows of an hour of sound, speech, and a stream.

    .venv/bin/python tests/bench/predict.py MODEL

MODEL is a packed model with its encoder (soctk-pack --with-encoder). A model that was packed with --onnx is measured
with both runtimes. The sound is noise at 16 kHz, except for --clip, a recording of speech. Each figure is the median of
--rounds, and in brackets the smallest and the largest. Other work on the machine makes all figures larger; the load is
printed first. The tables are in Markdown.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
import psutil
import soundfile
from tabulate import tabulate
from timing import in_process_of_its_own

import soctk
from soctk.inference.recogniser import Recogniser

RATE = 16000
CLIP, WINDOW, HOP, BLOCK = 4.0, 3.0, 1.0, 0.1  # s


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def text(values: Sequence[float], scale: float = 1, digits: int = 0) -> str:
    """Return the median, and in brackets the smallest and the largest value."""
    low, middle, high = (scale * value for value in (min(values), statistics.median(values), max(values)))
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def warm(model: Recogniser, rounds: int) -> list[float]:
    """Return the seconds for one clip of 4 s, for each of 5 x `rounds` calls."""
    clip = noise(CLIP)
    for _ in range(3):
        model(clip, RATE)
    return [timed(lambda: model(clip, RATE)) for _ in range(5 * rounds)]


def real_time_factors(model: Recogniser, seconds: float, rounds: int) -> tuple[list[float], list[float]]:
    """Return the time, and the processor time, of windows divided by the duration of the sound, in each round."""
    sound = noise(seconds)

    def run() -> None:
        for _ in model.windows(sound, RATE, WINDOW, HOP):
            pass

    run()
    factors, processor = [], []
    for _ in range(rounds):
        before = time.process_time()
        factors.append(timed(run) / seconds)
        processor.append((time.process_time() - before) / seconds)
    return factors, processor


def speech_factors(seconds: float, rounds: int) -> list[float]:
    """Return the time of the detection of speech divided by the duration of the sound, in each round."""
    from soctk.inference import speech

    sound = noise(seconds)
    speech.find([sound[: 10 * RATE]], RATE)
    return [timed(lambda: speech.find([sound], RATE)) / seconds for _ in range(rounds)]


def latencies(model: Recogniser, seconds: float) -> list[float]:
    """Return for each window of a stream the seconds from its last sample to its answer."""
    stream, size = model.stream(RATE, WINDOW, HOP), round(BLOCK * RATE)
    sound, found = noise(seconds), []
    for start in range(0, len(sound), size):
        started = time.perf_counter()
        if stream.push(sound[start : start + size]):
            found.append(time.perf_counter() - started)
    return found[1:]


def measure_warm(folder: str, runtime: str, rounds: int, report) -> None:
    """Put a row of the table of a warm model into `report`: values for clip, windows and stream."""
    model = Recogniser.load(folder, runtime=runtime)
    clip = text(warm(model, rounds), 1000)
    factors, processor = (text(values, 1, 3) for values in real_time_factors(model, 60, rounds))
    report.put([runtime, clip, factors, processor, text(latencies(model, 60), 1000)])


def measure_memory(folder: str, runtime: str, path: str, report) -> None:
    """Put the resident memory in MB after 1, 10, 20, ... minutes of sound in windows, and the time in s."""
    model, process = Recogniser.load(folder, runtime=runtime), psutil.Process()
    found, started = [], time.perf_counter()
    for segment in model.windows(path, window=WINDOW, hop=HOP):
        minutes = segment.start / 60
        if minutes == 1 or (minutes and minutes % 10 == 0):
            found.append((minutes, process.memory_info().rss / 1e6))
    found.append((segment.end / 60, process.memory_info().rss / 1e6))
    report.put((found, time.perf_counter() - started))


def cold(folder: str, runtime: str, clip: Path) -> tuple[float, float]:
    """Return the seconds of soctk-predict on a clip, and its processor seconds."""
    command = [Path(sys.executable).with_name("soctk-predict"), folder, clip]
    command += ["--runtime", runtime] if runtime != "torch" else []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def show(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> None:
    click.echo("\n" + tabulate(rows, headers, "github", disable_numparse=True), nl=True)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--clip", type=click.Path(path_type=Path), help="A recording for the cold start.", show_default="noise")
@click.option("--rounds", default=7, show_default=True)
@click.option("--minutes", default=60, show_default=True, help="Duration of the long recording.")
@click.option("--only", type=click.Choice(["warm", "cold", "memory", "speech"]), multiple=True, help="Tables to print.")
def main(model: Path, clip: Path | None, rounds: int, minutes: int, only: tuple[str, ...]) -> None:
    """Print tables of the speed and the memory of soctk-predict."""
    runtimes = ["torch", *(["onnx"] if list(model.rglob("*.onnx")) else [])]
    tables = only or ("warm", "cold", "memory", "speech")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    click.echo(f"soctk {soctk.__version__}, {os.cpu_count()} cores, load {load}")
    folder = str(model.absolute())
    if "warm" in tables:
        rows = [in_process_of_its_own(measure_warm, folder, runtime, rounds) for runtime in runtimes]
        headers = ["runtime", "4 s clip, ms", "windows, real-time factor", "windows, processor s per s"]
        show(rows, [*headers, "stream: last sample to answer, ms"])
    with tempfile.TemporaryDirectory() as work:
        if "cold" in tables:
            if clip is None:
                clip = Path(work) / "clip.wav"
                soundfile.write(clip, noise(CLIP), RATE)
            rows = []
            for runtime in runtimes:
                times = [cold(folder, runtime, clip) for _ in range(rounds + 1)][1:]
                walls, processor = zip(*times, strict=True)
                rows.append([runtime, text(walls, 1, 2), text(processor, 1, 2)])
            show(rows, ["runtime", "soctk-predict of one clip, s", "processor s"])
        if "memory" in tables:
            path = Path(work) / "long.wav"
            with soundfile.SoundFile(path, "w", RATE, 1) as file:
                for _ in range(minutes):
                    file.write(noise(60))
            for runtime in runtimes:
                found, seconds = in_process_of_its_own(measure_memory, folder, runtime, str(path))
                factor = f"{seconds / minutes / 60:.3f}"
                headers = ["runtime", *(f"after {at:g} min" for at, _ in found), "s", "real-time factor"]
                show([[f"{runtime}, MB", *(f"{size:.0f}" for _, size in found), f"{seconds:.0f}", factor]], headers)
    if "speech" in tables:
        show([[text(speech_factors(60, rounds), 1, 4)]], ["detection of speech, real-time factor"])


if __name__ == "__main__":
    main()
