"""Repair of MP3 files without a header for their length: libsndfile estimates it, and may read only a part of them."""

from collections.abc import Iterator

# kbit/s of layer III by bit rate index, for MPEG 1 and for MPEG 2 and 2.5 (ISO 11172-3, 2.4.2.3; ISO 13818-3)
_BIT_RATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
# Hz by version field (2.5, reserved, 2, 1) and sample rate index
_SAMPLE_RATES = ((11025, 12000, 8000), (), (22050, 24000, 16000), (44100, 48000, 32000))
_XING_BIT_RATE = 9  # the index of a bit rate whose frames have room for a header
# Samples that libsndfile drops: the delay of its decoder, and what a header declares as padding of the encoder.
_DELAY = 529
_PADDING = 4095
_FRAMES_AND_BYTES = 3  # flags of the fields that follow in a Xing header


def add_length(content: bytes, decoded: int) -> bytes | None:
    """Return an MP3 file with a Xing header, which gives its length, in front of the frames of `content`.

    Args:
        content: the bytes of a file.
        decoded: the number of samples that libsndfile read from it.

    Returns:
        The new file; None if `content` is no MP3 file, or has no more frames than were decoded.
    """
    start = _skip_tag(content, 0)
    frame = _parse(content, start)
    if frame is None:
        return None
    length, samples = frame
    dropped = _DELAY
    if any(name in content[start : start + length] for name in (b"Xing", b"Info")):
        start += length  # such a header gives the length of the first of several files that were joined
        dropped += _PADDING
    frames = list(_walk(content, start))
    if len(frames) * samples <= decoded + dropped:
        return None
    start = frames[0]
    head = bytearray(content[start : start + 4])
    head[1] |= 1  # without a checksum
    head[2] = _XING_BIT_RATE << 4 | head[2] & 0x0C
    length, _ = _parse(bytes(head), 0) or (0, 0)
    is_mono, is_mpeg_1 = head[3] >> 6 == 3, head[1] & 0x18 == 0x18
    side_info = bytes((17 if is_mono else 32) if is_mpeg_1 else (9 if is_mono else 17))
    fields = (_FRAMES_AND_BYTES, len(frames), len(content) - start + length)
    header = bytes(head) + side_info + b"Xing" + b"".join(field.to_bytes(4, "big") for field in fields)
    return header.ljust(length, b"\0") + content[start:]


def _skip_tag(content: bytes, position: int) -> int:
    """Return the position after an ID3v2 or ID3v1 tag, or the same position if there is no tag."""
    if content[position : position + 3] == b"TAG":
        return position + 128
    head = content[position : position + 10]
    if head[:3] != b"ID3" or len(head) < 10:
        return position
    size = 0
    for byte in head[6:]:
        size = size << 7 | byte & 0x7F
    return position + 10 + size


def _walk(content: bytes, position: int) -> Iterator[int]:
    """Yield the position of each frame that is in the file as a whole; tags between joined files are skipped."""
    while True:
        position = _skip_tag(content, _skip_tag(content, position))
        frame = _parse(content, position)
        if frame is None or position + frame[0] > len(content):
            return
        yield position
        position += frame[0]


def _parse(content: bytes, position: int) -> tuple[int, int] | None:
    """Return the length in bytes and the number of samples of the frame at a position; None if there is no frame."""
    head = content[position : position + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:  # 11 bits of synchronisation, and layer III
        return None
    version, rate = head[1] >> 3 & 3, head[2] >> 2 & 3
    is_mpeg_1 = version == 3
    bit_rate = head[2] >> 4
    if version == 1 or rate == 3 or bit_rate in (0, 15):
        return None
    samples = 1152 if is_mpeg_1 else 576
    kilobits = _BIT_RATES[0 if is_mpeg_1 else 1][bit_rate]
    return samples * kilobits * 125 // _SAMPLE_RATES[version][rate] + (head[2] >> 1 & 1), samples
