"""From a data directory to a feature store: every recording through a frozen upstream, once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from joblib import delayed
from tqdm import tqdm

from soctk import audio, parallel, provenance, upstream
from soctk.datadir import DataDir
from soctk.errors import SoctkError, listing
from soctk.store import FeatureStore
from soctk.upstream import Layer

# The most audio in one shard: what a killed job has to do again, and about 46 MB of 768-wide float16 frames.
SHARD_SECONDS = 600


@dataclass(frozen=True)
class Extraction:
    """What determines the features of a corpus, apart from the recordings."""

    upstream: str
    layer: Layer = "last"
    dtype: Literal["float16", "float32"] = "float16"
    device: str = "cpu"


def extract(data: DataDir, path: Path, extraction: Extraction, nj: int = 1) -> int:
    """Fill the feature store at `path` with the utterances that it lacks, and return how many those were.

    All recordings are checked before the first is encoded. A run that is killed costs at most one shard a job;
    run again, it does only what is missing.

    Args:
        data: the corpus.
        path: the store's directory.
        extraction: upstream, layer, dtype and device.
        nj: how many processes share the shards, each with its own copy of the upstream and one thread.

    Raises:
        SoctkError: bad recordings, or ones longer than the upstream takes; an unknown upstream or layer; a store of
            other settings or recordings; features too large for float16.
    """
    store = FeatureStore.create(path, _settings(extraction))
    recordings = audio.check(data.wav)
    _check_recordings(store, recordings, _upstream(extraction.upstream, extraction.device))
    done = store.recordings
    missing = {utt: info.seconds for utt, info in recordings.items() if utt not in done}
    shards = [{utt: (data.wav[utt], recordings[utt].digest) for utt in shard} for shard in _shards(missing)]
    jobs = [delayed(_extract_shard)(store, extraction, shard) for shard in shards]
    with tqdm(total=len(missing), desc="extract", unit="utt", disable=None) as progress:
        for count in parallel.run(jobs, nj):
            progress.update(count)
    store.finish()
    return len(missing)


def _settings(extraction: Extraction) -> dict[str, Any]:
    encoder = _upstream(extraction.upstream, extraction.device)
    layer = upstream.layer_index(encoder, extraction.layer)
    return {
        "upstream": encoder.name,
        "source": encoder.source,
        "layer": layer,
        "num_layers": len(encoder.hidden_sizes),
        "hidden_size": encoder.hidden_sizes[layer],
        "sample_rate": encoder.sample_rate,
        "frame_shift_ms": encoder.frame_shift,
        "dtype": extraction.dtype,
        "versions": provenance.versions("soctk", "torch", "transformers", "espnet-s3prl"),
    }


def _check_recordings(
    store: FeatureStore, recordings: Mapping[str, audio.AudioInfo], encoder: upstream.Upstream
) -> None:
    too_long = [utt for utt, info in recordings.items() if info.seconds > encoder.max_seconds]
    if too_long:
        raise SoctkError(
            f"{len(too_long)} utterances are longer than the {encoder.max_seconds:g} s that it takes\n"
            f"{listing(too_long, at_most=None)}",
            remedy="Split these utterances, or choose another upstream.",
            where=f"--upstream {encoder.name}",
        )
    changed = [
        utt for utt, digest in store.recordings.items() if utt in recordings and recordings[utt].digest != digest
    ]
    if changed:
        raise SoctkError(
            f"the store has features of other recordings than those there now\n{listing(changed)}",
            remedy="Remove the store to extract again, or use another directory for this version of the corpus.",
            where=store.path,
        )


def _shards(seconds: Mapping[str, float]) -> list[list[str]]:
    """Divide utterances into runs of about equal duration, none much over SHARD_SECONDS."""
    if not seconds:
        return []
    ends = np.cumsum(list(seconds.values()))
    count = int(np.ceil(ends[-1] / SHARD_SECONDS))
    shard_of = np.minimum((ends / ends[-1] * count).astype(int), count - 1)
    utterances = np.array(list(seconds))
    return [utterances[shard_of == shard].tolist() for shard in np.unique(shard_of)]


@lru_cache(maxsize=1)
def _upstream(name: str, device: str) -> upstream.Upstream:
    """Load an upstream once a process."""
    return upstream.load(name, device)


def _extract_shard(store: FeatureStore, extraction: Extraction, recordings: Mapping[str, tuple[Path, str]]) -> int:
    """Encode utterances, given as utterance -> (path, digest), into one shard; return how many they are."""
    torch.set_num_threads(1)
    encoder = _upstream(extraction.upstream, extraction.device)
    layer = upstream.layer_index(encoder, extraction.layer)
    frames = {}
    for utt, (path, _) in recordings.items():
        state = encoder.hidden_states(audio.load(path, encoder.sample_rate))[layer]
        frames[utt] = state.to(getattr(torch, extraction.dtype))
        if not frames[utt].isfinite().all():
            raise SoctkError(
                f"{utt} has features that are not finite in {extraction.dtype}",
                remedy="Use --dtype float32 (and another directory); if it says so again, the upstream is at fault.",
                where=path,
            )
    store.write_shard(frames, {utt: digest for utt, (_, digest) in recordings.items()})
    return len(frames)
