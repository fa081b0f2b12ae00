"""Speed on a GPU: pooling, extraction and training, each beside another way on the same device. bin/test-gpu runs it.

    .venv/bin/python tests/bench/gpu.py                      # on a GPU if there is one, else on the CPU at a tenth
    .venv/bin/python tests/bench/gpu.py --part pooling --reference DIR --encoder DIR

Frames are generated, and so are recordings. --encoder is the folder of an encoder; without it, wav2vec 2.0 base with
random weights is used (with one layer on the CPU). --reference is a checkout of the authors' code (github
secret-code-source/SOC), whose trainer is timed on the same device.
"""

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import click
import numpy as np
import soundfile
import torch
from extract import error, plain, soctk, some_of
from full_log import frames_like_speech
from generated import EMOTIONS, Generated, generated_corpus
from soc import Straightforward
from sweep import seconds_of_both
from tabulate import tabulate
from timing import compare
from torch import nn
from train import theirs
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from soctk import config, pooling
from soctk.corpus import datadir
from soctk.corpus.datadir import DataDir
from soctk.pooling import products
from soctk.training.experiment import Experiment
from soctk.training.inputs import Features

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 768
HEADERS = ["part", "case", "soctk", "unit", "compared with", "times as fast", "error"]


@dataclass(frozen=True)
class Row:
    """A line of the table: a value measured with soctk, and how many times as fast soctk is as another way."""

    part: str
    case: str
    value: float
    unit: str
    other: str = ""
    ratio: float | None = None
    error: str = ""

    @property
    def cells(self) -> list[str]:
        ratio = "" if self.ratio is None else f"{self.ratio:.1f}"
        return [self.part, self.case, f"{self.value:.3g}", self.unit, self.other, ratio, self.error]


@dataclass(frozen=True)
class Place:
    """Where the parts compute.

    Attributes:
        device: `cpu` or `cuda`.
        scale: the share of the utterances, epochs and rounds: 1 on a GPU, 0.1 on a CPU.
        encoder: the folder of an encoder.
        reference: a checkout of the authors' code.
        folder: for files of the benchmark.
    """

    device: str
    scale: float
    encoder: Path | None
    reference: Path | None
    folder: Path

    @property
    def batch(self) -> int:
        """The number of utterances in a batch."""
        return self.some(32)

    def some(self, number: int) -> int:
        """Return the share of a number, at least 1."""
        return max(1, round(self.scale * number))

    def times(self, calls: dict[str, Callable[[], object]]) -> dict[str, float]:
        """Return the median ms of each call."""
        synchronise = torch.cuda.synchronize if self.device == "cuda" else lambda: None

        def until_done(call: Callable[[], object]) -> None:
            call()
            synchronise()

        timed = compare({name: partial(until_done, call) for name, call in calls.items()}, self.some(7), calls=1)
        return {name: float(np.median(values)) for name, values in timed.items()}


def forward_and_backward(layer: Callable, frames: torch.Tensor, gradient: torch.Tensor) -> Callable[[], None]:
    """Return a function that computes descriptors, and the gradient of the frames."""

    def run() -> None:
        frames.grad = None
        layer(frames).backward(gradient)

    return run


def relative_error(result: torch.Tensor, exact: torch.Tensor) -> str:
    return f"{((result.double().cpu() - exact.cpu()).norm() / exact.cpu().norm()).item():.0e}"


