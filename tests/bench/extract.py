"""Speed of extraction, compared with a plain script; and its peak memory for a corpus and for a longer corpus.

    .venv/bin/python tests/bench/extract.py speed DATA --encoder DIR --encoder wav2vec2
    .venv/bin/python tests/bench/extract.py memory DATA --upstream fbank

`plain` does the same as scripts/extract_features.py of the SOC paper's authors: AutoFeatureExtractor and AutoModel on
one utterance at a time, in float32, with all hidden states, np.save for each utterance, and torch's own threads.
`plain, own length` does the same without padding: plain Whisper pads each utterance to 30 s, which changes its frames.
DATA is a data directory. An encoder is a folder, or `wav2vec2`: wav2vec 2.0 base with random weights. Each way is timed
in a process of its own; the time includes loading the model. `error` is the largest difference of an utterance's frames
from those of the first way, relative to their norm.
"""

import dataclasses
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from tabulate import tabulate
from timing import in_process_of_its_own
from transformers import AutoFeatureExtractor, AutoModel, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from soctk.corpus import audio, datadir
from soctk.corpus.datadir import DataDir
from soctk.features.extract import Extraction, extract
from soctk.features.store import FeatureStore
from soctk.features.upstream.huggingface import HuggingFaceUpstream


def plain(data: DataDir, encoder: str, out: Path, device: str) -> None:
    """Encode like the authors' script."""
    extractor = AutoFeatureExtractor.from_pretrained(encoder)
    model = AutoModel.from_pretrained(encoder, dtype=torch.float32).eval().to(device)
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    with torch.inference_mode():
        for utt, path in data.wav.items():
            waveform = audio.load(path, extractor.sampling_rate)
            inputs = extractor(waveform, sampling_rate=extractor.sampling_rate, return_tensors="pt").to(device)
            frames = model(**inputs, output_hidden_states=True).last_hidden_state
            np.save(out / f"{utt}.npy", frames[0].cpu().numpy())


def plain_own_length(data: DataDir, encoder: str, out: Path, device: str) -> None:
    """Encode one utterance at a time without padding, with torch's own threads."""
    model = HuggingFaceUpstream(encoder, device, "float32")
    for utt, path in data.wav.items():
        states = model.hidden_states([audio.load(path, model.sample_rate)], [len(model.hidden_sizes) - 1])
        np.save(out / f"{utt}.npy", states[0][0].cpu().numpy())


def soctk(data: DataDir, encoder: str, out: Path, device: str, **options) -> None:
    """Encode like soctk-extract, with one process per core."""
    batch_seconds = 160 if device == "cuda" else 0
    extraction = Extraction(encoder, dtype="float32", device=device, batch_seconds=batch_seconds)
    extract(data, out, dataclasses.replace(extraction, **options), nj=multiprocessing.cpu_count())


def soctk_autocast(data: DataDir, encoder: str, out: Path, device: str) -> None:
    """Encode in bfloat16."""
    soctk(data, encoder, out, device, precision="bfloat16")


