"""The disk space that the features of a corpus need."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from soctk import progress
from soctk.errors import SoctkError


def check(path: Path, settings: Mapping[str, Any], durations: Sequence[float]) -> None:
    """Print the disk space that the features of utterances need; raise a SoctkError if the disk has less.

    Args:
        path: the directory of the store.
        settings: its settings; without `frame_shift_ms`, an utterance has one frame.
        durations: the durations of the utterances, in s.
    """
    if not durations:
        return
    seconds = sum(durations)
    numbers = len(settings["layers"]) * settings["hidden_size"]
    frames = seconds * 1000 / settings["frame_shift_ms"] if "frame_shift_ms" in settings else len(durations)
    size = frames * numbers * np.dtype(settings["dtype"]).itemsize
    layers = ", ".join(map(str, settings["layers"]))
    needs = (
        f"{seconds / 3600:.2f} h of audio, frames of {settings['hidden_size']} values in {settings['dtype']}, "
        f"layers {layers}: {format_size(size)}"
    )
    progress.message(f"{path}: {needs}")
    free = shutil.disk_usage(path).free
    if size > free:
        raise SoctkError(
            f"not enough disk space: {needs}, but only {format_size(free)} are free",
            remedy="Free disk space, extract fewer hidden states (--layer), or use another disk.",
            where=path,
        )


def format_size(size: float) -> str:
    """Return a number of bytes with a unit, such as "46.1 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
