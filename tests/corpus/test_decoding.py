import io
import os
import shutil
import struct
import subprocess

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from soctk.corpus import decoding, wav_header
from soctk.corpus.decoding import Fault, UnusableRecording, decode, decode_blocks

RATE = 16000
SAMPLES = (12000 * np.sin(0.1 * np.arange(RATE // 2))).astype("<i2")
FLOAT = (SAMPLES / 32768).astype("<f4")
PCM = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
EXTENSIBLE = struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE, 2 * RATE, 2, 16, 22, 16, 4) + bytes.fromhex(
    "0100000000001000800000aa00389b71"
)
PCM_24 = struct.pack("<HHIIHH", 1, 1, RATE, 3 * RATE, 3, 24)
FLOAT_32 = struct.pack("<HHIIHHH", 3, 1, RATE, 4 * RATE, 4, 32, 0)
MU_LAW = struct.pack("<HHIIHHH", 7, 1, RATE, RATE, 1, 8, 0)
STEREO = struct.pack("<HHIIHH", 1, 2, RATE, 4 * RATE, 4, 16)


def chunk(name: bytes, content: bytes, size: int | None = None, padded: bool = True) -> bytes:
    padding = b"\0" * (len(content) % 2) if padded else b""
    return name + struct.pack("<I", len(content) if size is None else size) + content + padding


LIST = chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"Lavf60.16.100\0"))


def wav(size: int, riff: int, form: bytes = PCM, samples: bytes = SAMPLES.tobytes(), extra: bytes = b"") -> bytes:
    """Return a WAV file that declares `size` bytes of samples."""
    return b"RIFF" + struct.pack("<I", riff) + b"WAVE" + chunk(b"fmt ", form) + extra + chunk(b"data", samples, size)


def written(format: str, subtype: str = "PCM_16", samples: np.ndarray = SAMPLES) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, RATE, format=format, subtype=subtype)
    return stream.getvalue()


MU_LAW_SAMPLES = written("WAV", "ULAW")[-len(SAMPLES) :]
BYTES_24 = b"".join(struct.pack("<i", int(sample) << 8)[:3] for sample in SAMPLES)


def rf64(size: int) -> bytes:
    """Return an RF64 file whose ds64 chunk has `size` as the size of the file, the samples and their number."""
    content = bytearray(written("RF64"))
    start = content.index(b"ds64") + 8
    content[start : start + 24] = struct.pack("<QQQ", size, size, size)
    return bytes(content)


PIPED = {
    "SoX": wav(0x7FFFF000, 0x7FFFF024),
    "SoX, 24 bits": wav(0x7FFFEFFF, 0x7FFFF023, PCM_24, BYTES_24),
    "SoX, extensible": wav(0x7FFFF000, 0x7FFFF03C, EXTENSIBLE),
    "SoX, stereo": wav(0x7FFFF000, 0x7FFFF024, STEREO, np.repeat(SAMPLES, 2).tobytes()),
    "arecord": wav(0x7FFFFF00, 0x7FFFFF24),
    "2^31": wav(0x80000000, 0x80000024),
    "ffmpeg": wav(0xFFFFFFFF, 0xFFFFFFFF, extra=LIST),
    "ffmpeg, extensible": wav(0xFFFFFFFF, 0xFFFFFFFF, EXTENSIBLE, extra=LIST),
    "ffmpeg, float": wav(0xFFFFFFFF, 0xFFFFFFFF, FLOAT_32, FLOAT.tobytes(), chunk(b"fact", b"\xff" * 4)),
    "ffmpeg, mu-law": wav(0xFFFFFFFF, 0xFFFFFFFF, MU_LAW, MU_LAW_SAMPLES, chunk(b"fact", b"\xff" * 4)),
    "size 0": wav(0, 0),
    "size 0, RIFF 36": wav(0, 36),
    "size 0, extensible": wav(0, 0, EXTENSIBLE),
    "size 0, float": wav(0, 0, FLOAT_32, FLOAT.tobytes(), chunk(b"fact", b"\0" * 4)),
    "size 0, 24 bits": wav(0, 0, PCM_24, BYTES_24),
    "size 0, other chunks first": wav(0, 0, extra=LIST + chunk(b"JUNK", b"\0" * 28)),
    "RF64, size 0": rf64(0),
    "RF64, size -1": rf64(2**64 - 1),
    "a chunk of odd size": wav(len(FLOAT) * 2, 36 + len(FLOAT) * 2, extra=chunk(b"LIST", b"INFO!")),
    "a chunk of odd size without padding": wav(
        len(FLOAT) * 2, 36 + len(FLOAT) * 2, extra=chunk(b"LIST", b"INFO!", padded=False)
    ),
}


