"""Columns read from file names with a pattern such as `{speaker}_{emotion}_{n}.wav`.

`{name}` matches one or more characters up to the next literal text of the pattern; `{name:2}` matches two characters;
`{name:*}` matches any characters but `/`. A pattern with N slashes is matched against the file name and its N
parent folders. If a field occurs twice, its texts are joined with `-`, unless they are the same in all files.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Formatter
from typing import Any

from soctk.corpus import names, recordings
from soctk.corpus.importing.account import count_list
from soctk.corpus.importing.rows import Row
from soctk.errors import SoctkError, listing

EXAMPLE = "{speaker}_{emotion}_{n}.wav"
Part = tuple[str, str | None, str]  # the text before a field of a pattern, the field's name, and its width


def list_recordings(folder: Path, pattern: str | None, tell: Callable[[str], object]) -> list[dict[str, Any]]:
    """Return a row for each file with the extension of the pattern; it holds the path, relative to the folder.

    Args:
        folder: the folder.
        pattern: the pattern of the file names.
        tell: is called with a line about the files that have other extensions.

    Raises:
        SoctkError: the pattern is missing or has no extension, or no file has its extension.
    """
    if pattern is None:
        raise SoctkError(
            "this is a folder of recordings, but nothing describes their file names",
            remedy=f"Describe the file names with --pattern '{EXAMPLE}', or give a table of labels.",
            where=folder,
        )
    suffix = Path(pattern).suffix.lower()
    if not suffix or "{" in suffix or "}" in suffix:
        raise SoctkError(
            f"{pattern} does not end in the extension of the recordings",
            remedy=f"Write it like {EXAMPLE}.",
            where="--pattern",
        )
    files = list(recordings.list_files(folder))
    found = Counter(path.suffix.lower() for path in files)
    if not found[suffix]:
        extensions = f"; the extensions are {count_list(found.most_common())}" if found else ""
        raise SoctkError(
            f"no file name in this folder ends in '{suffix}'{extensions}",
            remedy="Check the path, and the extension in --pattern.",
            where=folder,
        )
    others = [(extension or "no extension", count) for extension, count in found.most_common() if extension != suffix]
    if others:
        tell(f"Note: {folder}: files that do not end in {suffix} are not read: {count_list(others)}")
    return [{"path": str(path.relative_to(folder))} for path in files if path.suffix.lower() == suffix]


def parse_names(paths: Sequence[str], pattern: str, source: Path) -> list[Row]:
    """Match each path with the pattern; return its fields, name -> text.

    Raises:
        SoctkError: the pattern is invalid, paths do not match it, or a field that occurs twice has the same text in
            most, but not all paths.
    """
    expression, fields = compile_pattern(pattern)
    depth = pattern.count("/") + 1
    matches = [expression.fullmatch(names.to_nfc("/".join(Path(path).parts[-depth:]))) for path in paths]
    unmatched = [path for path, match in zip(paths, matches, strict=True) if not match]
    if unmatched:
        raise SoctkError(
            f"{len(unmatched)} of {len(paths)} file names do not match {pattern}\n{listing(unmatched)}",
            remedy="Correct --pattern, or move these files out of the folder.",
            where=source,
        )
    texts = [match.groups() for match in matches if match]
    places = {field: [i for i, name in enumerate(fields) if name == field] for field in dict.fromkeys(fields)}
    for field, indices in places.items():
        different = [i for i, row in enumerate(texts) if len({row[index] for index in indices}) > 1]
        if 0 < len(different) < len(texts) / 2:
            raise SoctkError(
                f"{{{field}}} occurs twice in {pattern}, and {len(different)} of {len(paths)} file names have two "
                f"different texts there\n{listing(paths[i] for i in different)}",
                remedy="Rename these files or move them out of the folder. If the two texts make one name together, "
                f"give them different field names, and join these: --column {field}=ONE --column {field}=OTHER.",
                where=source,
            )
        if not different:
            places[field] = indices[:1]
    return [{field: "-".join(row[i] for i in indices) for field, indices in places.items()} for row in texts]


def compile_pattern(pattern: str) -> tuple[re.Pattern[str], list[str]]:
    """Return the regular expression of a pattern, and the field of each of its groups.

    A field without a width matches no character that directly follows a field in the pattern.

    Raises:
        SoctkError: the pattern is invalid, or it does not say where one field ends and the next one begins.
    """
    try:
        parts = [(literal, field, width or "") for literal, field, width, _ in Formatter().parse(names.to_nfc(pattern))]
        if not all(field is None or _is_field(field, width) for _, field, width in parts):
            raise ValueError("a field is {NAME}, {NAME:WIDTH} with at most three digits, or {NAME:*}")
    except ValueError as error:
        raise SoctkError(
            f"{pattern} is not a valid pattern ({error})", remedy=f"Write it like {EXAMPLE}.", where="--pattern"
        ) from error
    _check_boundaries(parts, pattern)
    ends = re.escape("".join(literal[:1] for literal, _, _ in parts[1:]))
    characters = {"": f"[^/{ends}]+", "*": "[^/]+"}
    expression = "".join(
        re.escape(literal) + ("" if field is None else f"({characters.get(width, f'.{{{width}}}')})")
        for literal, field, width in parts
    )
    return re.compile(expression, flags=re.IGNORECASE), [field for _, field, _ in parts if field is not None]


def _check_boundaries(parts: Sequence[Part], pattern: str) -> None:
    """Refuse fields that can be divided in several ways: they would give speakers that do not exist."""
    open_field = any_text = (
        None  # the last field without a width in this run of fields; the last {NAME:*} in this folder
    )
    for literal, field, width in parts:
        open_field = None if literal else open_field
        any_text = None if "/" in literal else any_text
        if field is None or width.isdigit():
            continue
        other: str | None = open_field or (any_text if width == "*" else None)
        if other:
            raise SoctkError(
                f"{pattern} does not say where {{{other}}} ends and {{{field}}} begins",
                remedy="Give the number of characters of one of them, such as "
                f"{{{other}:2}}, or write the text between them.",
                where="--pattern",
            )
        open_field, any_text = field, field if width == "*" else any_text


def _is_field(name: str, width: str) -> bool:
    return name.isidentifier() and re.fullmatch(r"[0-9]{0,3}|\*", width) is not None
