"""The speaker of a model with re-centring, from a folder with recordings of the speaker."""

from pathlib import Path

from soctk.errors import SoctkError
from soctk.inference import sources
from soctk.inference.recogniser import Recogniser, Speaker


def enrol(model: Recogniser, folder: str | None, where: Path) -> Speaker | None:
    """Return the speaker; None for a model without re-centring.

    Args:
        model: the model.
        folder: a folder with recordings of the speaker, or another input of soctk-predict (soctk.inference.sources).
        where: the folder of the model, for messages.

    Raises:
        SoctkError: the model has re-centring and there is no folder, or the other way round; or a recording cannot be
            used.
    """
    if not model.is_recentred:
        if folder is not None:
            raise SoctkError(
                "this model has no re-centring, so it has no use for recordings of the speaker",
                remedy="Leave out --enrol.",
                where=where,
            )
        return None
    if folder is None:
        raise SoctkError(
            "this model subtracts the mean descriptor of the speaker from each descriptor (re-centring), so it needs "
            "recordings of the speaker, without labels",
            remedy="Give a folder with some: --enrol DIR. All inputs must then be recordings of this speaker.",
            where=where,
        )
    paths = []
    for source in sources.expand([folder]):
        if isinstance(source, SoctkError):
            raise source
        paths.append(source.path)
    try:
        return model.enrol(paths)
    except SoctkError as error:
        raise SoctkError(
            f"this recording of the speaker cannot be used: {error.what}",
            remedy="Remove it from --enrol, or replace it.",
            where=error.where or next(path for path in paths if not _is_usable(model, path)),
        ) from error


def _is_usable(model: Recogniser, path: Path) -> bool:
    try:
        model.enrol([path])
    except SoctkError:
        return False
    return True
