"""Import of features that another program has made: arrays become a feature store on which soctk-train works."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from soctk import provenance
from soctk.corpus import audio
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError, listing, plural
from soctk.features import array_files
from soctk.features import settings as store_json
from soctk.features.array_files import Item, Unreadable
from soctk.features.store import FeatureStore
from soctk.files import atomic_directory
from soctk.progress import track

_SHARD_BYTES = 1 << 26
# The number of frames may differ from duration / frame shift by this many frames, or by this share: windows at the end.
_FRAMES, _SHARE = 3, 0.02


@dataclass(frozen=True)
class Import:
    """The settings of an import.

    Attributes:
        name: the name of the features, in place of an upstream's.
        frame_shift: the time between two frames in ms, for a comparison with the durations; None for no comparison.
        dtype: the data type of the stored frames.
    """

    name: str
    frame_shift: float | None = None
    dtype: Literal["float16", "float32"] = "float32"


@dataclass(frozen=True)
class Summary:
    """What was imported.

    Attributes:
        utterances: their number.
        frames: the number of frames of all utterances.
        layers: the number of hidden states.
        hidden_size: the width D of a frame.
        notes: lines for the user.
    """

    utterances: int
    frames: int
    layers: int
    hidden_size: int
    notes: list[str]


def import_features(data: DataDir, features: Path, path: Path, settings: Import) -> Summary:
    """Write a feature store from arrays `(T, D)` or `(L, T, D)`; all are checked before the first one is written.

    The digests of the store are those of the recordings, as in an extracted store, so that training finds recordings
    that occur twice. If recordings are missing, they are digests of the features.

    Args:
        data: the corpus; its recordings may be missing.
        features: the features of its utterances (array_files.find_reader). They have the names of the utterances, or
            of their recordings without the extension.
        path: the directory of the store, which must not exist.
        settings: the settings.

    Raises:
        SoctkError: the store exists; the features cannot be read; or features of utterances are missing, given twice,
            of another shape or type, NaN, infinite, too large for the data type, of another duration, or changed by
            another program during the import.
    """
    if path.exists():
        raise SoctkError("it exists already", remedy="Remove it, or choose another directory.", where=path)
    read = array_files.find_reader(features)
    checked = _check(data, features, read, settings)
    digests, note = _find_digests(data, checked)
    layers, hidden_size = checked.form
    stored = {
        "upstream": settings.name,
        "source": store_json.IMPORTED,
        store_json.CONTENT: checked.content,
        "layers": list(range(layers)),
        "num_layers": layers,
        "hidden_size": hidden_size,
        **({"frame_shift_ms": settings.frame_shift} if settings.frame_shift else {}),
        "dtype": settings.dtype,
        **({"channel": data.channel} if data.channel != "1" else {}),
        "versions": provenance.versions("soctk", "torch"),
    }
    with atomic_directory(path) as unfinished:
        store = FeatureStore.create(unfinished, stored)
        for shard in _make_shards(read(), checked, settings.dtype, features):
            store.write_shard(shard, {utt: digests[utt] for utt in shard})
        store.finish()
    return Summary(len(checked.digests), checked.frames, layers, hidden_size, [*checked.notes, note])


@dataclass(frozen=True)
class _Checked:
    """What the check has found.

    Attributes:
        utterance_of: name in the files -> utterance.
        form: the number of hidden states L and the width D.
        frames: the number of frames of all utterances.
        digests: utterance -> digest of its frames.
        content: a checksum of all frames.
        notes: lines for the user.
    """

    utterance_of: Mapping[str, str]
    form: tuple[int, int]
    frames: int
    digests: Mapping[str, str]
    content: str
    notes: list[str]


class _Faults:
    """The features that cannot be used, by their fault."""

    def __init__(self) -> None:
        self._cases: dict[str, dict[str, str]] = defaultdict(dict)

    def add(self, fault: str, utt: str, details: str = "") -> None:
        """Add an utterance; `fault` also says what to do."""
        self._cases[fault][utt] = f"{utt}: {details}" if details else utt

    def raise_if_any(self, utterances: int, where: Path) -> None:
        """Raise the error that lists all faults, if there are any."""
        if not self._cases:
            return
        count = len(set().union(*self._cases.values()))
        groups = [f"{fault} ({len(cases)})\n{listing(cases.values())}" for fault, cases in self._cases.items()]
        raise SoctkError(
            "\n".join([f"the features of {count} of {plural(utterances, 'utterance')} cannot be used", *groups]),
            remedy="Each list begins with the fault and its remedy. Nothing was written.",
            where=where,
        )


def _check(data: DataDir, features: Path, read: Callable[[], Iterator[Item]], settings: Import) -> _Checked:
    """Read all features, and check them.

    Raises:
        SoctkError: features cannot be used; the message lists them by their fault.
    """
    utterance_of = _match_names(data)
    used: dict[str, str] = {}  # name in the files -> utterance
    others: list[str] = []
    shapes: dict[str, tuple[int, int, int]] = {}
    digests: dict[str, str] = {}
    faults, seen = _Faults(), set()
    for name, array in track(read(), "check features", "utt"):
        utt = utterance_of.get(name)
        if utt is None:
            others.append(name)
        elif utt in seen:
            faults.add("given twice: keep one of each", utt)
        else:
            seen.add(utt)
            used[name] = utt
            if fault := _find_fault(array, settings.dtype):
                faults.add(fault[0], utt, fault[1])
            elif isinstance(array, np.ndarray):
                frames = _convert(array, settings.dtype)
                shapes[utt] = (len(frames), frames.shape[1], frames.shape[2])
                digests[utt] = _digest(frames)
    form = _check_forms(shapes, faults)
    if settings.frame_shift:
        _check_durations(data, shapes, settings.frame_shift, faults)
    hint = f" (names without an utterance: {', '.join(others[:3])})" if others else ""
    for utt in data.utterances:
        if utt not in seen:
            faults.add(f"missing: give the features of every utterance of the data directory{hint}", utt)
    faults.raise_if_any(len(data.utterances), features)
    content = hashlib.sha256("\n".join(digests[utt] for utt in data.utterances).encode()).hexdigest()[:16]
    notes = []
    if others:
        notes.append(f"Note: left out: {plural(len(others), 'name')} without an utterance, such as {others[0]}")
    if by_recording := sum(name != utt for name, utt in used.items()):
        notes.append(f"{plural(by_recording, 'utterance')} found by the file name of the recording")
    return _Checked(used, form, sum(shape[1] for shape in shapes.values()), digests, content, notes)


def _match_names(data: DataDir) -> dict[str, str]:
    """Return name -> utterance, for ids, and for the names of recordings without extension if they do not repeat."""
    names = {utt: utt for utt in data.utterances}
    if not data.segments:
        stems = Counter(path.stem for path in data.wav.values())
        for utt, recording in data.wav.items():
            if stems[recording.stem] == 1:
                names.setdefault(recording.stem, utt)
    return names


def _find_fault(array: np.ndarray | Unreadable, dtype: str) -> tuple[str, str] | None:
    """Return a fault with its remedy, and the details of this array; None for an array that can be used."""
    if isinstance(array, Unreadable):
        return "unreadable: write these again, as numbers", str(array)
    if array.dtype.kind not in "fiu":
        return "no numbers: write float32", f"values of type {array.dtype}"
    if array.ndim not in (2, 3) or 0 in array.shape:
        return (
            "another shape: write (frames, features), or (layers, frames, features); (1, features) for one vector",
            f"shape {array.shape}",
        )
    if not np.isfinite(array).all():
        count = array.size - np.isfinite(array).sum()
        return "NaN or infinite values: make these features again", f"{count} of {array.size} values"
    if not _convert(array, dtype).isfinite().all():
        return f"too large for {dtype}: --dtype float32, or smaller values", f"up to {np.abs(array).max():.3g}"
    return None


def _convert(array: np.ndarray, dtype: str) -> torch.Tensor:
    """Return the frames `(L, T, D)`."""
    with np.errstate(over="ignore"):
        array = np.array(array, dtype=dtype, order="C")  # a copy, since torch needs a writable array
    return torch.from_numpy(array[None] if array.ndim == 2 else array)


def _digest(frames: torch.Tensor) -> str:
    """Return the digest of frames `(L, T, D)`."""
    return hashlib.sha256(repr(tuple(frames.shape)).encode() + frames.numpy().data).hexdigest()


def _check_forms(shapes: Mapping[str, tuple[int, int, int]], faults: _Faults) -> tuple[int, int]:
    """Return the numbers L of hidden states and D of features that most utterances have; list the other utterances."""
    forms = Counter((layers, width) for layers, _, width in shapes.values())
    (form, count), *_ = forms.most_common(1) or [((0, 0), 0)]
    fault = f"not {plural(form[0], 'hidden state')} with {form[1]} features: all utterances must have the same"
    if count < len(shapes) / 2 and len({frames for _, frames, _ in shapes.values()}) == 1:
        fault = "the axes seem to be (features, frames), since only the last one differs: write array.T"
    for utt, (layers, frames, width) in shapes.items():
        if (layers, width) != form:
            faults.add(fault, utt, f"shape {(frames, width) if layers == 1 else (layers, frames, width)}")
    return form


def _check_durations(
    data: DataDir, shapes: Mapping[str, tuple[int, int, int]], frame_shift: float, faults: _Faults
) -> None:
    """List the utterances whose number of frames does not fit their duration."""
    fault = f"another duration: check --frame-shift {frame_shift:g}, and that the names are not mixed up"
    for utt, (_, frames, _) in shapes.items():
        expected = 1000 * data.seconds[utt] / frame_shift
        if abs(frames - expected) > max(_FRAMES, _SHARE * expected):
            faults.add(fault, utt, f"{plural(frames, 'frame')}, but {data.seconds[utt]:.2f} s have {expected:.0f}")


def _find_digests(data: DataDir, checked: _Checked) -> tuple[Mapping[str, str], str]:
    """Return the digests of the recordings, or of the features if recordings are missing; and a line for the user."""
    missing = [path for path in data.wav.values() if not path.is_file()]
    if missing:
        return checked.digests, (
            f"Note: {len(missing)} of {plural(len(data.wav), 'recording')} are missing, such as {missing[0]}: "
            "soctk-train cannot compare the recordings of training and test; it compares the features instead"
        )
    digests = {utt: info.digest for utt, info in audio.check(data.clips, data.channel).items()}
    return digests, "recordings: read, so that soctk-train can compare those of training and test"


def _make_shards(
    items: Iterator[Item], checked: _Checked, dtype: str, where: Path
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the frames `(L, T, D)` of some utterances at a time.

    Raises:
        SoctkError: they are not those that were checked.
    """
    left = set(checked.digests)
    shard: dict[str, torch.Tensor] = {}
    size = 0
    for name, array in track(items, "write features", "utt"):
        utt = checked.utterance_of.get(name)
        if utt is None:
            continue
        if isinstance(array, Unreadable) or _digest(frames := _convert(array, dtype)) != checked.digests[utt]:
            break
        left.discard(utt)
        shard[utt] = frames
        size += shard[utt].nbytes
        if size >= _SHARD_BYTES:
            yield shard
            shard, size = {}, 0
    if left:
        raise SoctkError(
            f"the features of {min(left)} changed during the import", remedy="Import them again.", where=where
        )
    if shard:
        yield shard
