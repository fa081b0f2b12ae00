"""The exception for errors that a user can correct: it says what is wrong, where, and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches
from os import PathLike

# Persian and Indic words contain these characters.
_JOINERS = "\u200c\u200d"


class SoctkError(Exception):
    """An error that a user can correct. The commands print it as one message and exit with status 1.

    Args:
        what: what is wrong.
        remedy: what to do about it.
        where: the file, directory or option at fault.
    """

    def __init__(self, what: str, remedy: str, where: str | PathLike | None = None):
        super().__init__(what, remedy, where)  # all arguments, so that pickle restores the error from a worker process
        self.what, self.remedy, self.where = what, remedy, where

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where is not None else ""
        return f"{place}{self.what}\n{self.remedy}"


def unknown_name(
    kind: str, name: str, known: Iterable[str], *, where: str | PathLike | None = None, also: str = ""
) -> SoctkError:
    """Return the error for an unknown name. Its remedy suggests the most similar known name and lists all of them.

    Args:
        kind: the kind of thing that has the name, such as "pooling".
        name: the unknown name.
        known: the valid names.
        where: the file or option in which the name was given.
        also: a sentence about other values that are valid.
    """
    known = sorted(known)
    nearest = get_close_matches(name, known, n=1)
    hint = (f"Did you mean '{nearest[0]}'? " if nearest else "") + (f"{also} " if also else "")
    return SoctkError(f"unknown {kind} '{name}'", remedy=f"{hint}Known: {', '.join(known) or 'none'}.", where=where)


def missing_package(package: str, extra: str, use: str, where: str | PathLike | None = None) -> SoctkError:
    """Return the error for an optional package that is not installed, with the command that installs it.

    Args:
        package: the name of the package.
        extra: the extra of soctk that contains it (setup.cfg).
        use: what needs the package, such as "the page".
        where: the file or option that asks for it.
    """
    return SoctkError(f"{use} needs the package {package}, which is not installed", install(extra), where)


def install(extra: str) -> str:
    """Return the sentence that says how to install an extra of soctk, or how to renew its packages."""
    return f"Install the extra {extra}: pip install -U 'soctk[{extra}]', or in a checkout bin/setup {extra}."


def listing(problems: Iterable[str], at_most: int | None = 20) -> str:
    """Return the problems, one per line; after `at_most` problems, a last line gives the number of the others."""
    problems = list(problems)
    lines = [f"  {problem}" for problem in problems[:at_most]]
    if len(problems) > len(lines):
        lines.append(f"  ... and {len(problems) - len(lines)} more")
    return "\n".join(lines)


def plural(count: int, one: str, many: str | None = None) -> str:
    """Return "1 row" or "2 rows"; with a verb, "1 row has" or "2 rows have".

    Args:
        count: the number.
        one: the words after 1.
        many: the words after another number; by default `one` with -s.
    """
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def printable(text: str) -> str:
    """Return text in one line, with escapes such as \\n for line breaks, control codes and bytes that are not UTF-8."""
    return "".join(
        char if char.isprintable() or char in _JOINERS else char.encode("unicode_escape").decode() for char in text
    )
