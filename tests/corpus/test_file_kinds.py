import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
import soundfile

from soctk.corpus.file_kinds import HEAD_SIZE, recognise


def make_tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.wav"))
    return stream.getvalue()


def make_zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.wav"), b"")
    return stream.getvalue()


# Content -> the words of its kind, and of what to do. The signatures are from the specifications of the formats.
FOREIGN = {
    b"": ("an empty file (0 bytes)", "again"),
    bytes(5000): ("only zero bytes", "again"),
    b"version https://git-lfs.github.com/spec/v1\noid sha256:c6f94b\nsize 72862\n": (
        "a git-lfs pointer",
        "git lfs pull",
    ),
    b"/annex/objects/MD5E-s123--abc.wav\n": ("a git-annex pointer", "git annex get"),
    b"../../.git/annex/objects/Kj/0P/MD5E-s1--a.wav": ("a git-annex pointer", "git annex get"),
    b"\n <!DOCTYPE html>\n<html>": ("an HTML page", "Download"),
    b'\xef\xbb\xbf<!-- saved --><HTML lang="en">': ("an HTML page", "Download"),
    b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">': ("an HTML page", "Download"),
    b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>': ("an XML file", "Download"),
    json.dumps({"message": "Not Found"}).encode(): ("a JSON file", "Download"),
    b"429 Too Many Requests": ("a text file that begins with '429 Too Many Requests'", "Replace"),
    ("x" + "ä" * HEAD_SIZE).encode(): ("a text file", "Replace"),
    "hello there".encode("utf-16"): ("a text file that begins with 'hello there'", "Replace"),
    make_zip(): ("a zip archive", "Unpack"),
    make_tar(): ("a tar archive", "Unpack"),
    b"\x1f\x8b\x08\0": ("a gzip archive", "Unpack"),
    b"%PDF-1.7\n": ("a PDF file", "Download"),
    b"\0\x05\x16\x07\0\2\0\0Mac OS X": ("metadata of macOS", "Remove"),
    b"NIST_1A\n   1024\nsample_coding -s26 pcm,embedded-shorten-v2.00\n": ("compressed by shorten", "sph2pipe"),
}
SOUND = {
    b"\0\0\0\x1cftypM4A \0\0\2\0": "an MPEG-4",
    b"\0\0\0\x08wide\0\0\0\0mdat": "an MPEG-4",
    b"\x1a\x45\xdf\xa3\x9fB\x86\x81\1": "WebM",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9": "wma",
    b"#!AMR\n\x3c": "AMR",
    b"#!AMR-WB\n\x3c": "AMR",
    b"\xff\xf1\x60\x40\x40": "AAC",
    b"RIFF\0\0\1\0AVI LIST": "AVI",
    b"wvpk\0\0": "WavPack",
    b"OggS\0\2" + bytes(22) + b"Speex   1.2": "Speex",
    b"caff\0\1\0\0desc" + bytes(16) + b"aac \0\0": "Core Audio",
    b"OggS\0\2" + bytes(22) + b"\x7fFLAC\1": "codec FLAC",
}


@pytest.mark.parametrize("content", FOREIGN, ids=lambda content: repr(content[:20]))
def test_files_in_place_of_recordings_are_named_with_a_remedy(content):
    kind = recognise(content[:HEAD_SIZE])
    name, remedy = FOREIGN[content]
    assert name in kind.name
    assert remedy in kind.remedy
    assert not kind.has_sound


@pytest.mark.parametrize("content", SOUND, ids=lambda content: repr(content[:20]))
def test_formats_for_ffmpeg_are_named(content):
    kind = recognise(content)
    assert SOUND[content] in kind.name
    assert kind.has_sound


@pytest.mark.parametrize("format", sorted(soundfile.available_formats().keys() - {"RAW", "SD2"}))
def test_no_format_of_libsndfile_is_taken_for_another_kind(format):
    """SD2 has its header in another file."""
    for samples in (np.zeros(3000), np.random.default_rng(0).normal(0, 0.1, 3000)):
        stream = io.BytesIO()
        rate, subtype = (8000, "GSM610") if format == "GSM" else (16000, soundfile.default_subtype(format))
        try:
            soundfile.write(stream, samples, rate, format=format, subtype=subtype)
        except soundfile.SoundFileError:
            pytest.skip("libsndfile does not write this format from these samples")
        assert recognise(stream.getvalue()[:HEAD_SIZE]) is None
