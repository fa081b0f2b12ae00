"""The linear head of a large corpus: seconds and memory of the fit that reads descriptors from a file.

    .venv/bin/python tests/bench/large_fit.py                         # 300,000 utterances
    .venv/bin/python tests/bench/large_fit.py --utterances 30000 --compare --corpora 5    # beside the usual fit

Frames are generated when they are read: 150 x 768 in float16 for each utterance, 2,000 speakers, 8 classes, 5 folds.
`mean+soc_full`, with the projection of the logarithm to d dimensions; one fold. WA is that of its test.
"""

import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import click
import pandas as pd
import torch
from generated import EMOTIONS, Generated, generated_corpus

from soctk import config
from soctk.corpus.datadir import DataDir
from soctk.scoring import choice
from soctk.scoring.runs import RunDirectory
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features

ROOT = Path(__file__).resolve().parents[2]


@click.command(context_settings={"show_default": True})
@click.option("--utterances", default=300_000)
@click.option("--speakers", default=2_000)
@click.option("--d", default=64, help="Dimensions of the projection after the logarithm.")
@click.option("--contrast", default=0.02, help="How much the classes differ.")
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu")
@click.option("--compare", is_flag=True, help="Fit in the usual way too, and in parts with the C of the usual way.")
@click.option("--corpora", default=1, help="How many corpora, generated with different seeds.")
def main(utterances: int, speakers: int, d: int, contrast: float, device: str, compare: bool, corpora: int) -> None:
    """Print for each fit the seconds of the descriptors and of the fit, C and WA; and the memory at the peak so far."""
    with tempfile.TemporaryDirectory() as folder:
        data = generated_corpus(Path(folder) / "data", utterances, speakers, 5)
        classes = [EMOTIONS.index(emotion) for emotion in data.emotion.values()]
        for corpus in range(corpora):
            store = Generated(data.utterances, classes, 150, 768, contrast, corpus)
            exp = Path(folder) / f"corpus {corpus}"
            in_parts = Features(store, data.utterances, device, max_bytes=0.0)
            if compare:
                in_memory = Features(store, data.utterances, device, max_bytes=1e12)
                C = measure(exp / "usual", data, in_memory, d, [])
                del in_memory
                measure(exp / "in parts, with the same C", data, in_parts, d, [f"head.C=[{C}]"])
            measure(exp / "in parts", data, in_parts, d, [])


def measure(exp: Path, data: DataDir, features: Features, d: int, overrides: list[str]) -> float:
    """Fit the head for one fold, print the figures, and return its C."""
    overrides = ["frames.layers=last", f"pooling.soc_full.d={d}", *overrides]
    settings = config.load([ROOT / "conf"], "mean+soc_full", "linear", overrides=overrides)
    nj = multiprocessing.cpu_count()
    started = time.perf_counter()
    features.blocks(settings, nj)
    pooled = time.perf_counter()
    Experiment(settings, data, features, exp, features.device).run([1], [1], nj)
    fitted = time.perf_counter()
    (run,) = RunDirectory.of_experiment(exp)
    table = pd.read_csv(run.predictions, sep="\t")
    accuracy = 100 * (table["ref"] == table["hyp"]).mean()
    chosen = choice.read(run)
    assert chosen is not None
    C = chosen.record["C"]
    own, workers = (resource.getrusage(who).ru_maxrss / 1e6 for who in (0, -1))
    seconds = f"descriptors {pooled - started:.0f} s, fit {fitted - pooled:.0f} s"
    memory = f"{own:.1f} GB, the largest worker {workers:.1f} GB"
    print(
        f"{exp.parent.name}, {exp.name}: C {C:g}, WA {accuracy:.2f}; {seconds}; at the peak so far {memory}", flush=True
    )
    return C


if __name__ == "__main__":
    main()