def soctk_middle_layer(data: DataDir, encoder: str, out: Path, device: str) -> None:
    """Encode up to the layer in the middle."""
    layers = len(HuggingFaceUpstream(encoder, "cpu", "float32").hidden_sizes) - 1
    soctk(data, encoder, out, device, layers=(layers // 2,))


WAYS: dict[str, Callable[[DataDir, str, Path, str], None]] = {
    "plain": plain,
    "plain, own length": plain_own_length,
    "soctk": soctk,
    "soctk, bfloat16": soctk_autocast,
    "soctk, middle layer": soctk_middle_layer,
}


def timed(way: str, data: DataDir, encoder: str, out: Path, device: str, report: multiprocessing.Queue) -> None:
    """Put the seconds that one way takes into `report`."""
    started = time.perf_counter()
    WAYS[way](data, encoder, out, device)
    report.put(time.perf_counter() - started)


def frames_in(out: Path, utt: str) -> np.ndarray:
    """Return the frames `(T, D)` of an utterance from the output folder of a way."""
    if (out / f"{utt}.npy").exists():
        return np.load(out / f"{utt}.npy")
    return FeatureStore.open(out).load([utt])[:, 0].numpy()


def error(out: Path, reference: Path, utterances: list[str]) -> str:
    """Return the largest relative difference of frames; "" if layers or lengths differ."""
    pairs = [(frames_in(out, utt), frames_in(reference, utt)) for utt in utterances]
    if any(one.shape != other.shape for one, other in pairs):
        return ""
    return f"{max(np.linalg.norm(one - other) / np.linalg.norm(other) for one, other in pairs):.0e}"


def some_of(data: DataDir, count: int) -> DataDir:
    """Return a corpus of `count` utterances, at regular intervals of the sorted ids."""
    kept = set(data.utterances[:: max(1, len(data.wav) // count)][:count])
    parts = ("wav", "speaker", "emotion", "seconds")
    return dataclasses.replace(
        data, **{part: {utt: value for utt, value in getattr(data, part).items() if utt in kept} for part in parts}
    )


def repeated(data: DataDir, times: int) -> DataDir:
    """Return the corpus with each recording `times` times, under new ids."""
    parts = ("wav", "speaker", "emotion", "seconds")
    return dataclasses.replace(
        data,
        **{
            part: {f"{utt}-{i}": value for utt, value in getattr(data, part).items() for i in range(times)}
            for part in parts
        },
    )


def random_wav2vec2(path: Path) -> None:
    """Write a checkpoint with the architecture of wav2vec 2.0 base and random weights."""
    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(path)
    Wav2Vec2FeatureExtractor().save_pretrained(path)


def peak_memory(data: DataDir, upstream: str, report: multiprocessing.Queue) -> None:
    """Put the highest sum of resident memory of an extraction's processes, in MB, into `report`."""
    import psutil  # gpu.py does without

    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.2):
            processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
            peak = max(peak, sum(process.memory_info().rss for process in processes if process.is_running()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with tempfile.TemporaryDirectory() as out:
        extract(data, Path(out), Extraction(upstream), nj=multiprocessing.cpu_count())
    done.set()
    watcher.join()
    report.put(peak / 1e6)


@click.group()
def main() -> None:
    """Measure the extraction of features."""


@main.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--encoder", "encoders", multiple=True, required=True, help="A folder, or wav2vec2.")
@click.option("--count", default=120, show_default=True, help="Number of utterances.")
@click.option("--rounds", default=1, show_default=True, help="Number of timings of each way.")
@click.option(
    "--way",
    "ways",
    type=click.Choice(list(WAYS)),
    multiple=True,
    default=list(WAYS),
    help="A way to time; can be repeated.",
)
@click.option("--device", default="cpu", show_default=True)
def speed(data: Path, encoders: tuple[str, ...], count: int, rounds: int, ways: tuple[str, ...], device: str) -> None:
    """Print the utterances per second of each way, and the ratio to the first way."""
    corpus = some_of(datadir.read(data), count)
    rows = []
    for encoder in encoders:
        with tempfile.TemporaryDirectory() as folder:
            if encoder == "wav2vec2":
                encoder = str(Path(folder) / "wav2vec2-base-random")
                random_wav2vec2(Path(encoder))
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            for i in range(rounds):
                for way in ways:
                    out = Path(folder) / f"{way} {i}"
                    out.mkdir()
                    seconds[way].append(in_process_of_its_own(timed, way, corpus, encoder, out, device))
            for way in ways:
                rate = len(corpus.wav) / float(np.median(seconds[way]))
                ratio = float(np.median(np.divide(seconds[ways[0]], seconds[way])))
                difference = error(Path(folder) / f"{way} 0", Path(folder) / f"{ways[0]} 0", corpus.utterances)
                rows.append([Path(encoder).name, way, f"{rate:.2f}", f"{ratio:.2f}", difference])
    click.echo(
        tabulate(rows, ["encoder", "way", "utterances/s", f"/ {ways[0]}", "error"], "github", disable_numparse=True)
    )


@main.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--upstream", default="fbank", show_default=True)
@click.option("--times", default=10, show_default=True, help="Number of copies of each recording in the longer corpus.")
def memory(data: Path, upstream: str, times: int) -> None:
    """Print the peak memory for a corpus, and for a corpus that is longer by the factor --times."""
    corpus = datadir.read(data)
    longer = repeated(corpus, times)
    peaks = {len(one.wav): in_process_of_its_own(peak_memory, one, upstream) for one in (corpus, longer)}
    rows = [
        [f"{utterances:,}", f"{peak:.0f}", f"{peak / peaks[len(corpus.wav)]:.2f}"] for utterances, peak in peaks.items()
    ]
    click.echo(tabulate(rows, ["utterances", "peak MB", "ratio"], "github", disable_numparse=True))


if __name__ == "__main__":
    main()
