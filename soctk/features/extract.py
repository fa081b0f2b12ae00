"""Extraction: a frozen upstream encodes each recording of a data directory once, into a feature store."""

import threading
from collections.abc import Iterator, Sequence
from copy import copy as copy_of
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from soctk import progress, provenance
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError, listing, plural
from soctk.features import augmentation, disk_space, index, upstream, waveforms
from soctk.features.copies import Copy, list_copies
from soctk.features.settings import HAS_UNITS
from soctk.features.store import FeatureStore
from soctk.features.upstream import Layers, Precision, Upstream
from soctk.features.utterances import check_utterances, list_utterances
from soctk.features.waveforms import Utterance
from soctk.parallel import Executor, Job, Processes, Threads
from soctk.schema import Augmentation, Normalisation, UpstreamConfig

# Audio per shard. After a kill, a process repeats at most this much (on a GPU, each thread). In float16, frames of 768
# values fill 46 MB.
SHARD_SECONDS = 600
# On a GPU of this machine, one thread encodes recordings while the others write their shards.
_THREADS_OF_GPU = 3
_encoding = threading.Lock()
_own = threading.local()


@dataclass(frozen=True)
class Extraction:
    """The settings of an extraction.

    Attributes:
        upstream: a name for soctk.features.upstream.load, or NAME if conf/upstream/NAME.yaml exists.
        layers: the hidden states to store.
        dtype: the data type of the stored frames; None for float32 if the upstream has_units, and else float16.
        precision: the data type of autocast in the encoder; float32 means no autocast.
        device: `cpu` or `cuda`.
        batch_seconds: the length of a batch in seconds of audio, padding included; 0 means one utterance at a time.
            Upstreams whose frames change with padding always encode one utterance at a time.
        known: the content of conf/upstream/NAME.yaml, if this file exists.
        speeds: the playback speeds of the copies of each utterance (soctk.features.copies).
        augmentations: the degradations of further copies, for training only (soctk.features.augmentation).
        normalise: `level` to scale all waveforms to one level (soctk.corpus.level), or `none`.
    """

    upstream: str
    layers: Layers = "last"
    dtype: Literal["float16", "float32"] | None = None
    precision: Precision = "float32"
    device: str = "cpu"
    batch_seconds: float = 0
    known: UpstreamConfig | None = None
    speeds: tuple[float, ...] = ()
    augmentations: tuple[Augmentation, ...] = ()
    normalise: Normalisation = "none"

    @property
    def copies(self) -> list[Copy]:
        """The forms in which each utterance is stored: itself, and its copies."""
        return list_copies(self.speeds, self.augmentations)


@dataclass(frozen=True)
class Summary:
    """The amount of work that one call of `extract` has done.

    Attributes:
        utterances: the number of utterances encoded by this call, copies included.
        seconds: their duration.
        bytes: the size of their frames on disk.
        left: the number of utterances that the store still lacks, since they belong to other parts (`job`).
        others: the number of utterances that other processes stored while this call was running.
    """

    utterances: int
    seconds: float
    bytes: int
    left: int
    others: int = 0