def time_soc(place: Place) -> Iterator[Row]:
    """Time `soc` against torch.linalg.eigh with autograd on the same device."""
    frames = torch.randn(place.batch, 150, WIDTH, device=place.device).requires_grad_()
    lengths = torch.full((place.batch,), 150, device=place.device)
    for d in (8, 16, 24, 32, 64, 128, 256) if place.scale == 1 else (8, 64):
        layer = pooling.SOC(WIDTH, d).to(place.device)
        projection = nn.Linear(WIDTH, d, bias=False).to(place.device)
        projection.weight = layer.projection.weight
        plainly = Straightforward(projection)
        with torch.no_grad():
            wide = nn.Linear(WIDTH, d, bias=False, device=place.device).double()
            wide.weight.copy_(layer.projection.weight)
            exact = Straightforward(wide)(frames.double())
            own_error = relative_error(layer(frames, lengths), exact)
        gradient = torch.randn_like(exact).float()
        times = place.times(
            {
                "soc": forward_and_backward(lambda x, layer=layer: layer(x, lengths), frames, gradient),
                "eigh": forward_and_backward(plainly, frames, gradient),
            }
        )
        name = f"soc, d={d}, T=150: forward and backward"
        yield Row("pooling", name, times["soc"], "ms", "eigh, autograd", times["eigh"] / times["soc"], own_error)


def time_soc_full(place: Place) -> Iterator[Row]:
    """Time `soc_full` against the decomposition of T x T matrices, and against torch.linalg.eigh with autograd."""
    layer = pooling.SOCFull(WIDTH).to(place.device)
    for length in (50, 100, 150, 200, 400) if place.scale == 1 else (50, 150):
        frames = frames_like_speech(place.batch, length, WIDTH).to(place.device).requires_grad_()
        lengths = torch.full((place.batch,), length, device=place.device)
        with torch.no_grad():
            exact = layer(frames[:2].double(), lengths[:2])
            own_error = relative_error(layer(frames[:2], lengths[:2]), exact)
        gradient = torch.randn(place.batch, layer.output_size, device=place.device)

        def decomposed(call: Callable[[], object]) -> Callable[[], object]:
            def run() -> object:
                with mock.patch.object(products, "are_faster", lambda *_: False):
                    return call()

            return run

        def without_gradient(frames=frames, lengths=lengths) -> torch.Tensor:
            with torch.no_grad():
                return layer(frames, lengths)

        both = forward_and_backward(lambda x, lengths=lengths: layer(x, lengths), frames, gradient)
        for what, call in (("forward", without_gradient), ("forward and backward", both)):
            times = place.times({"soctk": call, "decomposed": decomposed(call)})
            ratio = times["decomposed"] / times["soctk"]
            name = f"soc_full, D={WIDTH}, T={length}: {what}"
            yield Row("pooling", name, times["soctk"], "ms", "eigh of T x T", ratio, own_error)
    with torch.no_grad():
        plain_log = place.times({"soctk": without_gradient, "eigh": partial(eigh_of_covariances, frames.detach())})
    ratio = plain_log["eigh"] / plain_log["soctk"]
    yield Row("pooling", f"soc_full, T={length}: forward", plain_log["soctk"], "ms", "eigh of D x D", ratio)


def eigh_of_covariances(frames: torch.Tensor) -> torch.Tensor:
    """Return the logarithms of shrunk covariances by torch.linalg.eigh."""
    centred = frames - frames.mean(1, keepdim=True)
    covariance = centred.mT @ centred / (frames.shape[1] - 1)
    identity = torch.eye(WIDTH, device=frames.device)
    mean = covariance.diagonal(dim1=1, dim2=2).mean(-1)[:, None, None]
    spectrum, vectors = torch.linalg.eigh(0.3 * covariance / mean + 0.7 * identity)
    return (vectors * spectrum.log().unsqueeze(1)) @ vectors.mT


