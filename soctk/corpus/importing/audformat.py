"""The speakers listed in db.yaml, the header of an audformat database (https://audeering.github.io/audformat)."""

from pathlib import Path
from typing import Any

from soctk.errors import SoctkError
from soctk.mappings import read_yaml


def is_header(path: Path) -> bool:
    """Return whether a path ends in .yaml, like the header of an audformat database."""
    return path.suffix.lower() == ".yaml"


def read_speakers(path: Path) -> list[dict[str, Any]]:
    """Return a row for each speaker, from the entries below `schemes: speaker: labels`.

    Raises:
        SoctkError: the file is not YAML, or has no such entries.
    """
    speakers: Any = read_yaml(path, as_text=True)
    for name in ("schemes", "speaker", "labels"):
        speakers = speakers.get(name) if isinstance(speakers, dict) else None
    if not isinstance(speakers, dict) or not all(isinstance(fields, dict | None) for fields in speakers.values()):
        raise SoctkError(
            "not the header of an audformat database that describes speakers (schemes: speaker: labels)",
            remedy="Leave this file out, and give the speakers and their sex in a table.",
            where=path,
        )
    return [
        {"speaker": speaker, **{str(name): value for name, value in (fields or {}).items()}}
        for speaker, fields in speakers.items()
    ]
