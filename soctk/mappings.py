"""Nested mappings of settings: functions that read them from YAML and JSON files and compare them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from soctk.errors import SoctkError

# Aliases in YAML can expand a file of 1 kB to 10^9 values. Deep nesting and long numbers exceed Python's limits.
_MAX_REPEATED = 100_000
_MAX_DEPTH = 50
_MAX_NUMBER = 100
_YAML_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def read_yaml(path: Path, as_text: bool = False) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; an empty file gives an empty mapping.

    Args:
        path: the file.
        as_text: whether keys and values stay as they are written, so that `03`, `no` and `1.0` are texts, and not the
            number 3, False and 1.0. Then only the values null, ~ and nothing are not text, but None.

    Raises:
        SoctkError: the file is missing, is not YAML or not a mapping, has a key twice, or exceeds the limits of
            `parse_yaml`.
    """
    try:
        content = parse_yaml(_read_text(path), as_text)
    except ValueError as error:
        raise SoctkError(f"not valid YAML: {error}", remedy="Correct the file.", where=path) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SoctkError("not a YAML mapping", remedy="Write 'key: value' lines.", where=path)
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        SoctkError: the file is missing, is not JSON in UTF-8, or not an object.
    """
    try:
        content = parse_json(_read_text(path))
    except ValueError as error:
        raise SoctkError(f"not valid JSON: {error}", remedy="Correct the file.", where=path) from error
    if not isinstance(content, dict):
        raise SoctkError("not a JSON object", remedy="Correct the file.", where=path)
    return content


def parse_yaml(text: str, as_text: bool = False) -> Any:
    """Return the value of a YAML document; see `read_yaml` for `as_text`. Tags of Python objects are refused.

    Raises:
        ValueError: not YAML; a key is given twice; aliases expand to more than 100,000 values, or refer to a value that
            contains them; more than 50 levels; a number of more than 100 characters.
    """
    try:
        return (_TextLoader if as_text else _Loader)(text).get_single_data()
    except (yaml.YAMLError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        # PyYAML raises the last four for values that do not fit their tag, such as !!int ""
        raise ValueError(str(error)) from error


def parse_json(text: str) -> Any:
    """Return the value of a JSON document; NaN and Infinity are numbers.

    Raises:
        ValueError: not JSON, a name is given twice in an object, nested too deeply, or strings that are not Unicode.
    """
    try:
        value = json.loads(text, object_pairs_hook=_make_object)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if "\\ud" in text.lower():  # a surrogate: valid in pairs, but half a pair cannot be printed or written
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def differences(
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    names: tuple[str, str] = ("stored", "requested"),
    prefix: str = "",
) -> list[str]:
    """Compare two nested mappings; return one line for each key whose values differ.

    Args:
        first: a mapping.
        second: another mapping.
        names: the words after a value of `first` and after one of `second`: "layers: [3] stored, [4] requested".
        prefix: the text before each key, for mappings inside other mappings, such as "frames.".
    """
    lines = []
    for key in sorted(first.keys() | second.keys(), key=str):
        one, other = first.get(key), second.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            lines += differences(one, other, names, f"{prefix}{key}.")
        elif one != other:
            lines.append(f"{prefix}{key}: {one} {names[0]}, {other} {names[1]}")
    return lines


def _read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, with or without a byte-order mark.

    Raises:
        SoctkError: the file cannot be read.
        ValueError: it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SoctkError(f"the file cannot be read ({error.strerror})", remedy="Check the path.", where=path) from error


def _make_object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; refuse a name that is given twice, of which json would take the last value."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{repeated!r} is given twice")
    return content


class _Loader(yaml.SafeLoader):
    """Refuses keys that are given twice, of which PyYAML would take the last, and documents that exceed the limits."""

    def __init__(self, stream: str):
        super().__init__(stream)
        self._sizes: dict[yaml.Node | None, int] = {}  # values in each complete node, aliases expanded
        self._count = self._repeated = self._depth = 0

    def compose_node(self, parent, index):
        start = self.peek_event()
        if isinstance(start, yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if node not in self._sizes:
                raise _problem(f"the alias *{start.anchor} is part of the value to which it refers", start.start_mark)
            self._count += self._sizes[node]
            self._repeated += self._sizes[node]
            if self._repeated > _MAX_REPEATED:
                raise _problem(f"the aliases expand to more than {_MAX_REPEATED} values", start.start_mark)
            return node
        if self._depth == _MAX_DEPTH:
            raise _problem(f"more than {_MAX_DEPTH} levels", start.start_mark)
        before = self._count
        self._count += 1
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        self._sizes[node] = self._count - before
        return node

    def construct_scalar(self, node):
        if node.tag in _YAML_NUMBERS and len(node.value) > _MAX_NUMBER:
            raise _problem(f"a number of more than {_MAX_NUMBER} characters", node.start_mark)
        return super().construct_scalar(node)

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            is_merge = key.tag == "tag:yaml.org,2002:merge"
            value = key if is_merge else self.construct_object(key)  # 1 and 1.0 are the same key of a dict
            if value in seen:
                raise _problem(f"'{key.value}' is given twice", key.start_mark)
            seen.add(value)
        return super().construct_mapping(node, deep)


class _TextLoader(_Loader):
    """Leaves keys and values as they are written, except values that are null."""

    def construct_mapping(self, node, deep=False):
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


_TextLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _problem(text: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=mark)
