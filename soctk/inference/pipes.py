"""Sound from a pipe: a file of any format, or raw samples; also while it is still being written."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from soctk.errors import SoctkError

_RAW = {"channels": 1, "format": "RAW", "subtype": "PCM_16", "endian": "LITTLE"}
_BLOCK = 0.1  # s
_WHERE = "-"
_REMEDY = "Write sound into the pipe, such as: arecord -f S16_LE -r 16000 | soctk-predict MODEL -"


@contextmanager
def saved(pipe: BinaryIO, rate: int | None) -> Iterator[Path]:
    """Yield the path of a temporary file with all the sound of a pipe; it is removed afterwards.

    Args:
        pipe: a file of any format that soctk reads, or raw samples: one channel, signed 16 bits, little-endian.
        rate: the sample rate of raw samples in Hz; None for a file.

    Raises:
        SoctkError: nothing arrives.
    """
    with tempfile.TemporaryDirectory(prefix="soctk-") as folder:
        path = Path(folder) / "pipe"
        with path.open("wb") as file:
            shutil.copyfileobj(pipe, file)
        if path.stat().st_size == 0:
            raise SoctkError("no sound arrived on standard input", remedy=_REMEDY, where=_WHERE)
        if rate is not None:
            path = _with_header(path, rate)
        yield path


@contextmanager
def live(handle: int, rate: int | None) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """Yield the rate of the sound in a pipe, in Hz, and its samples as they arrive, in blocks of 0.1 s.

    Args:
        handle: the file descriptor of a pipe with a file that libsndfile reads from pipes, such as WAV, or with raw
            samples; see `saved`.
        rate: the sample rate of raw samples in Hz; None for a file.

    Returns:
        A context manager for the rate and an iterator over blocks `(channels, samples)` in float32, full scale 1.

    Raises:
        SoctkError: nothing arrives, or libsndfile cannot read it from a pipe.
    """
    raw = {} if rate is None else {**_RAW, "samplerate": rate}
    try:
        file = soundfile.SoundFile(handle, closefd=False, **raw)
    except soundfile.SoundFileError as error:
        raise SoctkError(
            f"no sound, or a file that cannot be read while it arrives ({getattr(error, 'error_string', error)})",
            remedy="Write WAV into the pipe (arecord -f S16_LE; ffmpeg -f wav), or raw 16-bit samples, with --rate.",
            where=_WHERE,
        ) from error
    with file:
        yield file.samplerate, _blocks(file)


def _blocks(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    file.seekable = lambda: False  # soundfile seeks after each read, which a pipe cannot
    size, count = max(1, round(_BLOCK * file.samplerate)), 0
    while True:
        block = file.read(size, dtype="float32", always_2d=True)
        count += len(block)
        if len(block):
            yield block.T
        if len(block) < size:
            break
    if count == 0:
        raise SoctkError(
            "no sound arrived on standard input, or a file whose header declares no samples",
            remedy=f"{_REMEDY} --stream. For a header without a length: raw 16-bit samples, with --rate.",
            where=_WHERE,
        )


def _with_header(raw: Path, rate: int) -> Path:
    """Write a WAV file beside a file with raw samples; return its path."""
    path = raw.with_suffix(".wav")
    with (
        soundfile.SoundFile(raw, samplerate=rate, **_RAW) as sound,
        soundfile.SoundFile(path, "w", rate, _RAW["channels"], _RAW["subtype"], format="WAV") as copy,
    ):
        for block in sound.blocks(1 << 20, dtype="int16"):
            copy.write(block)
    raw.unlink()
    return path