def extract(
    data: DataDir,
    path: Path,
    extraction: Extraction,
    nj: int = 1,
    job: int | None = None,
    executor: Executor | None = None,
) -> Summary:
    """Encode the utterances that the feature store at `path` lacks.

    All recordings are checked before the first one is encoded. If the extraction is killed, it loses at most one shard
    per process, or on a GPU three; the next call extracts only what is missing. The store can be opened once it is
    complete. Recordings that have changed since are extracted again, together with the other utterances of their
    shards.

    Args:
        data: the corpus.
        path: the directory of the store.
        extraction: the settings.
        nj: on a CPU, the number of processes, each with one thread; on a GPU, the number of threads that decode and
            resample recordings for it.
        job: extract only part `job` of `nj`, from 1, in this process. Several machines that share the directory can
            extract the parts at the same time.
        executor: extracts the shards elsewhere (soctk.cluster), not in processes of this machine.

    Raises:
        SoctkError: unusable recordings, or recordings longer than the upstream's limit; an unknown upstream or hidden
            state; a store with other settings, or in which no recording is as it was; too little disk space; features
            that overflow float16.
    """
    with progress.step(f"load the encoder {extraction.upstream}"):
        # With a cluster, this machine need not have a GPU.
        encoder = _load_upstream(replace(extraction, device="cpu") if executor else extraction)
    settings = collect_settings(extraction, encoder, data.channel)
    store = FeatureStore.create(path, settings)
    utterances = list_utterances(data, extraction.copies)
    check_utterances(utterances, encoder)
    _remove_outdated(utterances, store)
    done = store.recordings
    shards = _divide_into_shards(utterances, nj)
    own_shards = shards if job is None else shards[job - 1 :: nj]
    missing = [[utterance for utterance in shard if utterance.id not in done] for shard in own_shards]
    if executor is None:
        is_on_cpu = extraction.device == "cpu"
        executor = Processes(nj if job is None else 1) if is_on_cpu else Threads(_THREADS_OF_GPU)
    decoding = max(1, nj // _THREADS_OF_GPU) if isinstance(executor, Threads) else nj
    shared = store, extraction, decoding, data.channel
    jobs = [Job(f"shard with {shard[0].id}", _extract_shard, (shard,), shared) for shard in missing if shard]
    if jobs and encoder.note:
        progress.message(encoder.note)
    disk_space.check(path, settings, [utterance.seconds for shard in missing for utterance in shard])
    count, seconds, size, others = _run_jobs(jobs, executor, sum(map(len, missing)))
    left = len({utterance.id for utterance in utterances} - FeatureStore.create(path, settings).recordings.keys())
    if not left:
        store.finish()
    return Summary(int(count), seconds, int(size), left, int(others))


def is_finished(data: DataDir, path: Path, copies: Sequence[Copy]) -> bool:
    """Return whether the index of a store has all utterances and copies; `extract` compares the recordings too."""
    try:
        stored = index.read(path)
    except (OSError, SoctkError):  # not finished, or damaged
        return False
    return all(copy.of(utt) in stored for copy in copies for utt in data.utterances)


def collect_settings(extraction: Extraction, encoder: Upstream, channel: str) -> dict[str, Any]:
    """Return the settings of a feature store."""
    layers = upstream.layer_indices(encoder, extraction.layers)
    return {
        "upstream": encoder.name,
        "source": encoder.source,
        **({"hub": encoder.hub} if encoder.hub else {}),
        "layers": list(layers),
        "num_layers": len(encoder.hidden_sizes),
        "hidden_size": encoder.hidden_sizes[layers[0]],
        "sample_rate": encoder.sample_rate,
        **({"frame_shift_ms": encoder.frame_shift} if encoder.frame_shift else {}),
        **({HAS_UNITS: True} if encoder.has_units else {}),
        "precision": extraction.precision,
        "dtype": extraction.dtype or ("float32" if encoder.has_units else "float16"),
        **({"speeds": list(extraction.speeds)} if extraction.speeds else {}),
        **(
            {"augmentations": list(extraction.augmentations), "augmentation_seed": augmentation.SEED}
            if extraction.augmentations
            else {}
        ),
        **({"normalise": extraction.normalise} if extraction.normalise != "none" else {}),
        **({"channel": channel} if channel != "1" else {}),
        "versions": provenance.versions("soctk", "torch", "transformers", "espnet-s3prl"),
    }


def _remove_outdated(utterances: Sequence[Utterance], store: FeatureStore) -> None:
    """Remove what the store has of recordings that have changed since, so that they are extracted again.

    Raises:
        SoctkError: all recordings in the store have changed: the store may belong to another version of the corpus.
    """
    done = store.recordings
    stored = [utterance for utterance in utterances if utterance.id in done]
    changed = [utterance.id for utterance in stored if utterance.digest != done[utterance.id]]
    if not changed:
        return
    if len(changed) == len(stored):
        raise SoctkError(
            f"all recordings have changed since their features were extracted\n{listing(changed)}",
            remedy="Remove the store to extract again, or use another directory for this version of the corpus.",
            where=store.path,
        )
    progress.message(
        f"{store.path}: {plural(len(changed), 'recording has', 'recordings have')} changed since the features were "
        f"extracted\n{listing(changed)}"
        "\nThey are extracted again, and so are the other utterances in the same shards."
    )
    store.remove_outdated({utterance.id: utterance.digest for utterance in utterances})


def _divide_into_shards(utterances: Sequence[Utterance], at_least: int) -> list[list[Utterance]]:
    """Divide utterances, in order, into at least `at_least` shards of equal duration, about SHARD_SECONDS or less."""
    ends = np.cumsum([utterance.seconds for utterance in utterances])
    count = max(at_least, int(np.ceil(ends[-1] / SHARD_SECONDS)))
    shard_of = np.minimum((ends / ends[-1] * count).astype(int), count - 1)
    shards: list[list[Utterance]] = [[] for _ in range(count)]
    for utterance, shard in zip(utterances, shard_of, strict=True):
        shards[shard].append(utterance)
    return shards


def _run_jobs(jobs: Sequence[Job], executor: Executor, total: int) -> np.ndarray:
    """Run the jobs; return the total of what `_extract_shard` returns."""
    totals = np.zeros(4)
    with progress.counter("extract", "utt", total) as report:
        for shard in executor.run(jobs):
            totals += shard
            speed = totals[1] / max(report.format_dict["elapsed"], 1e-3)
            report.set_postfix_str(f"{speed:.0f} times real time", refresh=False)
            report.update(shard[0] + shard[3])
    return totals


@lru_cache(maxsize=1)
def _load_upstream(extraction: Extraction) -> Upstream:
    """Load an upstream, once per process."""
    known = extraction.known
    encoder = upstream.load(known.source if known else extraction.upstream, extraction.device, extraction.precision)
    if known:
        encoder.name = extraction.upstream
        upstream.check_shape(encoder, known)
    return encoder


def _extract_shard(
    store: FeatureStore, extraction: Extraction, threads: int, channel: str, utterances: Sequence[Utterance]
) -> tuple[int, float, int, int]:
    """Write the frames of utterances as one shard.

    Returns:
        The number of utterances, the seconds of audio and the bytes that were written, and the number of utterances
        that other processes have stored.
    """
    torch.set_num_threads(1)
    store = _store_of_this_thread(store)
    store.update()
    done, wanted = store.recordings, len(utterances)
    utterances = [utterance for utterance in utterances if utterance.id not in done]
    if not utterances:
        return 0, 0.0, 0, wanted
    encoder = _load_upstream(extraction)
    layers = upstream.layer_indices(encoder, extraction.layers)
    by_length = sorted(utterances, key=lambda utterance: utterance.seconds)
    threads = threads if extraction.device != "cpu" else 1
    loaded = waveforms.load(by_length, encoder.sample_rate, channel, extraction.normalise, threads)
    frames, dtype = {}, store.settings["dtype"]
    for batch in _make_batches(by_length, extraction.batch_seconds if encoder.batches else 0):
        recordings = [next(loaded) for _ in batch]
        with _encoding:
            states = encoder.hidden_states(recordings, layers)
            stored = [state.to(getattr(torch, dtype)).cpu() for state in states]
        for utterance, state in zip(batch, stored, strict=True):
            frames[utterance.id] = state
            # NaN is the minimum and the maximum of all numbers that include it. isfinite() takes 20 times as long.
            if not torch.stack(state.aminmax()).isfinite().all():
                raise SoctkError(
                    f"the features of {utterance.id} are not finite in {dtype}",
                    remedy="Use --dtype float32 and another directory. If the error remains, the upstream is faulty.",
                    where=utterance.clip.path,
                )
    in_order = {utterance.id: frames[utterance.id] for utterance in utterances}
    size = store.write_shard(in_order, {utterance.id: utterance.digest for utterance in utterances})
    if not size:
        return 0, 0.0, 0, wanted
    return len(utterances), sum(utterance.seconds for utterance in utterances), size, wanted - len(utterances)


def _store_of_this_thread(store: FeatureStore) -> FeatureStore:
    """Return a copy, the same one for all shards of a thread: a store cannot be updated by several threads."""
    if getattr(_own, "original", None) is not store:
        _own.original, _own.copy = store, copy_of(store)
    return _own.copy


def _make_batches(by_length: Sequence[Utterance], batch_seconds: float) -> Iterator[list[Utterance]]:
    """Yield batches, the shortest utterances first: at least one utterance, at most `batch_seconds` with padding."""
    batch: list[Utterance] = []
    for utterance in by_length:
        if batch and (len(batch) + 1) * utterance.seconds > batch_seconds:
            yield batch
            batch = []
        batch.append(utterance)
    yield batch
