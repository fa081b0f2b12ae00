"""From a data directory to a feature store: every recording through a frozen upstream, once."""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from joblib import Parallel, delayed
from tqdm import tqdm

from soctk import parallel, provenance
from soctk.config import UpstreamConfig
from soctk.corpus import audio
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError, listing
from soctk.features import upstream
from soctk.features.speed import copy_id
from soctk.features.store import FeatureStore
from soctk.features.upstream import Layers, Precision, Upstream

# The most audio in one shard: what a killed job has to do again, and about 46 MB of 768-wide float16 frames.
SHARD_SECONDS = 600


@dataclass(frozen=True)
class Extraction:
    """What determines the features of a corpus, apart from the recordings, and where they are computed.

    Attributes:
        upstream: a name that soctk.features.upstream.load takes, or that of `known`.
        layers: the hidden states to keep.
        dtype: of the frames on disk.
        precision: of the encoder's autocast; float32 is none.
        device: `cpu` or `cuda`.
        batch_seconds: audio encoded at a time, padding included, by an upstream that gives the same in batches as
            alone; 0 encodes one utterance at a time.
        known: what conf/upstream/NAME.yaml says of the upstream.
        speeds: at which copies of each utterance are encoded too (soctk.features.speed).
    """

    upstream: str
    layers: Layers = "last"
    dtype: Literal["float16", "float32"] = "float16"
    precision: Precision = "float32"
    device: str = "cpu"
    batch_seconds: float = 0
    known: UpstreamConfig | None = None
    speeds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Utterance:
    """An utterance as it is encoded.

    Attributes:
        id: in the store.
        path: of its recording.
        digest: of the recording.
        speed: at which that is played.
        seconds: it then takes.
    """

    id: str
    path: Path
    digest: str
    speed: float
    seconds: float


@dataclass(frozen=True)
class Summary:
    """What an extraction did.

    Attributes:
        utterances: encoded now.
        seconds: of audio in them.
        bytes: written.
        left: utterances that are for other parts to do.
    """

    utterances: int
    seconds: float
    bytes: int
    left: int


def extract(data: DataDir, path: Path, extraction: Extraction, nj: int = 1, job: int | None = None) -> Summary:
    """Fill the feature store at `path` with the utterances that it lacks.

    All recordings are checked before the first is encoded. A run that is killed costs at most one shard a process;
    run again, it does only what is missing. The store can be opened once all utterances are there.

    Args:
        data: the corpus.
        path: the store's directory.
        extraction: upstream, layers, dtype, ...
        nj: on a CPU, how many processes share the shards, each with its own copy of the upstream and one thread; on a
            GPU, how many threads decode and resample ahead of it.
        job: do only part `job`, from 1, of `nj`, in this process; the parts may go on at the same time, on one machine
            or on several that share the directory.

    Raises:
        SoctkError: bad recordings, or ones longer than the upstream takes; an unknown upstream or layer; a store of
            other settings or recordings; no space for the features; features too large for float16.
    """
    encoder = _upstream(extraction)
    settings = _settings(extraction, encoder)
    store = FeatureStore.create(path, settings)
    utterances = _utterances(data, extraction.speeds)
    _check(utterances, store, encoder)
    done = store.recordings
    shards = _shards(utterances, nj)
    its_shards = shards if job is None else shards[job - 1 :: nj]
    missing = [[utterance for utterance in shard if utterance.id not in done] for shard in its_shards]
    jobs = [partial(_extract_shard, store, extraction, shard, nj) for shard in missing if shard]
    _announce(path, settings, sum(utterance.seconds for shard in missing for utterance in shard))
    on_cpu = extraction.device == "cpu"
    count, seconds, size = _run(jobs, nj if on_cpu and job is None else 1, sum(map(len, missing)))
    left = len({utterance.id for utterance in utterances} - FeatureStore.create(path, settings).recordings.keys())
    if not left:
        store.finish()
    return Summary(int(count), seconds, int(size), left)


