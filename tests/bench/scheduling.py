"""Cost of a cluster itself: shards of an encoder that does nothing, in the workers of a Dask scheduler."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import psutil
import torch

from soctk.cluster import option
from soctk.corpus.segments import Clip
from soctk.features.copies import Copy
from soctk.features.store import FeatureStore
from soctk.features.waveforms import Utterance
from soctk.parallel import Job

SETTINGS = {
    "upstream": "nothing",
    "source": "bench",
    "layers": [0],
    "num_layers": 1,
    "hidden_size": 1,
    "dtype": "float16",
}


def nothing(store: FeatureStore, utterances: list[Utterance]) -> int:
    """Write a shard with one frame for each utterance; return the number of utterances."""
    store.update()
    frames = {utterance.id: torch.zeros(1, 1, 1, dtype=torch.float16) for utterance in utterances}
    store.write_shard(frames, {utterance.id: utterance.digest for utterance in utterances})
    return len(frames)


@contextmanager
def started(workers: int) -> Iterator[tuple[str, psutil.Process]]:
    """Start a scheduler and workers; yield the address and the process of the scheduler."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}  # they import the job from this module
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        options = ("--scheduler-file", file, "--no-dashboard")
        commands = (
            ("distributed.cli.dask_scheduler", "--port", "0", *options),
            ("distributed.cli.dask_worker", *options, "--nthreads", "1", "--nworkers", str(workers)),
        )
        processes = [
            subprocess.Popen([sys.executable, "-m", *command], stderr=subprocess.DEVNULL, env=environment)
            for command in commands
        ]
        try:
            while not file.exists():
                time.sleep(0.1)
            yield json.loads(file.read_text())["address"], psutil.Process(processes[0].pid)
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()


@click.command(context_settings={"show_default": True})
@click.option("--utterances", default=1_000_000)
@click.option("--shards", default=20_000)
@click.option("--workers", default=2)
def main(utterances: int, shards: int, workers: int) -> None:
    """Print the seconds of all shards and of the index, and the memory of the client and of the scheduler."""
    import scheduling  # under this name, the workers can import the job

    with tempfile.TemporaryDirectory() as folder, started(workers) as (address, scheduler):
        each = utterances // shards
        store = FeatureStore.create(Path(folder) / "feats", SETTINGS)
        jobs = [
            Job(
                f"shard {shard}",
                scheduling.nothing,
                ([_utterance(number) for number in range(shard * each, (shard + 1) * each)],),
                (store,),
            )
            for shard in range(shards)
        ]
        client = psutil.Process()
        before = client.memory_info().rss
        with option.open_cluster(address, "cpu", Path(folder), []) as (executor, _):
            assert executor
            begun = time.perf_counter()
            done = sum(executor.run(jobs))
            seconds = time.perf_counter() - begun
            of_scheduler = scheduler.memory_info().rss
        after = client.memory_info().rss
        begun = time.perf_counter()
        store.finish()
        print(
            f"{done} utterances in {shards} shards, {workers} workers: {seconds:.0f} s, "
            f"{1e3 * seconds / shards:.1f} ms a shard; index {time.perf_counter() - begun:.0f} s\n"
            f"memory: client {before / 1e9:.2f} GB with the list of utterances, {after / 1e9:.2f} GB after the work; "
            f"scheduler {of_scheduler / 1e9:.2f} GB"
        )


def _utterance(number: int) -> Utterance:
    name = f"utterance-{number:07}"
    return Utterance(name, Copy(), Clip(Path(f"/corpus/{name}.wav")), f"{number:064x}", 4.0)


if __name__ == "__main__":
    main()
