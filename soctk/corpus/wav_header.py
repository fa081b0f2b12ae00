"""Repair of WAV files that libsndfile misreads: headers without a length, and chunks without padding."""

import re

_CHUNK_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9 _]{3}")
_UNKNOWN = b"\xff\xff\xff\xff"


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
