"""The encoder of a packed model: where it is found, and a check that it is the one that the model was trained with."""

import shutil
from pathlib import Path

from soctk.errors import SoctkError
from soctk.features import upstream
from soctk.features.upstream import Upstream
from soctk.inference.bundle import ENCODER, Bundle, EncoderSettings

_S3PRL = "espnet-s3prl"


def load(bundle: Bundle, folder: Path | None = None, device: str = "cpu") -> Upstream:
    """Load the encoder of a model: from `folder`, from the model's own folder, from s3prl, or from the hub.

    Args:
        bundle: the model.
        folder: the folder of the encoder, for a model that was trained with an encoder from a folder.
        device: `cpu` or `cuda`.

    Raises:
        SoctkError: the encoder is not available, or is another one than in training.
    """
    settings = bundle.settings.encoder
    encoder = upstream.load(_find(bundle, folder), device, settings.precision)
    if _identity(encoder.source) != _identity(settings.source):
        raise SoctkError(
            f"this encoder is not the one that the model was trained with: it has {encoder.source}, "
            f"and the model needs {settings.source}",
            remedy=f"Give the folder of {settings.name} with exactly these weights (--encoder DIR).",
            where=folder or bundle.path,
        )
    return encoder


def include(source: Path, model: Path) -> None:
    """Copy the files of an encoder from the folder `source` into the folder of a model."""
    destination = model / ENCODER
    destination.mkdir()
    for file in sorted(source.iterdir()):
        if file.suffix in (".json", ".safetensors"):
            shutil.copyfile(file, destination / file.name)


def is_spectral(settings: EncoderSettings) -> bool:
    """Return whether the encoder is one of s3prl, which needs no file unless it has weights."""
    return settings.source.startswith(_S3PRL)


def _find(bundle: Bundle, folder: Path | None) -> str:
    """Return the name under which soctk.features.upstream.load finds the encoder."""
    settings = bundle.settings.encoder
    if folder is not None:
        return str(folder.absolute())
    if bundle.path is not None and (bundle.path / ENCODER).is_dir():
        return str((bundle.path / ENCODER).absolute())
    if is_spectral(settings):
        return f"s3prl:{_identity(settings.source)}"
    if settings.hub:
        return settings.hub
    raise SoctkError(
        f"the model needs the encoder {settings.name} ({settings.source}), which is not in its folder",
        remedy="Give the folder of the encoder (--encoder DIR), or pack the model with its encoder "
        "(soctk-pack --with-encoder).",
        where=bundle.path,
    )


def _identity(source: str) -> str:
    """Return what identifies the weights: for s3prl the name without the version of the package."""
    return source.partition(": ")[2] if source.startswith(_S3PRL) else source
