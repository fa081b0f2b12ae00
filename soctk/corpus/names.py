"""Names of speakers, emotions, utterances and files: a form in which they are compared, and names that look alike."""

import re
import unicodedata
from collections.abc import Iterable

from soctk.errors import SoctkError, listing

# Characters without a shape, besides those of the Unicode category Cf (such as the zero-width space): fillers, the
# combining grapheme joiner, and selectors of variants.
_FILLERS = "\u034f\u115f\u1160\u2800\u3164\uffa0"
_INVISIBLE = frozenset([*_FILLERS, *map(chr, range(0xFE00, 0xFE10)), *map(chr, range(0xE0100, 0xE01F0))])

# Letters of Cyrillic and Greek, dashes and apostrophes that look like ASCII.
_ASCII = str.maketrans("авсекмнорстхуіјѕԁһԛԝαικνορτυχı‐‑‒–—−‘’ʼ`", "abcekmhopctxyijsdhqwaikvoptuxi------''''")


def normalise(text: str) -> str:
    """Return the text in composed Unicode (NFC), without invisible characters, and with one blank for white space."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(char for char in text if not _is_invisible(char))
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.split())


def to_nfc(text: str) -> str:
    """Return the text in composed Unicode; macOS writes file names decomposed."""
    return unicodedata.normalize("NFC", text)


def to_word(text: str) -> str:
    """Return the normalised text as one word: `_` replaces white space, which separates columns of data directories."""
    return normalise(text).replace(" ", "_")


def skeleton(text: str, numbers: bool = True) -> str:
    """Return a form that is the same for names that look alike.

    Names look alike if they differ only in Unicode forms, invisible characters, blanks and `_`, capital letters,
    letters of other alphabets with the same shape, and, with `numbers`, in leading zeros and `.0`.
    """
    text = to_word(text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    text = text.casefold().translate(_ASCII).replace("i\u0307", "i")  # U+0307: the dot of the Turkish capital i
    if numbers:
        text = re.sub(r"(?<![\d.])0+(?=\d)", "", text)
        text = re.sub(r"(\d+)[.,]0+", r"\1", text) if re.fullmatch(r"\d+[.,]0+", text) else text
    return text


def find_alike(names: Iterable[str], numbers: bool = True) -> list[str]:
    """Return a line such as "'S1' and 's1'" for each group of different names that look alike (`skeleton`)."""
    spellings: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        spellings.setdefault(skeleton(name, numbers), []).append(name)
    return [" and ".join(map(ascii, sorted(group))) for group in spellings.values() if len(group) > 1]


def check_spelling(kind: str, names: Iterable[str], numbers: bool = True) -> None:
    """Check that no two different names look alike: a speaker with two spellings would be in training and test.

    Args:
        kind: the kind of names in the plural, for the message.
        names: the names; they may occur several times.
        numbers: whether leading zeros and `.0` make no difference.

    Raises:
        SoctkError: two names look alike (`skeleton`).
    """
    variants = find_alike(names, numbers)
    if variants:
        raise SoctkError(
            f"some {kind} look alike, but are spelled differently\n{listing(variants)}",
            remedy="Spell each name in one way (capital letters, accents, invisible characters, blanks, "
            f"{'1 and 01 and 1.0, ' if numbers else ''}letters of another alphabet). If these {kind} are different, "
            "rename one of them.",
        )


def _is_invisible(char: str) -> bool:
    return char in _INVISIBLE or (unicodedata.category(char) in ("Cf", "Cc") and not char.isspace())
