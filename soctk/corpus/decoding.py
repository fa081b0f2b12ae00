"""Decoding of audio files by libsndfile, and by ffmpeg where it is installed for other formats."""

import io
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from soctk.corpus import file_kinds, mp3_header, wav_header
from soctk.corpus.file_kinds import FileKind

# 50 ms. A covariance needs two frames; the slowest upstreams (frame shift 20 ms, window 25 ms) give two for 50 ms.
MIN_SECONDS = 0.05

# The extensions of files that libsndfile or ffmpeg reads, in lower case.
SUFFIXES = frozenset(
    {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"}
    | {".aif", ".opus", ".sph", ".m4a", ".mp4", ".mov", ".3gp", ".webm", ".mka", ".mkv", ".aac", ".amr", ".wma", ".avi"}
    | {".ac3", ".ape", ".flv", ".wv"}
)

# The line in libsndfile's log of a file that is shorter than its header declares (WAV, AU, AIFF, RF64, W64): the number
# of bytes in the header, then the number in the file.
_CUT_SHORT = re.compile(r"^\s*(?:data|Data Size|SSND|Riff size|riff)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
# A program that writes to a pipe does not know the length; it declares nearly 2^31 or 2^32 bytes instead (SoX
# 0x7ffff000 less the size of a sample, arecord 0x7fffff00, ffmpeg 0xffffffff). 64-bit sizes: 2^62 and more.
_UNKNOWN_LENGTHS = (range(0x7FFF0000, 0x80010000), range(0xFFFF0000, 0x100010000), range(1 << 62, 1 << 65))
# Format -> the number of samples that a whole file may lack: an MP3 decoder drops up to two frames at the ends.
_TOLERANCES = {"FLAC": 0, "MP3": 2 * 1152}
# The formats whose header has the exact number of samples.
_PLAIN = {"WAV", "WAVEX", "FLAC", "AIFF", "AU", "CAF", "W64", "RF64"}
_BLOCK = 1 << 20  # samples per read; the number of samples in a header may be unknown (FLAC from a pipe) or damaged
# Rates and channels outside these limits come from damaged headers.
RATES = range(1000, 1_000_001)  # Hz
MAX_CHANNELS = 64
_LARGEST_PAGE = 65307  # bytes of an Ogg page
_END_OF_STREAM = 4  # the flag of the last page of an Ogg file
_REPLACE = "Replace these files, or leave them out."
_FIND = (
    "Correct the paths, or put the recordings there. Relative paths in a table start from the folder of the "
    "table, or from --audio."
)
_CONVERT = "ffmpeg -i X -ac 1 -ar 16000 X.wav"
_INSTALL = f"Install ffmpeg, through which soctk decodes these files, or convert them: {_CONVERT}"
_IF_PLAYED = f"If another program plays them, convert them: {_CONVERT}"


class Fault(StrEnum):
    """The kinds of faults that make a recording unusable."""

    MISSING = "missing"
    NOT_AUDIO = "not audio"
    OTHER_FORMAT = "in a format that libsndfile cannot read"
    UNREADABLE = "unreadable"
    CUT_SHORT = "cut short"
    EMPTY = "empty"
    TOO_SHORT = f"shorter than {1000 * MIN_SECONDS:g} ms"
    NOT_FINITE = "NaN or infinite samples"
    NO_CHANNEL = "without the chosen channel"
    OUTSIDE = "shorter than a segment needs"


class UnusableRecording(ValueError):
    """A recording that cannot be used.

    Args:
        fault: the kind of fault.
        message: the fault with details, such as the duration.
        remedy: what to do about it.
    """

    def __init__(self, fault: Fault, message: str, remedy: str = _REPLACE):
        super().__init__(fault, message, remedy)
        self.fault, self.message, self.remedy = fault, message, remedy

    def __str__(self) -> str:
        return self.message


def decode(path: Path) -> tuple[np.ndarray, int]:
    """Decode a recording.

    Args:
        path: a file that libsndfile reads (WAV, FLAC, OGG, MP3, ...), or that ffmpeg reads if it is installed.

    Returns:
        float32 samples of all channels `(T, C)`, full scale 1.0, and the sample rate in Hz.

    Raises:
        UnusableRecording: for each of the reasons in Fault, except NO_CHANNEL and OUTSIDE.
    """
    samples, sample_rate = _decode(path)
    if sample_rate not in RATES or samples.shape[1] > MAX_CHANNELS:
        raise UnusableRecording(
            Fault.UNREADABLE,
            f"its header is damaged: it declares {sample_rate:,} Hz and {samples.shape[1]} channels",
        )
    if len(samples) == 0:
        raise UnusableRecording(Fault.EMPTY, "empty: it has no samples")
    require_length(samples, sample_rate)
    _require_finite(samples)
    return samples, sample_rate


def require_length(samples: np.ndarray, sample_rate: int) -> None:
    """Raise UnusableRecording if there are fewer samples than MIN_SECONDS has."""
    if len(samples) < MIN_SECONDS * sample_rate:
        milliseconds = 1000 * len(samples) / sample_rate
        raise UnusableRecording(
            Fault.TOO_SHORT, f"too short: {milliseconds:.1f} ms; at least {1000 * MIN_SECONDS:.0f} ms are needed"
        )


def decode_blocks(path: Path, start: float = 0) -> tuple[Iterator[np.ndarray], int]:
    """Decode a long recording block by block, so that it need not fit into memory.

    WAV, FLAC, AIFF, AU, CAF, W64 and RF64 files with a complete header are read block by block. All others (MP3, Ogg,
    formats that ffmpeg decodes, headers of unknown length) are decoded whole.

    Args:
        path: see `decode`.
        start: the first moment to decode, in seconds from the beginning; the samples begin with the nearest one.

    Returns:
        An iterator over float32 blocks `(T, C)`, full scale 1.0, and the sample rate in Hz. The samples are those of
        `decode`.

    Raises:
        UnusableRecording: `decode` raises it. The iterator raises it too: for NaN or infinite samples, and for a file
            that ends early or is damaged after its beginning.
    """
    if sample_rate := _find_plain_rate(path):
        return _decode_plain(path, round(start * sample_rate)), sample_rate
    samples, sample_rate = decode(path)
    return iter([samples[round(start * sample_rate) :]]), sample_rate


def _find_plain_rate(path: Path) -> int | None:
    """Return the sample rate in Hz of a file that can be read block by block; None for other files."""
    try:
        if _recognise(path):
            return None
        with soundfile.SoundFile(os.fsencode(path)) as file:
            is_plain = (
                file.format in _PLAIN
                and file.seekable()  # GSM 6.10 in WAV is not
                and file.samplerate in RATES
                and file.channels <= MAX_CHANNELS
                and file.frames >= MIN_SECONDS * file.samplerate
                and not _is_unknown(file.frames)
                and not _CUT_SHORT.search(file.extra_info)
            )
            return file.samplerate if is_plain else None
    except (UnusableRecording, soundfile.SoundFileError, OSError, TypeError, ValueError):
        return None  # `decode` then reads the whole file, or raises the error with its remedy


def _decode_plain(path: Path, first: int) -> Iterator[np.ndarray]:
    """Yield the blocks of a file from the sample `first` on."""
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            count = file.seek(min(first, file.frames))
            for block in _blocks(file):
                _require_finite(block)
                count += len(block)
                yield block
            declared = file.frames
    except soundfile.SoundFileError as error:
        reason = getattr(error, "error_string", str(error)).rstrip(".")
        raise UnusableRecording(
            Fault.UNREADABLE, f"cannot be decoded ({reason})", f"{_REPLACE} {_IF_PLAYED}"
        ) from error
    if count < declared:
        raise _cut_short(f"it has {count} of the {declared} samples that its header declares")


def _require_finite(samples: np.ndarray) -> None:
    if not np.isfinite(samples).all():
        raise UnusableRecording(Fault.NOT_FINITE, "NaN or infinite samples")


def _decode(path: Path) -> tuple[np.ndarray, int]:
    """Decode a recording by the first of these that can: libsndfile, libsndfile with a new header, and ffmpeg."""
    try:
        kind = _recognise(path)
        try:
            samples, sample_rate = _read(os.fsencode(path))
            if len(samples):
                _check_last_page(path)
                return _read_rest_of_mp3(path, samples, sample_rate)
            reason = None
        except _UndecodableError as error:
            reason = str(error)
        mended = wav_header.rebuild(path.read_bytes())
    except OSError as error:
        raise UnusableRecording(Fault.UNREADABLE, f"cannot be read ({error.strerror or error})") from error
    if mended:
        with suppress(_UndecodableError):
            return _read(io.BytesIO(mended))
    if reason is None:
        return samples, sample_rate
    if kind:
        return _decode_with_ffmpeg(path, kind)
    raise UnusableRecording(Fault.UNREADABLE, f"cannot be decoded ({reason})", f"{_REPLACE} {_IF_PLAYED}")


def _recognise(path: Path) -> FileKind | None:
    """Return the kind of a file that libsndfile does not read but ffmpeg does.

    Raises:
        UnusableRecording: there is no such file, or it is not audio.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise UnusableRecording(Fault.MISSING, "not a file" if path.exists() else "no such file", _FIND)
    with path.open("rb") as file:
        kind = file_kinds.recognise(file.read(file_kinds.HEAD_SIZE))
    if kind and not kind.has_sound:
        raise UnusableRecording(Fault.NOT_AUDIO, kind.name, kind.remedy)
    return kind


class _UndecodableError(Exception):
    """The message of libsndfile about a file that it cannot decode."""


def _read(source: bytes | BinaryIO) -> tuple[np.ndarray, int]:
    """Decode a file, given as its path or as a stream, with libsndfile: samples `(T, C)` and sample rate in Hz.

    Raises:
        _UndecodableError: libsndfile cannot decode it.
        UnusableRecording: the file is shorter than its header declares.
    """
    try:
        with soundfile.SoundFile(source) as file:
            sample_rate, blocks = file.samplerate, list(_blocks(file))
            declared, log, form = file.frames, file.extra_info, file.format
    except (soundfile.SoundFileError, TypeError, ValueError, MemoryError) as error:
        reason = "it has no header" if isinstance(error, TypeError) else getattr(error, "error_string", str(error))
        raise _UndecodableError(reason.rstrip(".")) from error
    samples = np.concatenate(blocks) if len(blocks) > 1 else blocks[0]
    sizes = _CUT_SHORT.search(log)
    if sizes and int(sizes[2]) < int(sizes[1]) and not _is_unknown(int(sizes[1])):
        raise _cut_short(f"it has {sizes[2]} of the {sizes[1]} bytes of samples that its header declares")
    if form in _TOLERANCES and len(samples) < declared - _TOLERANCES[form] and not _is_unknown(declared):
        raise _cut_short(f"it has {len(samples)} of the {declared} samples that its header declares")
    return samples, sample_rate


def _blocks(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """Read the samples `(T, C)` of an open file."""
    file.seekable = lambda: False  # soundfile seeks after each read, which fails at the end of FLAC from a pipe
    size = max(1, _BLOCK // file.channels)
    while True:
        block = file.read(size, dtype="float32", always_2d=True)
        yield block
        if len(block) < size:  # the last block; MP3 cannot be read beyond it
            return


def _is_unknown(length: int) -> bool:
    return any(length in lengths for lengths in _UNKNOWN_LENGTHS)


def _cut_short(details: str) -> UnusableRecording:
    return UnusableRecording(Fault.CUT_SHORT, f"cut short: {details}")


def _read_rest_of_mp3(path: Path, samples: np.ndarray, sample_rate: int) -> tuple[np.ndarray, int]:
    """Decode an MP3 file again if it has more frames than libsndfile expected; return other samples unchanged."""
    with path.open("rb") as file:
        is_mp3 = file.read(3).startswith((b"ID3", b"\xff"))
    complete = mp3_header.add_length(path.read_bytes(), len(samples)) if is_mp3 else None
    return _read(io.BytesIO(complete)) if complete else (samples, sample_rate)


def _check_last_page(path: Path) -> None:
    """Check that the last page of an Ogg file has the flag for it: libsndfile decodes cut files without an error."""
    with path.open("rb") as file:
        if file.read(4) != b"OggS":
            return
        file.seek(max(0, path.stat().st_size - _LARGEST_PAGE))
        end = file.read()
    flags = end.rfind(b"OggS") + 5
    if flags >= len(end) or not end[flags] & _END_OF_STREAM:
        remedy = f"{_REPLACE} {_IF_PLAYED}"  # some programs that record streams never write a last page
        raise UnusableRecording(Fault.CUT_SHORT, "cut short: its last page is missing", remedy)


def _decode_with_ffmpeg(path: Path, kind: FileKind) -> tuple[np.ndarray, int]:
    """Decode the first audio stream of a file: samples `(T, C)` and sample rate in Hz.

    Raises:
        UnusableRecording: ffmpeg is not installed, or it cannot decode the file, or an Ogg file is cut short.
        OSError: the file cannot be read.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise UnusableRecording(Fault.OTHER_FORMAT, f"{kind.name}, which libsndfile cannot read", _INSTALL)
    _check_last_page(path)
    # "file:" and an absolute path: nothing in the name is an option or another protocol.
    source = b"file:" + os.fsencode(path.absolute())
    options = ["-nostdin", "-hide_banner", "-loglevel", "error", "-xerror", "-protocol_whitelist", "file"]
    output = ["-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "wav", "-"]
    try:
        result = subprocess.run([program, *options, "-i", source, *output], capture_output=True, check=False)
        if result.returncode == 0:
            return _read(io.BytesIO(result.stdout))
        first, *_ = result.stderr.decode("utf-8", "replace").strip().split("\n")
        reason = re.sub(r"^\[[^\]]*\] ", "", first) or f"status {result.returncode}"
    except (OSError, _UndecodableError) as error:
        reason = str(error)
    raise UnusableRecording(
        Fault.UNREADABLE, f"{kind.name} that ffmpeg cannot decode ({reason})", f"{_REPLACE} {_IF_PLAYED}"
    )
