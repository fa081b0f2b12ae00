"""Recordings and parts of them: channels, resampling and checks. All of soctk reads audio through this module."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soxr
from joblib import Parallel, delayed

from soctk.corpus.conditions import Conditions
from soctk.corpus.conditions import measure as measure_conditions
from soctk.corpus.cutting import decode_clips
from soctk.corpus.decoding import MIN_SECONDS, SUFFIXES, Fault, UnusableRecording, decode_blocks
from soctk.corpus.segments import Clip
from soctk.corpus.wav_header import seconds_after_end
from soctk.errors import SoctkError, listing, plural
from soctk.progress import track

__all__ = [
    "MIN_SECONDS",
    "SILENT_RANGE",
    "SUFFIXES",
    "AudioInfo",
    "Fault",
    "UnusableRecording",
    "check",
    "choose_channel",
    "inspect",
    "load",
    "load_blocks",
    "load_each",
    "load_native",
    "remedies",
]

# Runs of _CLIPPED_RUN or more samples at full scale count as clipping. Full scale: one below the largest 16-bit value.
_FULL_SCALE = 32766 / 32768
_CLIPPED_RUN = 3
# A channel is silent if its samples span less than this: four steps of 16 bits, more than dither and less than speech.
SILENT_RANGE = 4 / 32768
_KINDS = 3  # kinds of files in a message


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """The properties of the sound of one utterance, from all of its decoded samples.

    Attributes:
        seconds: its duration.
        channels: the number of channels.
        sample_rate: in Hz.
        digest: SHA-256 of the sample rate and the samples of the chosen channel; the same for the same samples in WAV
            and in FLAC.
        is_silent: whether the samples of the chosen channel differ by less than SILENT_RANGE.
        clipped: the share of samples of the chosen channel that are clipped.
        sounding: the numbers, from 1, of the channels that are not silent.
        conditions: the recording conditions of the chosen channel; None where they are not measured.
        unread: the duration, in s, of what follows the samples of its WAV file, because the size in the header is too
            small (soctk.corpus.wav_header.seconds_after_end).
    """

    seconds: float
    channels: int
    sample_rate: int
    digest: str
    is_silent: bool
    clipped: float
    sounding: tuple[int, ...]
    conditions: Conditions | None = None
    unread: float = 0.0


def load(source: Path | Clip, sample_rate: int, speed: float = 1, channel: str = "1") -> np.ndarray:
    """Read one channel of a recording, or of a part of it, resampled (soxr, high quality).

    Args:
        source: any file that libsndfile reads (WAV, FLAC, OGG, MP3, ...), or a part of one.
        sample_rate: the sample rate of the result, in Hz.
        speed: the playback speed, 1 for the original; it changes tempo and pitch together.
        channel: 1, 2, ..., or mix for the mean of all channels.

    Returns:
        float32 waveform `(samples,)`; full scale is 1.0.

    Raises:
        SoctkError: `load_native` raises it.
    """
    (waveform,) = load_each([(_as_clip(source), speed)], sample_rate, channel)
    return waveform


def load_each(clips: Sequence[tuple[Clip, float]], sample_rate: int, channel: str = "1") -> list[np.ndarray]:
    """Read parts of one recording, each at its speed (see `load`); the recording is read once.

    Args:
        clips: pairs of a part and a speed; all parts are of the same file.
        sample_rate: the sample rate of the results, in Hz.
        channel: 1, 2, ..., or mix for the mean of all channels.

    Raises:
        SoctkError: `load_native` raises it.
    """
    waveforms: dict[int, np.ndarray] = {}
    parts, native_rate = _load_clips([clip for clip, _ in clips], channel)
    for index, samples in parts:
        waveforms[index] = soxr.resample(samples, native_rate * clips[index][1], sample_rate)
    return [waveforms[index] for index in range(len(clips))]


def load_native(source: Path | Clip, channel: str = "1") -> tuple[np.ndarray, int]:
    """Read one channel of a recording, or of a part of it, at its own sample rate.

    Args:
        source: any file that libsndfile reads (WAV, FLAC, OGG, MP3, ...), or a part of one.
        channel: 1, 2, ..., or mix for the mean of all channels.

    Returns:
        The float32 waveform `(samples,)`, and the sample rate in Hz.

    Raises:
        SoctkError: the file cannot be decoded, is cut short or shorter than MIN_SECONDS, lacks the channel, or holds
            NaN or infinite samples; or the part is shorter than MIN_SECONDS, or not within the recording.
    """
    parts, native_rate = _load_clips([_as_clip(source)], channel)
    ((_, samples),) = parts
    return samples, native_rate


def _as_clip(source: Path | Clip) -> Clip:
    return source if isinstance(source, Clip) else Clip(Path(source))


def _load_clips(clips: Sequence[Clip], channel: str) -> tuple[Iterator[tuple[int, np.ndarray]], int]:
    """Read one channel of parts of a recording: pairs of the index of a part and its waveform, and the sample rate."""

    def chosen(parts: Iterator[tuple[int, np.ndarray | UnusableRecording]]) -> Iterator[tuple[int, np.ndarray]]:
        try:
            for index, samples in parts:
                if isinstance(samples, UnusableRecording):
                    raise samples
                yield index, choose_channel(samples, channel)
        except UnusableRecording as error:
            raise SoctkError(str(error), remedy=error.remedy, where=clips[0].path) from error

    try:
        parts, native_rate = decode_clips(clips)
    except UnusableRecording as error:
        raise SoctkError(str(error), remedy=error.remedy, where=clips[0].path) from error
    return chosen(parts), native_rate


def load_blocks(source: Path | Clip, channel: str = "1") -> tuple[Iterator[np.ndarray], int]:
    """Read one channel of a long recording block by block; see `load_native`. A part of a recording is one block.

    Returns:
        An iterator over blocks `(samples,)`, and the sample rate in Hz. Formats without an exact header are decoded
        whole (soctk.corpus.decoding.decode_blocks).

    Raises:
        SoctkError: `load_native` raises it; the iterator does so for faults after the beginning of the file.
    """

    path = _as_clip(source).path

    def chosen(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        try:
            for block in blocks:
                yield choose_channel(block, channel)
        except UnusableRecording as error:
            raise SoctkError(str(error), remedy=error.remedy, where=path) from error

    if not _as_clip(source).is_whole:
        samples, native_rate = load_native(source, channel)
        return iter([samples]), native_rate
    try:
        blocks, native_rate = decode_blocks(path)
    except UnusableRecording as error:
        raise SoctkError(str(error), remedy=error.remedy, where=path) from error
    return chosen(blocks), native_rate


def check(recordings: Mapping[str, Path | Clip], channel: str = "1") -> dict[str, AudioInfo]:
    """Decode every recording once; one error lists all recordings that cannot be used.

    Args:
        recordings: utterance id -> path, or a part of a recording.
        channel: 1, 2, ..., or mix for the mean of all channels.

    Returns:
        utterance id -> AudioInfo, in the order given.

    Raises:
        SoctkError: recordings are missing, unreadable, cut short, empty or shorter than MIN_SECONDS, lack the
            channel, or hold NaN or infinite samples; or parts are shorter, or not within their recording.
    """
    results = inspect(recordings, channel)
    unusable = {utt: result for utt, result in results.items() if isinstance(result, UnusableRecording)}
    if unusable:
        raise _describe(unusable, recordings)
    return {utt: result for utt, result in results.items() if isinstance(result, AudioInfo)}


def _describe(unusable: Mapping[str, UnusableRecording], recordings: Mapping[str, Path | Clip]) -> SoctkError:
    """Return the error that lists unusable recordings by their fault."""
    by_fault: dict[Fault, dict[str, UnusableRecording]] = {fault: {} for fault in Fault}
    for utt, error in unusable.items():
        by_fault[error.fault][utt] = error
    groups = []
    for fault, errors in by_fault.items():
        cases = listing(f"{utt} {recordings[utt]}: {error}" for utt, error in errors.items())
        groups += [f"{fault} ({len(errors)}): {remedies(errors.values())}\n{cases}"] if errors else []
    return SoctkError(
        "\n".join([f"{len(unusable)} of {len(recordings)} recordings cannot be used", *groups]),
        remedy="Each list begins with its remedy. Remove recordings that you cannot repair from the corpus.",
    )


def remedies(errors: Collection[UnusableRecording]) -> str:
    """Return what to do about recordings with the same fault; files of different kinds have remedies of their own."""
    kinds = Counter(
        (str(error) if error.fault in (Fault.NOT_AUDIO, Fault.OTHER_FORMAT) else "", error.remedy) for error in errors
    )
    return " ".join(
        f"{kind} ({count}). {remedy}" if kind else remedy for (kind, remedy), count in kinds.most_common(_KINDS)
    )


def inspect(
    recordings: Mapping[str, Path | Clip], channel: str = "1", has_conditions: bool = False
) -> dict[str, AudioInfo | UnusableRecording]:
    """Decode every recording once, on all cores; return the properties of each utterance, or why it cannot be used.

    Args:
        recordings: utterance id -> path, or a part of a recording.
        channel: 1, 2, ..., or mix for the mean of all channels.
        has_conditions: whether to measure the recording conditions too, which takes half as long again.
    """
    by_path: dict[Path, list[tuple[str, Clip]]] = {}
    for utt, source in recordings.items():
        clip = _as_clip(source)
        by_path.setdefault(clip.path, []).append((utt, clip))
    # return_as="generator" dispatches a few jobs at a time; an executor would keep one object per recording (300,000)
    jobs = (delayed(_inspect)([clip for _, clip in clips], channel, has_conditions) for clips in by_path.values())
    results = track(Parallel(-1, backend="threading", return_as="generator")(jobs), "check audio", "file", len(by_path))
    found: dict[str, AudioInfo | UnusableRecording] = {}
    for clips, infos in zip(by_path.values(), results, strict=True):
        found |= {utt: info for (utt, _), info in zip(clips, infos, strict=True)}
    return {utt: found[utt] for utt in recordings}


def _inspect(clips: Sequence[Clip], channel: str, has_conditions: bool) -> list[AudioInfo | UnusableRecording]:
    """Return the properties of parts of one recording. If a part of the file is damaged, none of them can be used."""
    found: dict[int, AudioInfo | UnusableRecording] = {}
    try:
        parts, sample_rate = decode_clips(clips)
        for index, samples in parts:
            if isinstance(samples, UnusableRecording):
                found[index] = samples
            else:
                found[index] = _measure(samples, sample_rate, channel, has_conditions)
        unread = seconds_after_end(clips[0].path)
    except UnusableRecording as error:
        return [error] * len(clips)
    infos = [found[index] for index in range(len(clips))]
    return [replace(info, unread=unread) if unread and isinstance(info, AudioInfo) else info for info in infos]


def _measure(channels: np.ndarray, sample_rate: int, channel: str, has_conditions: bool) -> AudioInfo:
    samples = choose_channel(channels, channel)
    digest = hashlib.sha256(f"{sample_rate} Hz\n".encode())
    digest.update(samples.data)
    return AudioInfo(
        seconds=len(samples) / sample_rate,
        channels=channels.shape[1],
        sample_rate=sample_rate,
        digest=digest.hexdigest(),
        is_silent=bool(np.ptp(samples) < SILENT_RANGE),
        clipped=_measure_clipping(samples),
        sounding=tuple((np.flatnonzero(np.ptp(channels, axis=0) >= SILENT_RANGE) + 1).tolist()),
        conditions=measure_conditions(samples, sample_rate) if has_conditions else None,
    )


def choose_channel(channels: np.ndarray, channel: str) -> np.ndarray:
    """Return one channel, or the mean of all, of `channels (T, C)` as a contiguous array `(T,)`.

    Raises:
        UnusableRecording: there is no such channel.
    """
    if channel == "mix":
        return channels.mean(axis=1)
    if int(channel) > channels.shape[1]:
        count = channels.shape[1]
        raise UnusableRecording(
            Fault.NO_CHANNEL,
            f"it has no channel {channel}, only {plural(count, 'channel')}",
            "Choose another channel: 1 or mix, the mean of all, which every recording has (--channel of soctk-import "
            "or soctk-predict, or the file `channel` of the data directory).",
        )
    return np.ascontiguousarray(channels[:, int(channel) - 1])


def _measure_clipping(samples: np.ndarray) -> float:
    """Return the share of samples in runs of _CLIPPED_RUN or more at full scale."""
    at_full_scale = np.concatenate([[False], np.abs(samples) >= _FULL_SCALE, [False]])
    starts, ends = np.flatnonzero(np.diff(at_full_scale)).reshape(-1, 2).T
    lengths = ends - starts
    return float(lengths[lengths >= _CLIPPED_RUN].sum() / len(samples))
