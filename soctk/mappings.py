"""Settings as mappings: read from YAML files, and compared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from soctk.errors import SoctkError


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; an empty file is an empty mapping.

    Raises:
        SoctkError: the file is missing, not YAML, or not a mapping, or a key stands there twice.
    """
    try:
        content = _Loader(path.read_text(encoding="utf-8")).get_single_data()
    except OSError as error:
        raise SoctkError(f"cannot be read ({error.strerror})", remedy="Check the path.", where=path) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or no such day
        raise SoctkError(f"not YAML: {error}", remedy="Mend the file.", where=path) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SoctkError("not a mapping", remedy="Write it as 'key: value' lines.", where=path)
    return content


def differences(there: Mapping[str, Any], asked: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return a line for each key, dotted, whose value differs between two nested mappings."""
    lines = []
    for key in sorted(there.keys() | asked.keys()):
        old, new = there.get(key), asked.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key}: {old} there, {new} asked for")
    return lines


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping; PyYAML takes the last."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if (key.tag, key.value) in seen:
                raise yaml.MarkedYAMLError(problem=f"'{key.value}' stands there twice", problem_mark=key.start_mark)
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)
