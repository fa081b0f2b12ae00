"""Nested mappings of settings: functions that read them from YAML files and compare them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from soctk.errors import SoctkError


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; an empty file gives an empty mapping.

    Raises:
        SoctkError: the file is missing, is not YAML or not a mapping, or has a key twice.
    """
    try:
        content = _Loader(path.read_text(encoding="utf-8")).get_single_data()
    except OSError as error:
        raise SoctkError(f"the file cannot be read ({error.strerror})", remedy="Check the path.", where=path) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or an impossible date
        raise SoctkError(f"not valid YAML: {error}", remedy="Correct the file.", where=path) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SoctkError("not a YAML mapping", remedy="Write 'key: value' lines.", where=path)
    return content


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
    for key in sorted(first.keys() | second.keys()):
        one, other = first.get(key), second.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            lines += differences(one, other, names, f"{prefix}{key}.")
        elif one != other:
            lines.append(f"{prefix}{key}: {one} {names[0]}, {other} {names[1]}")
    return lines


class _Loader(yaml.SafeLoader):
    """Refuses a mapping with the same key twice; PyYAML would silently take the last value."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if (key.tag, key.value) in seen:
                raise yaml.MarkedYAMLError(problem=f"'{key.value}' is given twice", problem_mark=key.start_mark)
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)
