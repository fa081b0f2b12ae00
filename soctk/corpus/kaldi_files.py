"""The text files of Kaldi's data directories: an id and its value on each line, separated by white space."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from soctk.corpus import names
from soctk.errors import SoctkError, listing
from soctk.files import atomic

# A file name is a sequence of bytes. surrogateescape keeps bytes that are not UTF-8 when a path is read and written.
_ENCODING = "utf-8"
_ERRORS = "surrogateescape"
# The characters that stand for such bytes. Only paths may contain them: reports and feature stores are UTF-8.
_UNDECODED = re.compile("[\ud800-\udfff]")
# Kaldi also separates by vertical tabs and form feeds, which soctk refuses, because they are never meant.
_BLANKS = " \t\r"
_SEPARATOR = re.compile(f"[{_BLANKS}]+")
# Joiners, which some scripts need within words; assigned and private characters that Python's tables may not know.
_JOINERS = "\u200c\u200d"
_UNKNOWN_CATEGORIES = ("Cn", "Co")


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file without surrounding blanks, as Kaldi reads them.

    Only a line feed ends a line. A byte-order mark at the beginning is dropped.
    """
    text = path.read_bytes().decode(_ENCODING, _ERRORS).removeprefix("\ufeff")
    return [line.strip(_BLANKS) for line in text.removesuffix("\n").split("\n")]


def split_words(line: str) -> list[str]:
    """Return the words of a line; blanks and tabs separate them."""
    return _SEPARATOR.split(line) if line else []


def read_table(path: Path, parse: Callable[[str], Any], type_name: str, problems: list[str]) -> dict[str, Any]:
    """Return id -> value of a file. The first white space of a line separates them.

    Args:
        path: the file.
        parse: converts the text of a value; a ValueError means that it is invalid.
        type_name: the type of the values, for messages.
        problems: a line is appended for each fault: lines that are empty, malformed, repeated or unsorted.
    """
    values: dict[str, Any] = {}
    previous = ""
    for number, line in enumerate(read_lines(path), start=1):
        where = f"{path.name} line {number}"
        if not line:
            problems.append(f"{where} is empty; remove this line")
            continue
        key, *rest = _SEPARATOR.split(line, maxsplit=1)
        if key in values:
            problems.append(f"{where}: {_show(key)} is given twice")
        elif key < previous:
            problems.append(f"{where}: {_show(key)} comes after {_show(previous)}; sort the file with LC_ALL=C")
        try:
            if not rest:
                raise ValueError
            values[key] = parse(rest[0])
        except ValueError:
            problems.append(f"{where}: '{line}' is not an id, a space and {type_name}")
        previous = key
    return values


def write_table(path: Path, values: Mapping[str, Any]) -> None:
    """Write id -> value, sorted, atomically."""
    write_lines(path, [f"{key} {value}" for key, value in sorted(values.items())])


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes("".join(f"{line}\n" for line in lines).encode(_ENCODING, _ERRORS))


def find_undecoded(file: str, texts: Iterable[str]) -> Iterable[str]:
    """Yield a line for each text that is not UTF-8."""
    for text in dict.fromkeys(texts):
        if _UNDECODED.search(text):
            yield f"{file}: {text!a} is not UTF-8"


def find_unfit_words(file: str, words: Iterable[str]) -> Iterable[str]:
    """Yield a line for each text that cannot be an id or a class."""
    for word in dict.fromkeys(words):
        fault = _find_fault(word)
        if fault:
            yield f"{file}: {word!a} {fault}"


def find_unfit_names(file: str, words: Iterable[str]) -> Iterable[str]:
    """Yield a line for each text that cannot be a speaker or a class, and for names that look alike."""
    words = list(words)
    yield from find_unfit_words(file, words)
    for group in names.find_alike(words):
        yield f"{file}: {group} look alike; spell each name in one way"


def find_unfit_values(file: str, values: Mapping[str, Any]) -> Iterable[str]:
    """Yield a line for each value that a file cannot hold: `read_table` would return another one."""
    for key, value in values.items():
        if str(value) != str(value).strip(_BLANKS) or "\n" in str(value) or not str(value):
            yield f"{file}: {str(value)!a} of {key} is empty, has a line break, or begins or ends with white space"


def check_words(words: Iterable[str], where: Path) -> None:
    """Check that ids and classes are single words in UTF-8.

    Raises:
        SoctkError: an id or a class is empty, contains white space or control characters, or is not UTF-8.
    """
    words = sorted(set(words))
    undecoded = [word for word in words if _UNDECODED.search(word)]
    if undecoded:
        raise SoctkError(
            f"these ids and classes are not UTF-8\n{listing(map(ascii, undecoded))}",
            remedy="Rename the files that contain them in their names, or correct the table.",
            where=where,
        )
    unfit = [f"{word!a}: {fault}" for word in words if (fault := _find_fault(word))]
    if unfit:
        raise SoctkError(
            f"these ids and classes are not one word\n{listing(unfit)}",
            remedy="White space separates the columns of a data directory: write '_' instead.",
            where=where,
        )


def _find_fault(word: str) -> str:
    """Return why a text cannot be an id or a class; empty if it can."""
    if word.isprintable() and word and " " not in word:
        return ""
    if not word:
        return "is empty"
    if _UNDECODED.search(word):
        return "is not UTF-8"
    for char in word:
        if not char.isprintable() and char not in _JOINERS and unicodedata.category(char) not in _UNKNOWN_CATEGORIES:
            return f"contains U+{ord(char):04X} ({unicodedata.name(char, 'a control character')})"
    return "contains a space" if " " in word else ""


def _show(key: str) -> str:
    return key if key.isprintable() else ascii(key)
