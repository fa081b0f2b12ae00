"""Effect of the runtime on predictions: torch, ONNX, and ONNX with 8-bit weights, each with the models of all folds.

    .venv/bin/python tests/bench/runtimes.py EXPERIMENT --with-encoder DIR [--limit N]

EXPERIMENT is a folder of soctk-train with one seed. Each fold's own model classifies the recordings of its test
speakers. The program prints the size of the encoder, WA, the share of recordings with another emotion than torch's, the
largest difference of a posterior from torch's, and the time for a recording. With --limit, each fold has N recordings.
"""

import random
import shutil
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import click
import numpy as np
import pandas as pd
from tabulate import tabulate

from soctk.corpus import audio, datadir
from soctk.inference.onnx.form import FOLDER, GRAPH
from soctk.inference.pack import Packing, pack
from soctk.inference.recogniser import Recogniser
from soctk.scoring import recorded
from soctk.scoring.runs import RunDirectory

FORMS = {"torch": None, "onnx": "float32", "onnx --int8": "int8"}


@click.command()
@click.argument("experiment", type=click.Path(exists=True, path_type=Path))
@click.option("--with-encoder", "encoder", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--limit", type=int)
def main(experiment: Path, encoder: Path, limit: int | None) -> None:
    values, labels, seconds = defaultdict(list), [], defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        forms = {name: Path(folder) / name for name in FORMS}
        runs = RunDirectory.of_experiment(experiment)
        for name, weights in FORMS.items():
            pack(Packing(experiment, fold=runs[0].fold, encoder=encoder, onnx=weights), forms[name])
        for run in runs:
            model = Path(folder) / f"fold {run.fold}"
            pack(Packing(experiment, fold=run.fold, encoder=encoder), model)
            recordings = choose(run, limit)
            for name in FORMS:
                shutil.rmtree(model / FOLDER, ignore_errors=True)
                if name != "torch":  # all folds have the same encoder
                    shutil.copytree(forms[name] / FOLDER, model / FOLDER)
                loaded = Recogniser.load(model, runtime="torch" if name == "torch" else "onnx")
                sound = [audio.load_native(clip, loaded.settings.channel) for _, clip in recordings]
                loaded.values(*sound[0])
                started = time.process_time()
                values[name] += [loaded.values(samples, rate) for samples, rate in sound]
                seconds[name].append((time.process_time() - started) / len(sound))
            labels += [loaded.emotions.index(emotion) for emotion, _ in recordings]
        sizes = {name: size(path) for name, path in forms.items()}
    reference, rows = np.array(values["torch"]), []
    for name in FORMS:
        found = np.array(values[name])
        best = found.argmax(1)
        rows.append([
            name, f"{sizes[name] / 1e6:.0f}", f"{100 * np.mean(best == labels):.1f}",
            f"{100 * np.mean(best != reference.argmax(1)):.1f}", f"{np.abs(found - reference).max():.1g}",
            f"{1000 * np.mean(seconds[name]):.0f}",
        ])  # fmt: skip
    headers = ["runtime", "encoder (MB)", "WA (%)", "other emotion (%)", "largest difference", "processor time (ms)"]
    print(f"{len(labels)} recordings\n")
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def size(model: Path) -> int:
    """Return the size in bytes of the encoder that a model uses."""
    graph = model / FOLDER / GRAPH
    return (graph if graph.exists() else model / "encoder" / "model.safetensors").stat().st_size


def choose(run: RunDirectory, limit: int | None) -> list:
    """Return the emotion and the sound of each test recording of a run, or of `limit` random ones."""
    data = datadir.read(recorded.read([run]).made_from["data"], recordings=False)
    utterances = pd.read_csv(run.predictions, sep="\t", dtype=str)["utt"].tolist()
    if limit:
        utterances = random.Random(0).sample(utterances, limit)
    return [(data.emotion[utt], data.clips[utt]) for utt in utterances]


if __name__ == "__main__":
    main()
