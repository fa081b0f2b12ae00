"""What an interrupted run continues from: one safetensors file, replaced after each epoch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from soctk import progress
from soctk.files import atomic

NAME = "checkpoint.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after an epoch.

    Attributes:
        state: the tensors of the model (TunedModel.state).
        best: those of the best epoch.
        moments: the state of AdamW: `NAME/exp_avg`, `NAME/exp_avg_sq` and `NAME/step` for each trained parameter NAME.
        records: the records of all epochs so far.
    """

    state: Mapping[str, torch.Tensor]
    best: Mapping[str, torch.Tensor]
    moments: Mapping[str, torch.Tensor]
    records: list[dict[str, Any]]


def write(directory: Path, checkpoint: Checkpoint, settings: Mapping[str, Any]) -> None:
    """Write the checkpoint of a run with these settings."""
    groups = {"state": checkpoint.state, "best": checkpoint.best, "moments": checkpoint.moments}
    tensors = {f"{group}/{name}": tensor.contiguous() for group, own in groups.items() for name, tensor in own.items()}
    with atomic(directory / NAME) as temporary:
        save_file(tensors, temporary, {"records": json.dumps(checkpoint.records), "settings": _digest(settings)})


def read(directory: Path, settings: Mapping[str, Any]) -> Checkpoint | None:
    """Read the checkpoint of a run with these settings.

    Returns:
        None if there is none, or if it is damaged or of a run with other settings or versions; a message says so.
    """
    path = directory / NAME
    if not path.is_file():
        return None
    groups: dict[str, dict[str, torch.Tensor]] = {"state": {}, "best": {}, "moments": {}}
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            if metadata["settings"] != _digest(settings):
                progress.message(f"{directory}: the interrupted run had other settings or versions; it starts again")
                return None
            for key in file.keys():  # noqa: SIM118, it is no mapping
                group, _, name = key.partition("/")
                groups[group][name] = file.get_tensor(key)
            records = json.loads(metadata["records"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        progress.message(f"{directory}: the checkpoint is damaged ({error}); the run starts again")
        return None
    return Checkpoint(groups["state"], groups["best"], groups["moments"], records)


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