def _settings(extraction: Extraction, encoder: Upstream) -> dict[str, Any]:
    layers = upstream.layer_indices(encoder, extraction.layers)
    return {
        "upstream": encoder.name,
        "source": encoder.source,
        "layers": list(layers),
        "num_layers": len(encoder.hidden_sizes),
        "hidden_size": encoder.hidden_sizes[layers[0]],
        "sample_rate": encoder.sample_rate,
        "frame_shift_ms": encoder.frame_shift,
        "precision": extraction.precision,
        "dtype": extraction.dtype,
        **({"speeds": list(extraction.speeds)} if extraction.speeds else {}),
        "versions": provenance.versions("soctk", "torch", "transformers", "espnet-s3prl"),
    }


def _utterances(data: DataDir, speeds: Sequence[float]) -> list[Utterance]:
    """Return the utterances of a corpus, and their copies at other speeds after all of them."""
    recordings = audio.check(data.wav)
    utterances = [
        Utterance(copy_id(utt, speed), data.wav[utt], info.digest, speed, info.seconds / speed)
        for speed in (1, *speeds)
        for utt, info in recordings.items()
    ]
    called_like_copies = [each.id for each in utterances if each.speed != 1 and each.id in recordings]
    if called_like_copies:
        raise SoctkError(
            f"utterances are called as copies at another speed would be\n{listing(called_like_copies)}",
            remedy="Rename them, or extract no copies.",
            where="--speed-perturb",
        )
    return utterances


def _check(utterances: Iterable[Utterance], store: FeatureStore, encoder: Upstream) -> None:
    too_long = [utterance.id for utterance in utterances if utterance.seconds > encoder.max_seconds]
    if too_long:
        raise SoctkError(
            f"{len(too_long)} utterances are longer than the {encoder.max_seconds:g} s that it takes\n"
            f"{listing(too_long, at_most=None)}",
            remedy="Split these utterances, or choose another upstream.",
            where=f"--upstream {encoder.name}",
        )
    too_short = [utterance.id for utterance in utterances if utterance.seconds < audio.MIN_SECONDS]
    if too_short:
        raise SoctkError(
            f"{len(too_short)} copies are shorter than {1000 * audio.MIN_SECONDS:.0f} ms\n{listing(too_short)}",
            remedy="Take their utterances out of the corpus, or leave this speed out.",
            where="--speed-perturb",
        )
    done = store.recordings
    changed = [utterance.id for utterance in utterances if done.get(utterance.id, utterance.digest) != utterance.digest]
    if changed:
        raise SoctkError(
            f"the store has features of other recordings than those there now\n{listing(changed)}",
            remedy="Remove the store to extract again, or use another directory for this version of the corpus.",
            where=store.path,
        )


def _shards(utterances: Sequence[Utterance], at_least: int) -> list[list[Utterance]]:
    """Divide utterances into runs of about equal duration, none much over SHARD_SECONDS, and enough for all jobs."""
    ends = np.cumsum([utterance.seconds for utterance in utterances])
    count = max(at_least, int(np.ceil(ends[-1] / SHARD_SECONDS)))
    shard_of = np.minimum((ends / ends[-1] * count).astype(int), count - 1)
    shards: list[list[Utterance]] = [[] for _ in range(count)]
    for utterance, shard in zip(utterances, shard_of, strict=True):
        shards[shard].append(utterance)
    return shards


