"""The encoder of a packed model: where it is found, and a check that it is the one that the model was trained with."""

import shutil
from pathlib import Path

from soctk.errors import SoctkError
from soctk.features import upstream
from soctk.features.upstream import Upstream, opensmile, own
from soctk.inference.bundle import ENCODER, Bundle, EncoderSettings

# The first word of the source of an encoder from a package -> the package, and the prefix of the encoder's name in
# soctk.features.upstream.load.
_PACKAGES = {"espnet-s3prl": ("s3prl", "s3prl:"), opensmile.PACKAGE: ("opensmile", "")}
_CHECKSUM = "sha256:"
_REVISION = "revision:"


def load_all(bundle: Bundle, folder: Path | None = None, device: str = "cpu") -> list[Upstream]:
    """Load all encoders of a model, one or several; see `load`.

    Raises:
        SoctkError: `load` raises it; or a folder is given for a model with several encoders.
    """
    count = len(bundle.settings.encoders)
    if folder is not None and count > 1:
        raise SoctkError(
            f"the model has {count} encoders, and a folder or class can only be given for a model of one encoder",
            remedy="Leave out --encoder. soctk-pack --with-encoder DIR, once for each encoder, includes them.",
            where=f"--encoder {folder}",
        )
    return [load(bundle, folder, device, number) for number in range(count)]


def load(bundle: Bundle, folder: Path | None = None, device: str = "cpu", number: int = 0) -> Upstream:
    """Load the encoder of a model: from `folder`, from the model's own folder, from a package, or from the hub.

    Args:
        bundle: the model.
        folder: the folder of the encoder, for a model that was trained with an encoder from a folder; MODULE:CLASS or
            FILE.py:CLASS for a model that was trained with an encoder of one's own (soctk.features.upstream.own).
        device: `cpu` or `cuda`.
        number: which encoder of several, from 0.

    Raises:
        SoctkError: the encoder is not available, or is another one than in training.
    """
    settings = bundle.settings.encoders[number]
    encoder = _load(bundle, settings, _find(bundle, settings, folder, number), device)
    if _identity(encoder.source) != _identity(settings.source):
        give = f"Give the folder of {settings.name} with exactly these files (--encoder DIR)."
        own_file = f"Give {settings.name} with exactly this source file, or weights with this checksum."
        include = "The hub has changed. Use a model that includes its encoder (soctk-pack --with-encoder)."
        raise SoctkError(
            f"this encoder is not the one that the model was trained with: it has {encoder.source}, "
            f"and the model needs {settings.source}",
            remedy=give if has_checksum(settings) else own_file if is_own(settings) else include,
            where=folder or bundle.path,
        )
    if any(encoder.hidden_sizes[layer : layer + 1] != [settings.hidden_size] for layer in settings.layers):
        layers = ", ".join(map(str, settings.layers))
        raise SoctkError(
            f"damaged ({settings.name} has not all of the hidden states {layers} with width {settings.hidden_size})",
            remedy="Copy the folder again, or pack the experiment again.",
            where=bundle.path,
        )
    return encoder


def include(source: Path, model: Path, number: int = 0) -> Path:
    """Copy the files of an encoder from the folder `source` into the folder of a model; return the copy.

    Args:
        source: the folder of the encoder.
        model: the folder of the model.
        number: which encoder of several, from 0.
    """
    destination = model / _folder_name(number)
    destination.mkdir()
    for file in sorted(source.iterdir()):
        if file.suffix in (".json", ".safetensors"):
            shutil.copyfile(file, destination / file.name)
    return destination


def package(settings: EncoderSettings) -> str:
    """Return the package of the encoder, `s3prl` or `opensmile`, which needs no folder; empty for other encoders."""
    return _PACKAGES.get(settings.source.partition(" ")[0], ("", ""))[0]


def has_checksum(settings: EncoderSettings) -> bool:
    """Return whether the encoder is from a folder, and so identified by the checksum of its files."""
    return settings.source.startswith(_CHECKSUM)


def not_included(bundle: Bundle) -> list[EncoderSettings]:
    """Return the encoders from folders that the folder of the model does not include."""
    return [
        settings
        for number, settings in enumerate(bundle.settings.encoders)
        if has_checksum(settings) and not (bundle.path and (bundle.path / _folder_name(number)).is_dir())
    ]


def is_own(settings: EncoderSettings) -> bool:
    """Return whether the encoder is a class of the user (soctk.features.upstream.own)."""
    return settings.source.startswith(own.SOURCE)


def _folder_name(number: int) -> str:
    return f"{ENCODER}{number + 1}" if number else ENCODER


def _find(bundle: Bundle, settings: EncoderSettings, folder: Path | None, number: int) -> str:
    """Return the name under which soctk.features.upstream.load finds an encoder."""
    if is_own(settings):
        if folder is None or not own.is_own(str(folder)):
            raise SoctkError(
                f"the model needs the encoder {settings.name}, which is a Python class; soctk runs such code only if "
                "you name it",
                remedy=f"Name it: --encoder {settings.name} or --encoder FILE.py:CLASS. Its checksum is compared.",
                where=bundle.path,
            )
        return str(folder)
    if folder is not None:
        if not has_checksum(settings):
            raise SoctkError(
                f"the encoder of this model is {settings.hub or _identity(settings.source)}, which is not read from a "
                "folder",
                remedy="Leave out --encoder.",
                where=f"--encoder {folder}",
            )
        if not folder.is_dir():
            raise SoctkError("no such directory", remedy="Check the path.", where=f"--encoder {folder}")
        return str(folder.absolute())
    if bundle.path is not None and (bundle.path / _folder_name(number)).is_dir():
        return str((bundle.path / _folder_name(number)).absolute())
    if package(settings):
        return f"{_PACKAGES[settings.source.partition(' ')[0]][1]}{_identity(settings.source)}"
    if settings.hub:
        return settings.hub
    raise SoctkError(
        f"the model needs the encoder {settings.name} ({settings.source}), which is not in its folder",
        remedy="Give the folder of the encoder (--encoder DIR), or pack the model with its encoder "
        "(soctk-pack --with-encoder).",
        where=bundle.path,
    )


def _load(bundle: Bundle, settings: EncoderSettings, name: str, device: str) -> Upstream:
    if own.is_own(name) and not is_own(settings):
        raise SoctkError(
            f"damaged (the model names {name}, a Python class; soctk runs such code only if you name it)",
            remedy="Do not use this model.",
            where=bundle.path,
        )
    revision = settings.source.removeprefix(_REVISION) if name == settings.hub else None
    try:
        return upstream.load(name, device, settings.precision, revision)
    except SoctkError as error:
        if revision is not None:
            raise SoctkError(
                f"its encoder, {name} of the Hugging Face hub in {settings.source}: {error.what}",
                remedy="The first use of this encoder needs a network connection. A model that includes its encoder "
                "(soctk-pack --with-encoder) needs none.",
                where=bundle.path,
            ) from error
        if str(error.where).startswith("--upstream"):  # an option of other commands
            raise SoctkError(error.what, error.remedy, where=f"the encoder {name}") from error
        raise


def _identity(source: str) -> str:
    """Return what identifies the weights: for an encoder from a package, its name without the package's version."""
    return source.partition(": ")[2] if source.partition(" ")[0] in _PACKAGES else source
