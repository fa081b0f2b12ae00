"""Parts of recordings: a recording is decoded once for all of its parts, block by block."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from soctk.corpus.decoding import Fault, UnusableRecording, decode, decode_blocks, require_length
from soctk.corpus.segments import Clip

# A segment may end this many seconds after its recording, and then ends with it: tables round times.
OVERSHOOT = 0.05
_END = 1 << 62  # samples; beyond the end of any recording
_CORRECT = (
    "Times are in seconds from the beginning of the file: correct start and end (in the table, or in the file "
    "`segments` of the data directory). If the files are cut already and the times are those of a longer recording, "
    "ignore them: soctk-import --column start= --column end=."
)


def decode_clips(clips: Sequence[Clip]) -> tuple[Iterator[tuple[int, np.ndarray | UnusableRecording]], int]:
    """Decode parts of one recording.

    Args:
        clips: parts of the same file, in any order; they may overlap.

    Returns:
        An iterator over pairs of the index of a clip, in any order, and its float32 samples of all channels `(T, C)`,
        or the reason why this clip alone cannot be used; and the sample rate in Hz.

    Raises:
        UnusableRecording: soctk.corpus.decoding.decode_blocks raises it, and so does its iterator.
    """
    if all(clip.is_whole for clip in clips):
        samples, sample_rate = decode(clips[0].path)
        return ((index, samples) for index in range(len(clips))), sample_rate
    start = min(clip.start for clip in clips)
    blocks, sample_rate = decode_blocks(clips[0].path, start)
    return _cut(blocks, round(start * sample_rate), clips, sample_rate), sample_rate


def _cut(
    blocks: Iterable[np.ndarray], offset: int, clips: Sequence[Clip], sample_rate: int
) -> Iterator[tuple[int, np.ndarray | UnusableRecording]]:
    """Cut the clips out of consecutive blocks, of which the first begins with the sample `offset` of the recording."""
    spans = [
        (round(clip.start * sample_rate), _END if clip.end is None else round(clip.end * sample_rate)) for clip in clips
    ]
    waiting = deque(sorted(range(len(clips)), key=lambda index: spans[index]))
    begun: dict[int, list[np.ndarray]] = {}
    start = offset
    for block in blocks:
        end = offset + len(block)
        while waiting and spans[waiting[0]][0] < end:
            begun[waiting.popleft()] = []
        for index in list(begun):
            first, last = spans[index]
            begun[index].append(block[max(0, first - offset) : last - offset])
            if last <= end:
                yield index, _joined(begun.pop(index), sample_rate)
        offset = end
        if not begun and not waiting:
            return
    for index in [*begun, *waiting]:  # the recording ends before these clips
        clip = clips[index]
        if index in begun and (clip.end is None or clip.end <= offset / sample_rate + OVERSHOOT):
            yield index, _joined(begun[index], sample_rate)
        else:
            until = "the end" if clip.end is None else f"{clip.end:g} s"
            where = f" of {offset / sample_rate:.3f} s" if offset > start else ", after the end of the recording"
            what = f"from {clip.start:g} s to {until}{where}"
            yield index, UnusableRecording(Fault.OUTSIDE, what, _CORRECT)


def _joined(parts: Sequence[np.ndarray], sample_rate: int) -> np.ndarray | UnusableRecording:
    """Return the samples of a clip, which hold no reference to the blocks that they are from."""
    samples = np.concatenate(parts)
    try:
        require_length(samples, sample_rate)
    except UnusableRecording as error:
        return error
    return samples
