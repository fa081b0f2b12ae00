"""Repair of WAV files that libsndfile misreads: headers without a length, and chunks without padding; wrong lengths."""

import re
from pathlib import Path
from typing import BinaryIO

_CHUNK_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9 _]{3}")
_UNKNOWN = b"\xff\xff\xff\xff"
_LARGEST_REST = 1 << 20  # bytes after the samples that are read


def rebuild(content: bytes) -> bytes | None:
    """Return a WAV file with a simple header, the same format and the samples of `content`.

    A program that writes to a pipe cannot write the length into the header afterwards: a size of 0, or an RF64 file
    without sizes, then means that the samples extend to the end of the file. Some programs do not pad chunks of odd
    size.

    Args:
        content: the bytes of a file.

    Returns:
        The new file; None if `content` is no WAV file or has no samples.
    """
    if content[:4] not in (b"RIFF", b"RF64") or content[8:12] != b"WAVE":
        return None
    form, position = None, 12
    while position + 8 <= len(content):
        name, size = _read_chunk(content, position)
        start = position + 8
        if name == b"data":
            if form is None or (size == 0 and _are_chunks(content, start)):
                return None
            size_field = content[start - 4 : start] if size else _UNKNOWN
            return b"RIFF" + _UNKNOWN + b"WAVE" + form + b"data" + size_field + content[start:]
        if name == b"fmt ":
            form = content[position : start + size]
        position = _skip(content, start + size, size)
    return None


def seconds_after_end(path: Path) -> float:
    """Return the duration, in s, of further sound after the samples of a WAV file: bytes that are no chunk and not 0.

    It is 0 for a file with a correct header. Otherwise a program has written too small a size of the samples, and all
    readers end there. It is 0, too, for files of another format, and for headers without a length.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return 0.0
        bytes_per_second = 0
        while len(header := file.read(8)) == 8:
            name, size = _read_chunk(header, 0)
            if name == b"fmt ":
                form = file.read(size)
                bytes_per_second = int.from_bytes(form[8:12], "little")
                file.seek(size % 2, 1)
            elif name == b"data":
                return _measure_rest(file, size) / bytes_per_second if bytes_per_second and size else 0.0
            else:
                file.seek(size + size % 2, 1)
    return 0.0


def _measure_rest(file: BinaryIO, size: int) -> int:
    """Return the number of bytes after the samples, where `file` is positioned; 0 if they are chunks or zeros."""
    start = file.seek(size, 1)
    rest = file.read(_LARGEST_REST)
    is_chunk = _CHUNK_NAME.match(rest) or _CHUNK_NAME.match(rest, size % 2)
    return 0 if is_chunk or not rest.strip(b"\0") else file.seek(0, 2) - start


def _read_chunk(content: bytes, position: int) -> tuple[bytes, int]:
    """Return the name and the size of the chunk at a position."""
    return content[position : position + 4], int.from_bytes(content[position + 4 : position + 8], "little")


def _skip(content: bytes, end: int, size: int) -> int:
    """Return the position of the next chunk; a chunk of odd size is followed by a byte of padding or by a name."""
    return end + 1 if size % 2 and not _CHUNK_NAME.match(content, end) else end


def _are_chunks(content: bytes, position: int) -> bool:
    """Return whether the rest of a file consists of whole chunks, and thus contains no samples."""
    while position < len(content):
        name, size = _read_chunk(content, position)
        if not _CHUNK_NAME.fullmatch(name) or position + 8 + size > len(content):
            return False
        position = _skip(content, position + 8 + size, size)
    return True
