"""The trained encoder of a finished run: encoder.safetensors, and a checkpoint folder that contains it."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from soctk.errors import SoctkError
from soctk.features.extract import Extraction
from soctk.features.upstream.checkpoints import load_checkpoint
from soctk.finetuning.encoder import write_changed
from soctk.scoring.runs import RunDirectory

NAME = "encoder.safetensors"


def write(directory: Path, changed: Mapping[str, torch.Tensor]) -> None:
    """Write the tensors that differ from the checkpoint, by their names in the encoder."""
    tensors = {name: tensor.contiguous() for name, tensor in changed.items()}
    (directory / NAME).write_bytes(save(tensors))


def folder(extraction: Extraction) -> Path | None:
    """Return the folder of the checkpoint; None for a hub id."""
    path = Path(source(extraction))
    return path if path.is_dir() else None


def source(extraction: Extraction) -> str:
    """Return the folder or the hub id of the checkpoint."""
    return extraction.known.source if extraction.known else extraction.upstream


def write_checkpoint(run: RunDirectory, name: str, revision: str | None, folder: Path) -> None:
    """Write the fine-tuned encoder of a run as a checkpoint that transformers loads, in float32.

    Args:
        run: the run.
        name: the folder or hub id of the pre-trained checkpoint.
        revision: the commit of a hub id.
        folder: the folder to write to; it exists.

    Raises:
        SoctkError: encoder.safetensors is missing or damaged, or the checkpoint is not available.
    """
    path = run.path / NAME
    try:
        changed = load(path.read_bytes())
        extractor, model = load_checkpoint(name, revision)
        write_changed(model.get_encoder() if model.config.is_encoder_decoder else model, changed)
    except (OSError, SafetensorError, ValueError) as error:
        raise SoctkError(
            f"missing or damaged ({error})", remedy="Remove the run's directory and train it again.", where=path
        ) from error
    model.config.dtype = torch.float32
    model.float().save_pretrained(folder)
    extractor.save_pretrained(folder)