def _announce(path: Path, settings: Mapping[str, Any], seconds: float) -> None:
    """Print what the features of so much audio will take on the disk, and see that it is there."""
    if not seconds:
        return
    numbers = len(settings["layers"]) * settings["hidden_size"]
    frames = seconds * 1000 / settings["frame_shift_ms"]
    size = frames * numbers * np.dtype(settings["dtype"]).itemsize
    layers = ", ".join(map(str, settings["layers"]))
    needs = (
        f"{seconds / 3600:.2f} h at {settings['hidden_size']} numbers a frame, layers {layers}, {settings['dtype']}: "
        f"{in_bytes(size)}"
    )
    tqdm.write(f"{path}: {needs}")
    free = shutil.disk_usage(path).free
    if size > free:
        raise SoctkError(
            f"not enough space: {needs}, and {in_bytes(free)} are free",
            remedy="Make space, choose fewer layers (--layer), or another disk.",
            where=path,
        )


def in_bytes(size: float) -> str:
    """Return a number of bytes as a person reads it."""
    return f"{tqdm.format_sizeof(size, divisor=1000)}B"


def _run(jobs: Sequence[parallel.Job], nj: int, total: int) -> np.ndarray:
    """Run the jobs and return the sum of what they did: utterances, seconds of audio, bytes."""
    did = np.zeros(3)
    with tqdm(total=total, desc="extract", unit="utt", disable=None) as progress:
        for of_shard in parallel.run(jobs, nj):
            did += of_shard
            hours_a_second = did[1] / 3600 / max(progress.format_dict["elapsed"], 1e-3)
            progress.set_postfix_str(f"{hours_a_second:.4f} h of audio/s", refresh=False)
            progress.update(of_shard[0])
    return did


@lru_cache(maxsize=1)
def _upstream(extraction: Extraction) -> Upstream:
    """Load an upstream once a process."""
    known = extraction.known
    encoder = upstream.load(known.source if known else extraction.upstream, extraction.device, extraction.precision)
    if known:
        encoder.name = extraction.upstream
        upstream.check_shape(encoder, known)
    return encoder


def _extract_shard(
    store: FeatureStore, extraction: Extraction, utterances: Sequence[Utterance], threads: int
) -> tuple[int, float, int]:
    """Encode utterances into one shard; return how many, the seconds of audio in them, and the bytes written."""
    torch.set_num_threads(1)
    encoder = _upstream(extraction)
    layers = upstream.layer_indices(encoder, extraction.layers)
    by_length = sorted(utterances, key=lambda utterance: utterance.seconds)
    waveforms = _waveforms(by_length, encoder.sample_rate, threads if extraction.device != "cpu" else 1)
    frames = {}
    for batch in _batches(by_length, extraction.batch_seconds if encoder.batches else 0):
        states = encoder.hidden_states([next(waveforms) for _ in batch], layers)
        for utterance, state in zip(batch, states, strict=True):
            frames[utterance.id] = state.to(getattr(torch, extraction.dtype)).cpu()
            if not frames[utterance.id].isfinite().all():
                raise SoctkError(
                    f"{utterance.id} has features that are not finite in {extraction.dtype}",
                    remedy="Use --dtype float32 and another directory; if it says so again, the upstream is at fault.",
                    where=utterance.path,
                )
    in_order = {utterance.id: frames[utterance.id] for utterance in utterances}
    size = store.write_shard(in_order, {utterance.id: utterance.digest for utterance in utterances})
    return len(utterances), sum(utterance.seconds for utterance in utterances), size


def _waveforms(utterances: Iterable[Utterance], sample_rate: int, threads: int) -> Iterator[np.ndarray]:
    """Yield the waveforms in order; with several threads, some are decoded and resampled ahead of their use."""
    jobs = (delayed(audio.load)(utterance.path, sample_rate, utterance.speed) for utterance in utterances)
    return Parallel(threads, backend="threading", return_as="generator")(jobs)


def _batches(by_length: Sequence[Utterance], batch_seconds: float) -> Iterator[list[Utterance]]:
    """Yield utterances, shortest first, in batches of at most `batch_seconds` with their padding, at least one each."""
    batch: list[Utterance] = []
    for utterance in by_length:
        if batch and (len(batch) + 1) * utterance.seconds > batch_seconds:
            yield batch
            batch = []
        batch.append(utterance)
    yield batch
