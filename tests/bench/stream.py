"""The head mlp on frames that are read from the disk for each batch: utterances a second, and what bounds them.

    .venv/bin/python tests/bench/stream.py

The store has generated frames, 150 x 768 in float16 for each utterance, as files of 50 utterances. All folds are
trained in one stack with the preset `paper`: in an epoch, the frames of an utterance are read once for the training of
all models, and about once for their validation. An utterance counts once an epoch. The row "read only" reads all
utterances twice, in batches, and does nothing with them. The share of the processors includes the start and the end.
"""

import json
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import psutil
import torch
from generated import EMOTIONS, Generated, generated_corpus
from tabulate import tabulate

from soctk import config
from soctk.features.store import FeatureStore
from soctk.parallel import one_thread
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features

CONF = Path(__file__).resolve().parents[2] / "conf"
WIDTH = 768
EACH = 50  # utterances of a shard
BATCH = 40  # of five folds, of which each model takes 32
EPOCHS = 2


def write_store(path: Path, source: Generated, utterances: list[str]) -> FeatureStore:
    """Write the frames of a generated store to the disk."""
    own = {"upstream": "generated", "source": "bench", "layers": [0], "num_layers": 1, "hidden_size": WIDTH}
    store = FeatureStore.create(path, {**own, "dtype": "float16"})
    for start in range(0, len(utterances), EACH):
        part = utterances[start : start + EACH]
        frames = {utt: source.load([utt]).permute(1, 0, 2).contiguous() for utt in part}
        store.write_shard(frames, {utt: source.recordings[utt] for utt in part})
    store.finish()
    return FeatureStore.open(path)


@contextmanager
def busy() -> Iterator[dict[str, float]]:
    """Put the seconds of the block, and the share of the processors that it kept busy."""
    found: dict[str, float] = {}
    process = psutil.Process()
    before, started = process.cpu_times(), time.perf_counter()
    yield found
    seconds, after = time.perf_counter() - started, process.cpu_times()
    used = after.user + after.system - before.user - before.system
    found["seconds"], found["busy"] = seconds, 100 * used / seconds / (psutil.cpu_count() or 1)


@click.command(context_settings={"show_default": True})
@click.option("--utterances", default=20_000)
@click.option("--speakers", default=200)
@click.option("--pooling", default="soc", help="`soc` has trained parameters.")
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu")
@click.option("--nj", default=torch.get_num_threads(), help="Number of threads.")
def main(utterances: int, speakers: int, pooling: str, device: str, nj: int) -> None:
    """Print utterances a second of training in memory and from the disk, and of reading alone."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = generated_corpus(Path(folder) / "data", utterances, speakers, 5)
        classes = [EMOTIONS.index(emotion) for emotion in data.emotion.values()]
        ids = list(data.utterances)
        store = write_store(Path(folder) / "feats", Generated(ids, classes, 150, WIDTH), ids)
        overrides = [f"train.epochs={EPOCHS}", "frames.layers=last", "train.batch_size=32"]
        settings = config.load([CONF, CONF / "preset" / "paper"], pooling, "mlp", overrides=overrides)
        for name, max_bytes in (("from the disk", 0.0), ("in memory", 1e12)):
            features = Features(store, ids, device, max_bytes)
            experiment = Experiment(settings, data, features, Path(folder) / name, device)
            with busy() as found:
                experiment.run(data.folds, [1], nj)
            (first, *_) = sorted((Path(folder) / name).rglob("train.jsonl"))
            seconds = json.loads(first.read_text().splitlines()[-1])["seconds"]
            rows.append([name, f"{utterances / seconds:.0f}", f"{seconds:.1f}", f"{found['busy']:.0f}"])
        streamed = Features(store, ids, device, 0.0).frames(settings, [0])
        order = torch.randperm(utterances).tolist()
        with one_thread(), busy() as found:
            for start in [*range(0, utterances, BATCH), *range(0, utterances, BATCH)]:
                streamed.batch(order[start : start + BATCH], nj)
        seconds, share = found["seconds"], found["busy"]
        rows.append(["read only", f"{utterances / seconds:.0f}", f"{seconds:.1f}", f"{share:.0f}"])
    print(tabulate(rows, ["frames", "utterances/s", "s an epoch", "processors busy, %"], "github"))
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB at the peak; {nj} threads, {device}")


if __name__ == "__main__":
    main()
