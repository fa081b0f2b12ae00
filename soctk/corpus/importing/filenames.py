"""Columns read from file names with a pattern such as `{speaker}_{emotion}_{n}.wav`.

`{name}` matches one or more characters up to the next literal text of the pattern; `{name:2}` matches two characters;
`{name:*}` matches any characters but `/`. A pattern with N slashes is matched against the file name and its N
parent folders. A field that occurs twice must have the same text in both places.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from string import Formatter
from typing import Any

from soctk.corpus import recordings
from soctk.corpus.importing.rows import Row
from soctk.errors import SoctkError, listing

EXAMPLE = "{speaker}_{emotion}_{n}.wav"


def list_recordings(folder: Path, pattern: str | None) -> list[dict[str, Any]]:
    """Return a row for each file with the extension of the pattern; it holds the path, relative to the folder.

    Raises:
        SoctkError: the pattern is missing, or no file has its extension.
    """
    if pattern is None:
        raise SoctkError(
            "this is a folder of recordings, but nothing describes their file names",
            remedy=f"Describe the file names with --pattern '{EXAMPLE}', or give a table of labels.",
            where=folder,
        )
    suffix = Path(pattern).suffix.lower()
    files = [path for path in recordings.list_files(folder) if path.suffix.lower() == suffix]
    if not files:
        raise SoctkError(
            f"no file name in this folder ends in '{suffix}'",
            remedy="Check the path, and the extension in --pattern.",
            where=folder,
        )
    return [{"path": str(path.relative_to(folder))} for path in files]


def parse_names(paths: Sequence[str], pattern: str, source: Path) -> list[Row]:
    """Match each path with the pattern; return its fields, name -> text.

    Raises:
        SoctkError: the pattern is invalid, or paths do not match it.
    """
    expression = compile_pattern(pattern)
    depth = pattern.count("/") + 1
    rows, unmatched = [], []
    for path in paths:
        match = expression.fullmatch("/".join(Path(path).parts[-depth:]))
        if match:
            rows.append(match.groupdict())
        else:
            unmatched.append(path)
    if unmatched:
        raise SoctkError(
            f"{len(unmatched)} of {len(paths)} file names do not match {pattern}\n{listing(unmatched)}",
            remedy="Correct --pattern, or move these files out of the folder.",
            where=source,
        )
    return rows


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern.

    A field without a width matches no character that directly follows a field in the pattern.

    Raises:
        SoctkError: the pattern is invalid.
    """
    try:
        parts = [(literal, field, width or "") for literal, field, width, _ in Formatter().parse(pattern)]
        if not all(field is None or _is_field(field, width) for _, field, width in parts):
            raise ValueError("a field is {NAME}, {NAME:WIDTH} with at most three digits, or {NAME:*}")
    except ValueError as error:
        raise SoctkError(
            f"{pattern} is not a valid pattern ({error})", remedy=f"Write it like {EXAMPLE}.", where="--pattern"
        ) from error
    ends = re.escape("".join(literal[:1] for literal, _, _ in parts[1:]))
    characters = {"": f"[^/{ends}]+", "*": "[^/]+"}
    expression, seen = "", set()
    for literal, field, width in parts:
        expression += re.escape(literal)
        if field in seen:
            expression += f"(?P={field})"
        elif field is not None:
            expression += f"(?P<{field}>{characters.get(width, f'.{{{width}}}')})"
            seen.add(field)
    return re.compile(expression, flags=re.IGNORECASE)


def _is_field(name: str, width: str) -> bool:
    return name.isidentifier() and re.fullmatch(r"[0-9]{0,3}|\*", width) is not None
