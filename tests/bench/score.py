"""Time and memory of soctk-score, with the start of its process, on random predictions."""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import pandas as pd

from soctk.corpus import datadir
from soctk.corpus.datadir import DataDir

EMOTIONS = ("Neutral", "Angry", "Happy", "Sad", "Surprise")
FOLDS = 5


def write_corpus(root: Path, utterances: int, speakers: int) -> DataDir:
    """Write a data directory of some speakers in 5 folds, with one empty file for all recordings."""
    generator = np.random.default_rng(0)
    speaker = {f"s{i % speakers:05}-{i:06}": f"s{i % speakers:05}" for i in range(utterances)}
    speaker = dict(sorted(speaker.items()))
    data = DataDir(
        wav=dict.fromkeys(speaker, root / "any.wav"),
        speaker=speaker,
        emotion={utt: str(generator.choice(EMOTIONS)) for utt in speaker},
        seconds={utt: round(float(generator.uniform(1, 6)), 2) for utt in speaker},
        gender={name: "mf"[int(name[1:]) % 2] for name in speaker.values()},
        fold={name: int(name[1:]) % FOLDS + 1 for name in speaker.values()},
        emotions=EMOTIONS,
        extra={"language": {utt: "en" if int(name[1:]) < speakers / 2 else "zh" for utt, name in speaker.items()}},
    )
    (root / "any.wav").touch()
    datadir.write(root / "data", data)
    return data


def write_experiment(path: Path, data: DataDir, seeds: int, generator: np.random.Generator) -> None:
    """Write predictions that are right about 7 times in 10."""
    index = {emotion: i for i, emotion in enumerate(EMOTIONS)}
    for fold in data.folds:
        utterances = data.utterances_of([fold])
        reference = np.array([index[data.emotion[utt]] for utt in utterances])
        for seed in range(1, seeds + 1):
            logits = generator.normal(size=(len(utterances), len(EMOTIONS)))
            logits[np.arange(len(utterances)), reference] += 1.8
            posteriors = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            table = pd.DataFrame({"utt": utterances, "spk": [data.speaker[utt] for utt in utterances]})
            table["ref"] = np.array(EMOTIONS)[reference]
            table["hyp"] = np.array(EMOTIONS)[posteriors.argmax(1)]
            table[list(EMOTIONS)] = posteriors
            directory = path / f"fold{fold}" / f"seed{seed}"
            directory.mkdir(parents=True)
            table.to_csv(directory / "predictions.tsv", sep="\t", index=False, float_format="%.6f")
            (directory / "config.yaml").write_text(f"protocol: soctk\ndata: {data.checksum()}\n")


@click.command(context_settings={"show_default": True})
@click.option("--utterances", default=35_000)
@click.option("--speakers", default=20)
@click.option("--seeds", default=5)
@click.option("--experiments", default=10)
@click.option("--rounds", default=3)
def main(utterances: int, speakers: int, seeds: int, experiments: int, rounds: int) -> None:
    """Print the time and the memory of soctk-score on synthetic predictions, with and without --compare."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        data = write_corpus(root, utterances, speakers)
        for number in range(experiments):
            write_experiment(root / "exp" / f"m{number}", data, seeds, np.random.default_rng(number))
        print(f"{utterances} utterances x {seeds} seeds x {experiments} experiments, {speakers} speakers\n")
        print("| command | seconds, median | lowest to highest | processor seconds, median | GB at its peak |")
        print("| --- | --- | --- | --- | --- |")
        for options in ([], ["--compare"]):
            seconds, processor = zip(*(timed(root, options) for _ in range(rounds)), strict=True)
            name = " ".join(["soctk-score exp --data data", *options])
            spread = f"{min(seconds):.1f} to {max(seconds):.1f}"
            # The largest of all commands so far; --compare comes last and needs the most.
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
            medians = (statistics.median(seconds), statistics.median(processor))
            print(f"| `{name}` | {medians[0]:.1f} | {spread} | {medians[1]:.1f} | {peak:.2f} |")


def timed(root: Path, options: list[str]) -> tuple[float, float]:
    """Return the elapsed seconds and the processor seconds of one run of the command."""
    command = [str(Path(sys.executable).with_name("soctk-score")), "exp", "--data", "data", *options]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
