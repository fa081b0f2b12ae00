"""The speaker of a model with re-centring, from a folder with recordings of the speaker."""

from pathlib import Path

from soctk.corpus.segments import Clip
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
    clips = []
    for source in sources.expand([folder]):
        if isinstance(source, SoctkError):
            raise source
        clips.append(source.clip)
    try:
        return model.enrol(clips)
    except SoctkError as error:
        raise SoctkError(
            f"this recording of the speaker cannot be used: {error.what}",
            remedy="Remove it from --enrol, or replace it.",
            where=error.where or next(clip.path for clip in clips if not _is_usable(model, clip)),
        ) from error


def _is_usable(model: Recogniser, clip: Clip) -> bool:
    try:
        model.enrol([clip])
    except SoctkError:
        return False
    return True
