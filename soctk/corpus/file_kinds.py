"""Kinds of files that stand in place of recordings, or that libsndfile cannot read, recognised by their first bytes."""

import re
from dataclasses import dataclass

HEAD_SIZE = 4096  # the number of bytes that `recognise` looks at

_DOWNLOAD_AGAIN = "Download these recordings again: the server sent something else in their place."
_UNPACK = "Unpack these archives, and give the folder of the recordings."
_LFS = (
    "Fetch the recordings with `git lfs pull` in a clone of their repository (a zip file from GitHub contains only the "
    "pointers)."
)
_ANNEX = "Fetch the recordings with `git annex get .` (DataLad: `datalad get .`) in their repository."
_SPHERE = "Convert these files with sph2pipe: sph2pipe -f wav X.sph X.wav."


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Attributes:
        name: the kind with its article, such as "a zip archive".
        remedy: what to do to get a recording; empty for sound that ffmpeg decodes.
    """

    name: str
    remedy: str = ""

    @property
    def has_sound(self) -> bool:
        """Whether ffmpeg may decode the file."""
        return not self.remedy


EMPTY = FileKind("an empty file (0 bytes)", "Download or copy these recordings again.")
_ZEROS = FileKind("only zero bytes", "Download or copy these recordings again: the transfer did not finish.")
_MPEG4 = FileKind("an MPEG-4 or QuickTime file (m4a, mp4, mov, 3gp)")
_TRANSPORT_STREAM = FileKind("an MPEG transport stream (ts)")
_PICTURE = FileKind("a picture", "Give the paths of the recordings.")

# Pattern of the first bytes -> kind; the first that matches counts.
_PATTERNS = {
    rb"version https://(git-lfs|hawser)\.github\.com/spec/": FileKind("a git-lfs pointer, not the recording", _LFS),
    rb"[^\0\n]*(\.git|git)/annex/objects/|/annex/objects/": FileKind("a git-annex pointer, not the recording", _ANNEX),
    rb"(?is)\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|script|title|meta)\b": FileKind(
        "an HTML page", _DOWNLOAD_AGAIN
    ),
    rb"\s*<(\?xml|[A-Za-z!])": FileKind("an XML file", _DOWNLOAD_AGAIN),
    rb"%PDF-": FileKind("a PDF file", _DOWNLOAD_AGAIN),
    rb"PK(\x03\x04|\x05\x06|\x07\x08)": FileKind("a zip archive", _UNPACK),
    rb"\x1f\x8b": FileKind("a gzip archive", _UNPACK),
    rb"BZh[1-9]": FileKind("a bzip2 archive", _UNPACK),
    rb"\xfd7zXZ\0": FileKind("an xz archive", _UNPACK),
    rb"7z\xbc\xaf\x27\x1c": FileKind("a 7-Zip archive", _UNPACK),
    rb"Rar!\x1a\x07": FileKind("a RAR archive", _UNPACK),
    rb"\x28\xb5\x2f\xfd": FileKind("a Zstandard archive", _UNPACK),
    rb"(?s).{257}ustar": FileKind("a tar archive", _UNPACK),
    rb"PAR1": FileKind("a Parquet file", "Write its recordings to files, and their labels to a table."),
    rb"\x93NUMPY": FileKind("a NumPy array", "Write its samples to WAV files with their sample rate."),
    rb"\x89HDF\r\n": FileKind("an HDF5 file", "Write its recordings to files, and their labels to a table."),
    rb"\0\x05\x16[\0\x07]": FileKind("metadata of macOS (AppleDouble)", "Remove these files."),
    rb"\x89PNG|\xff\xd8\xff|GIF8": _PICTURE,
    rb"MThd": FileKind("a MIDI file, which contains notes and no sound", "Remove these files from the corpus."),
    rb"(?s)NIST_1A.*-s\d+ [^\n]*shorten": FileKind("a SPHERE file compressed by shorten", _SPHERE),
    rb"(?s).{4}ftyp(heic|heix|mif1|avif)": _PICTURE,
    rb"(?s).{4}(ftyp|moov|mdat|wide|skip|free)": _MPEG4,
    rb"\x1a\x45\xdf\xa3": FileKind("a Matroska or WebM file (webm, mkv, mka)"),
    rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11": FileKind("a Windows Media file (wma, wmv, asf)"),
    rb"#!AMR": FileKind("an AMR file"),
    rb"(?s)RIFF.{4}AVI ": FileKind("an AVI video"),
    rb"FLV\x01": FileKind("a Flash video (flv)"),
    rb"\0\0\x01[\xba\xb3]": FileKind("an MPEG video"),
    rb"(?s)\x47.{187}\x47": _TRANSPORT_STREAM,
    rb"(?s).{4}\x47.{191}\x47": _TRANSPORT_STREAM,
    rb"\.RMF": FileKind("a RealMedia file"),
    rb"MAC ": FileKind("a Monkey's Audio file (ape)"),
    rb"wvpk": FileKind("a WavPack file"),
    rb"TTA[12]": FileKind("a True Audio file (tta)"),
    rb"MPCK|MP\+": FileKind("a Musepack file"),
    rb"DSD |FRM8": FileKind("a DSD file"),
    rb"\x7f\xfe\x80\x01": FileKind("a DTS file"),
    rb"\x0b\x77": FileKind("an AC-3 file"),
    rb"ADIF|\xff[\xf0\xf1\xf8\xf9]": FileKind("an AAC file"),
    rb"(?s)OggS.{24}Speex": FileKind("an Ogg file with the codec Speex"),
    rb"(?s)OggS.{24}\x7fFLAC": FileKind("an Ogg file with the codec FLAC"),
    rb"(?s)caff.{24}(?!lpcm|alac|ulaw|alaw)": FileKind("a Core Audio file (caf) with a compressed codec"),
}
_KINDS = [(re.compile(pattern), kind) for pattern, kind in _PATTERNS.items()]
_JSON = re.compile(r"\s*[{\[]")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def recognise(head: bytes) -> FileKind | None:
    """Return the kind of a file from its first HEAD_SIZE bytes; None if it is none of those kinds."""
    if not head:
        return EMPTY
    if not head.strip(b"\0"):
        return _ZEROS
    for pattern, kind in _KINDS:
        if pattern.match(head.removeprefix(b"\xef\xbb\xbf")):
            return kind
    return _recognise_text(head)


def _recognise_text(head: bytes) -> FileKind | None:
    """Return JSON or text for bytes of printable UTF-8 or UTF-16; audio formats have binary data after their header."""
    is_utf16 = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        # the last character may be incomplete
        text = (
            head[: len(head) // 2 * 2].decode("utf-16") if is_utf16 else _drop_last_character(head).decode("utf-8-sig")
        )
    except UnicodeDecodeError:
        return None
    if _CONTROL.search(text) or not text.strip():
        return None
    if _JSON.match(text):
        return FileKind("a JSON file", _DOWNLOAD_AGAIN)
    first = " ".join(text.split())
    shown = f"{first[:30]}..." if len(first) > 30 else first
    return FileKind(f"a text file that begins with {shown!r}", "Replace these files with the recordings.")


def _drop_last_character(head: bytes) -> bytes:
    """Remove the bytes of a UTF-8 character that is cut by HEAD_SIZE."""
    return re.sub(rb"[\xc0-\xff][\x80-\xbf]{0,2}\Z", b"", head) if len(head) == HEAD_SIZE else head