def write_recordings(folder: Path, count: int) -> DataDir:
    """Write a corpus of noise, 2 to 6 s each."""
    generator = np.random.default_rng(0)
    wav, folder = {}, folder / "recordings"
    folder.mkdir()
    for number in range(count):
        utt = f"spk{number % 24:02}-{number:05}"
        wav[utt] = folder / f"{utt}.wav"
        soundfile.write(wav[utt], generator.normal(0, 0.1, int(16000 * generator.uniform(2, 6))), 16000)
    data = DataDir(
        wav=wav,
        speaker={utt: utt[:5] for utt in wav},
        emotion={utt: EMOTIONS[number // 24 % 8] for number, utt in enumerate(wav)},
        seconds={utt: soundfile.info(path).duration for utt, path in wav.items()},
        gender={},
        fold={f"spk{number:02}": number % 6 + 1 for number in range(24)},
        emotions=EMOTIONS,
    )
    datadir.write(folder.parent / "data", data)
    return datadir.read(folder.parent / "data")


def time_extraction(place: Place) -> Iterator[Row]:
    """Time extraction in three precisions against one utterance at a time through AutoModel."""
    encoder = place.encoder
    if encoder is None:
        encoder = place.folder / "wav2vec2-base-random"
        torch.manual_seed(0)
        Wav2Vec2Model(Wav2Vec2Config(num_hidden_layers=12 if place.scale == 1 else 1)).save_pretrained(encoder)
        Wav2Vec2FeatureExtractor().save_pretrained(encoder)
    data = write_recordings(place.folder, 1920 if place.device == "cuda" else 24)
    few = some_of(data, 240 if place.device == "cuda" else 6)
    warm_up(place, encoder)

    def rate(way: Callable, corpus: DataDir, name: str, **options) -> float:
        out = place.folder / name
        out.mkdir()
        started = time.perf_counter()
        way(corpus, str(encoder), out, place.device, **options)
        return len(corpus.wav) / (time.perf_counter() - started)

    plainly = rate(plain, few, "plain")
    for precision in ("float32", "bfloat16", "float16") if place.device == "cuda" else ("float32", "bfloat16"):
        ours = rate(soctk, data, precision, precision=precision)
        difference = error(place.folder / precision, place.folder / "float32", few.utterances)
        name = f"{encoder.name}, {precision}"
        yield Row("extraction", name, ours, "utterances/s", "AutoModel", ours / plainly, difference)


def warm_up(place: Place, encoder: Path) -> None:
    """Load the libraries of the device, which both ways need."""
    from soctk.features import upstream

    upstream.load(str(encoder), place.device).hidden_states([np.ones(16000, np.float32)], [0])


def time_training(place: Place) -> Iterator[Row]:
    """Time the preset paper on a corpus of RAVDESS's size and of ESD's, and the linear head."""
    epochs = place.some(20)
    for name, count, speakers, folds, length, width, seeds in (
        ("RAVDESS's size", 1440, 24, 6, 185, 512, [1, 2, 3, 4, 5]),
        ("ESD's size", 35000, 20, 5, 150, 768, [1]),
    ):
        few = count // 10 if place.device == "cpu" and count > 1440 else count
        data = generated_corpus(place.folder / name, place.some(few), speakers, folds)
        classes = [EMOTIONS.index(emotion) for emotion in data.emotion.values()]
        store = Generated(data.utterances, classes, length, width)
        features = Features(store, data.utterances, place.device)
        trained = epochs if count == 1440 else 2
        overrides = ["pooling.soc.d=8", f"train.epochs={trained}", "train.patience=1000"]
        paper = config.load([ROOT / "conf", ROOT / "conf" / "preset" / "paper"], "soc", "mlp", overrides=overrides)
        started = time.perf_counter()
        Experiment(paper, data, features, place.folder / f"{name} exp", place.device).run(data.folds, seeds)
        seconds = (time.perf_counter() - started) / trained
        other, ratio = "", None
        if place.reference and count == 1440:
            other, ratio = (
                "the authors' trainer",
                authors_seconds(place, data, store, min(trained, 4)) * len(seeds) / seconds,
            )
        case = f"paper, {name}: {len(data.folds)} folds x {len(seeds)} seeds"
        yield Row("training", case, seconds, "s an epoch", other, ratio)
        if count == 1440:
            yield time_sweep(place, data, features, overrides, trained)
        linear = ["frames.layers=last", "pooling.soc_full.d=64", "head.C=[0.01, 0.1]"]
        head = config.load([ROOT / "conf"], "mean+soc_full", "linear", overrides=linear)
        started = time.perf_counter()
        Experiment(head, data, features, place.folder / f"{name} linear", place.device).run(data.folds[:1], [1])
        seconds = time.perf_counter() - started
        yield Row("training", f"mean+soc_full (d=64), linear, {name}: 1 fold, 2 values of C", seconds, "s")


def time_sweep(place: Place, data: DataDir, features: Features, overrides: Sequence[str], epochs: int) -> Row:
    """Time four learning rates with one seed, at the same time and one after the other."""
    conf = [ROOT / "conf", ROOT / "conf" / "preset" / "paper"]
    points = []
    for lr in (1e-4, 3e-4, 1e-3, 3e-3):
        settings = config.load(conf, "soc", "mlp", overrides=[*overrides, f"train.lr={lr}"])
        points.append(Experiment(settings, data, features, place.folder / "sweep" / str(lr), place.device))
    together, alone = seconds_of_both(points, data.folds, multiprocessing.cpu_count())
    case = f"paper, RAVDESS's size: {len(data.folds)} folds x {len(points)} points of a sweep"
    return Row("training", case, together / epochs, "s an epoch", "one after the other", alone / together)


def authors_seconds(place: Place, data: DataDir, store: Generated, epochs: int) -> float:
    """Return the seconds an epoch of the authors' trainer, for all folds with one seed."""
    import json

    exported = place.folder / "exported"
    (exported / "features").mkdir(parents=True)
    for utt in data.utterances:
        np.save(exported / "features" / f"{utt}.npy", store.load([utt])[:, 0].float().numpy())
    for fold in data.folds:
        (exported / f"fold_{fold}").mkdir()
        for part in ("train", "test"):
            chosen = [utt for utt in data.utterances if (data.fold[data.speaker[utt]] == fold) == (part == "test")]
            lines = "".join(json.dumps({"key": utt, "emo": data.emotion[utt]}) + "\n" for utt in chosen)
            (exported / f"fold_{fold}" / f"corpus_{part}_fold_{fold}.jsonl").write_text(lines)
    report: multiprocessing.Queue = multiprocessing.Queue()
    datadir.write(place.folder / "exported data", data)
    theirs(place.reference, place.folder / "exported data", exported, 8, epochs, 1, place.device, report)
    return report.get()[0] / epochs


PARTS = {
    "pooling": lambda place: (*time_soc(place), *time_soc_full(place)),
    "extraction": time_extraction,
    "training": time_training,
}


@click.command(context_settings={"show_default": True})
@click.option("--encoder", type=click.Path(exists=True, path_type=Path), help="The folder of an encoder.")
@click.option("--reference", type=click.Path(exists=True, path_type=Path), help="A checkout of the authors' code.")
@click.option("--part", "parts", type=click.Choice(list(PARTS)), multiple=True, default=list(PARTS))
def main(encoder: Path | None, reference: Path | None, parts: Sequence[str]) -> None:
    """Print one table; a part that fails is named, and the exit code is 1."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads of a CPU"
    torch.manual_seed(0)
    rows, failed = [], False
    with tempfile.TemporaryDirectory() as folder:
        place = Place(device, 1 if device == "cuda" else 0.1, encoder, reference, Path(folder))
        for part in parts:
            started = time.perf_counter()
            try:
                for row in PARTS[part](place):
                    rows.append(row)
                    print(*row.cells, sep=" | ", file=sys.stderr)
            except Exception as error:
                failed = True
                print(f"{part} failed: {type(error).__name__}: {error}", file=sys.stderr)
            print(f"{part}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    click.echo(
        f"{name}, torch {torch.__version__}, {place.batch} utterances a batch; ratio: how many times faster soctk is"
    )
    click.echo(tabulate([row.cells for row in rows], HEADERS, "github", disable_numparse=True))
    sys.exit(failed)


if __name__ == "__main__":
    main()