@pytest.mark.parametrize("name", PIPED)
def test_wav_files_without_a_length_are_read_whole(tmp_path, name):
    (tmp_path / "piped.wav").write_bytes(PIPED[name])
    samples, rate = decode(tmp_path / "piped.wav")
    assert (len(samples), rate) == (len(SAMPLES), RATE)
    np.testing.assert_allclose(samples[:, 0], FLOAT, atol=0.02 if "mu-law" in name else 1e-6)


def test_a_flac_file_without_a_length_is_read_whole(tmp_path):
    content = bytearray(written("FLAC"))
    content[21] &= 0xF0  # STREAMINFO: the 36 bits of the number of samples
    content[22:26] = bytes(4)
    (tmp_path / "piped.flac").write_bytes(content)
    np.testing.assert_allclose(decode(tmp_path / "piped.flac")[0][:, 0], FLOAT, atol=1e-6)
    (tmp_path / "piped.flac").write_bytes(content[: len(content) // 2])
    assert find_fault(tmp_path / "piped.flac") == Fault.UNREADABLE


@pytest.fixture(scope="module")
def mp3() -> bytes:
    """An MP3 file of 3 s with a variable bit rate: loud noise, then quiet noise. Its first frame is a header."""
    samples = np.random.default_rng(0).normal(0, 1, 3 * RATE) * np.repeat([0.1, 0.001, 0.001], RATE)
    stream = io.BytesIO()
    soundfile.write(
        stream, samples, RATE, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="VARIABLE", compression_level=0.5
    )
    return stream.getvalue()


def drop_header(mp3: bytes) -> bytes:
    """Return an MP3 file without its first frame, which contains its length."""
    second = mp3.index(mp3[:2], 40)
    assert b"Xing" in mp3[:second] or b"Info" in mp3[:second]
    return mp3[second:]


TAG = b"ID3\3\0\0\0\0\0\x0a" + bytes(10)
TAG_AT_END = b"TAG" + bytes(125)


def test_an_mp3_file_without_its_length_is_read_whole(tmp_path, mp3):
    (tmp_path / "whole.mp3").write_bytes(mp3)
    whole = decode(tmp_path / "whole.mp3")[0][:, 0]
    assert len(whole) == 3 * RATE
    (tmp_path / "piped.mp3").write_bytes(TAG + drop_header(mp3) + TAG_AT_END)
    assert len(soundfile.read(tmp_path / "piped.mp3")[0]) < 2.5 * RATE  # what libsndfile alone reads
    samples, rate = decode(tmp_path / "piped.mp3")
    assert rate == RATE
    (shift,) = np.flatnonzero([np.allclose(samples[s : s + RATE, 0], whole[:RATE], atol=1e-4) for s in range(2500)])
    rest = samples[shift:, 0][: len(whole)]
    assert len(rest) > 3 * RATE - 600
    np.testing.assert_allclose(rest, whole[: len(rest)], atol=1e-4)


@pytest.mark.parametrize("change", [lambda mp3: mp3, drop_header], ids=["with headers", "without headers"])
def test_joined_mp3_files_are_read_whole(tmp_path, mp3, change):
    part = TAG + change(mp3) + TAG_AT_END
    (tmp_path / "joined.mp3").write_bytes(part + part)
    samples, _ = decode(tmp_path / "joined.mp3")
    assert 6 * RATE - 600 < len(samples) < 6.3 * RATE


def find_fault(path) -> Fault:
    with pytest.raises(UnusableRecording) as error:
        decode(path)
    return error.value.fault


CUT = {
    "wav": wav(len(SAMPLES) * 2, 36 + len(SAMPLES) * 2),
    "large.wav": wav(1 << 30, 36 + (1 << 30)),
    "3 GB.wav": wav(3_000_000_000, 3_000_000_036),
    "extensible.wav": wav(len(SAMPLES) * 2, 60 + len(SAMPLES) * 2, EXTENSIBLE),
    "odd chunk.wav": wav(len(SAMPLES) * 2, 36 + len(SAMPLES) * 2, extra=chunk(b"LIST", b"INFO!", padded=False)),
    "rf64": written("RF64"),
    "w64": written("W64"),
    "aiff": written("AIFF"),
    "au": written("AU"),
    "ogg": written("OGG", "VORBIS", np.random.default_rng(0).normal(0, 0.1, 3 * RATE)),
    "opus": written("OGG", "OPUS", np.random.default_rng(0).normal(0, 0.1, 3 * RATE)),
    "mp3": written("MP3", "MPEG_LAYER_III", np.random.default_rng(0).normal(0, 0.1, 3 * RATE)),
}


@pytest.mark.parametrize("name", CUT)
def test_files_that_are_cut_short_are_found(tmp_path, name):
    path = tmp_path / f"file.{name}"
    path.write_bytes(CUT[name][: len(CUT[name]) * 2 // 3])
    assert find_fault(path) == Fault.CUT_SHORT


@pytest.mark.parametrize("format", ["rf64", "w64", "aiff", "au", "ogg", "opus", "mp3"])
def test_whole_files_are_not_cut_short(tmp_path, format):
    (tmp_path / "whole").write_bytes(CUT[format])
    assert decode(tmp_path / "whole")[1] == RATE


def test_a_wav_file_with_chunks_after_its_empty_data_is_empty(tmp_path):
    (tmp_path / "empty.wav").write_bytes(wav(0, 36, samples=b"") + LIST)
    assert find_fault(tmp_path / "empty.wav") == Fault.EMPTY


M4A = b"\0\0\0\x1cftypM4A \0\0\2\0" + bytes(range(256)) * 8


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """Put a program `ffmpeg` on the path, which writes its arguments and prints a WAV file as ffmpeg does to a pipe."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "ffmpeg"
    (folder / "piped.wav").write_bytes(PIPED["ffmpeg, float"])
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{folder}/arguments"\ncat "{folder}/piped.wav"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return program


@pytest.mark.parametrize("name", ["a.m4a", "-y.m4a", "concat:a|b.m4a", "$(touch x); a b%03d.m4a"])
def test_other_formats_are_decoded_by_ffmpeg(tmp_path, ffmpeg, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(M4A)
    samples, rate = decode((tmp_path / name).relative_to(tmp_path))
    np.testing.assert_array_equal(samples[:, 0], FLOAT)
    assert rate == RATE
    arguments = (ffmpeg.parent / "arguments").read_text().split("\n")
    assert arguments[arguments.index("-i") + 1] == f"file:{tmp_path / name}"
    assert "-nostdin" in arguments
    assert not (tmp_path / "x").exists()


def test_a_cut_ogg_file_for_ffmpeg_is_found(tmp_path, ffmpeg):
    page = b"OggS\0" + bytes([2]) + bytes(22) + b"Speex   1.2" + bytes(100)
    (tmp_path / "a.ogg").write_bytes(page)
    assert find_fault(tmp_path / "a.ogg") == Fault.CUT_SHORT
    (tmp_path / "a.ogg").write_bytes(page + b"OggS\0" + bytes([4]) + bytes(30))
    np.testing.assert_array_equal(decode(tmp_path / "a.ogg")[0][:, 0], FLOAT)


def test_the_message_of_ffmpeg_is_shown(tmp_path, ffmpeg):
    ffmpeg.write_text("#!/bin/sh\necho '[mov @ 0x5] moov atom not found' >&2; exit 1\n")
    (tmp_path / "a.m4a").write_bytes(M4A)
    with pytest.raises(UnusableRecording, match=r"an MPEG-4 .* that ffmpeg cannot decode \(moov atom not found\)$"):
        decode(tmp_path / "a.m4a")


def test_without_ffmpeg_the_format_is_named_with_the_command_that_converts_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "a.wav").write_bytes(M4A)
    with pytest.raises(
        UnusableRecording, match=r"an MPEG-4 or QuickTime file .*, which libsndfile cannot read"
    ) as error:
        decode(tmp_path / "a.wav")
    assert error.value.fault == Fault.OTHER_FORMAT
    assert "Install ffmpeg" in error.value.remedy
    assert "ffmpeg -i X -ac 1 -ar 16000 X.wav" in error.value.remedy


def test_files_that_are_no_audio_are_not_given_to_a_decoder(tmp_path, ffmpeg):
    for name in ("a.au", "a.vox", "a.raw"):  # libsndfile takes any bytes in a file with these extensions as samples
        (tmp_path / name).write_text("<!DOCTYPE html><html><body>Please sign in</body></html>" * 200)
        assert find_fault(tmp_path / name) == Fault.NOT_AUDIO
    assert not (ffmpeg.parent / "arguments").exists()


def test_samples_without_a_header_are_unreadable(tmp_path):
    (tmp_path / "a.raw").write_bytes(SAMPLES.tobytes())
    with pytest.raises(UnusableRecording, match=r"cannot be decoded \(it has no header\)"):
        decode(tmp_path / "a.raw")


SOURCES = {
    "wav": written("WAV"),
    "flac": written("FLAC"),
    "ogg": written("OGG", "VORBIS"),
    "opus": written("OGG", "OPUS"),
    "mp3": written("MP3", "MPEG_LAYER_III"),
    "rf64": written("RF64"),
    "aiff": written("AIFF"),
    "w64": written("W64"),
    "caf": written("CAF"),
    "au": written("AU"),
}


@st.composite
def damaged(draw) -> tuple[str, bytes]:
    """A file with a flipped bit, removed or inserted bytes in its first 200 bytes, or cut anywhere."""
    name = draw(st.sampled_from(sorted(SOURCES)))
    content = bytearray(SOURCES[name])
    for _ in range(draw(st.integers(1, 3))):
        position = draw(st.integers(0, min(200, len(content))))
        match draw(st.sampled_from(["flip", "insert", "remove", "cut"])):
            case "flip":
                content[position : position + 1] = bytes(
                    byte ^ 1 << draw(st.integers(0, 7)) for byte in content[position : position + 1]
                )
            case "insert":
                content[position:position] = draw(st.binary(min_size=1, max_size=8))
            case "remove":
                del content[position : position + draw(st.integers(1, 8))]
            case "cut":
                del content[draw(st.integers(0, len(content))) :]
    return name, bytes(content)


@given(damaged())
def test_a_damaged_file_gives_samples_or_a_message(tmp_path_factory, file):
    name, content = file
    path = tmp_path_factory.getbasetemp() / f"damaged.{name}"
    path.write_bytes(content)
    try:
        samples, rate = decode(path)
    except UnusableRecording as error:
        assert str(error)
        assert error.remedy
        with pytest.raises(UnusableRecording):
            list(decode_blocks(path)[0])
    else:
        assert samples.dtype == np.float32
        assert np.isfinite(samples).all()
        assert 1000 <= rate <= 1_000_000
        blocks, same_rate = decode_blocks(path)
        np.testing.assert_array_equal(np.concatenate(list(blocks)), samples)
        assert same_rate == rate


@pytest.mark.parametrize("format", ["WAV", "FLAC", "AIFF", "AU", "CAF", "W64", "RF64"])
def test_plain_files_are_read_in_blocks(tmp_path, monkeypatch, format):
    monkeypatch.setattr(decoding, "_BLOCK", 1000)
    path = tmp_path / "sound"
    path.write_bytes(SOURCES[format.lower()])
    blocks = list(decode_blocks(path)[0])
    assert [len(block) for block in blocks] == [1000] * 8 + [0]
    np.testing.assert_array_equal(np.concatenate(blocks)[:, 0], FLOAT)


def test_a_damaged_number_of_samples_reserves_no_memory(tmp_path):
    content = bytearray(written("FLAC"))
    content[21] |= 0x0F  # 2^36 samples: 256 GB
    (tmp_path / "damaged.flac").write_bytes(content)
    assert find_fault(tmp_path / "damaged.flac") == Fault.CUT_SHORT


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg")
def test_the_real_ffmpeg_decodes_an_mp4_file(tmp_path):
    soundfile.write(tmp_path / "tone.wav", SAMPLES, RATE)
    convert = ["ffmpeg", "-v", "error", "-i", tmp_path / "tone.wav", "-c:a", "alac", tmp_path / "tone.m4a"]
    subprocess.run(convert, check=True)
    np.testing.assert_allclose(decode(tmp_path / "tone.m4a")[0][:, 0], FLOAT, atol=1e-6)


@pytest.mark.parametrize(
    ("content", "seconds"),
    [
        (wav(6000, 6036), 0.3125),  # 16,000 bytes of samples, of which the header declares 6,000: 10,000 bytes are left
        (wav(6001, 6037), 9999 / 32000),
        (wav(6000, 6036, FLOAT_32, FLOAT.tobytes()), 26000 / 64000),
        (wav(6000, 6036, extra=LIST), 0.3125),
        (wav(len(SAMPLES) * 2, 16036), 0),
        (wav(len(SAMPLES) * 2, 16036) + LIST, 0),
        (wav(len(SAMPLES) * 2, 16036) + b"\0\0\0", 0),
        (wav(len(SAMPLES) * 2 - 1, 16035, samples=SAMPLES.tobytes()[:-1]) + LIST, 0),
        (wav(0, 36), 0),  # from a pipe; it is read to the end of the file
        (wav(0xFFFFFFFF, 0xFFFFFFFF), 0),
        (wav(20000, 20036), 0),  # cut short
        (written("FLAC"), 0),
        (b"RIFF", 0),
    ],
)
def test_sound_beyond_the_size_in_a_header_is_measured(content, seconds, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    assert wav_header.seconds_after_end(path) == seconds
