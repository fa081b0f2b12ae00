"""The settings of a feature store: store.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from soctk.errors import SoctkError
from soctk.files import atomic
from soctk.mappings import read_json
from soctk.schema import Augmentation, Normalisation

NAME = "store.json"
CONTENT = "content"
# The setting `source` of features that another program has made (soctk.features.imported), of unknown encoder.
IMPORTED = "imported"
# Whether the values of a frame have different units (soctk.features.upstream.Upstream).
HAS_UNITS = "has_units"

# Settings that are recorded, but do not determine the frames: the release or checksum of the encoder (`source`) does.
# `content`, the checksum of imported features, differs between corpora whose features have the same settings.
_ONLY_RECORDED = ("hub", "versions", CONTENT)

# The format of store.json, the index and the shards. Format 1 had no checksums of frames.
_FORMAT = 2


class _Settings(BaseModel):
    """The content of store.json on which reading frames depends; other settings are only recorded and compared."""

    model_config = ConfigDict(strict=True)

    format: int = 1
    layers: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    hidden_size: Annotated[int, Field(ge=1)]
    dtype: Literal["float16", "float32"]
    speeds: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = []
    augmentations: list[Augmentation] = []
    normalise: Normalisation = "none"
    has_units: bool = False
    upstream: str


def write(store: Path, settings: Mapping[str, Any]) -> None:
    """Write store.json into the directory `store`."""
    with atomic(store / NAME) as temporary:
        temporary.write_text(json.dumps({"format": _FORMAT, **settings}, indent=2) + "\n", encoding="utf-8")


def compared(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that determine the frames."""
    return {key: value for key, value in settings.items() if key not in _ONLY_RECORDED}


def count_states(settings: Mapping[str, Any]) -> int:
    """Return the count of the hidden states of the encoder, those that are not stored included."""
    return max(settings.get("num_layers", 0), 1 + max(settings["layers"]))


def read(store: Path) -> dict[str, Any]:
    """Return the settings, without the format.

    Raises:
        SoctkError: the file is damaged, or was written by another version of soctk.
    """
    remedy = "Remove the directory and extract again (stage 1)."
    try:
        settings = read_json(store / NAME)
        known = _Settings.model_validate(settings)
    except (SoctkError, ValidationError) as error:
        reason = error.what if isinstance(error, SoctkError) else ".".join(map(str, error.errors()[0]["loc"]))
        raise SoctkError(f"damaged ({reason})", remedy=remedy, where=store / NAME) from error
    if known.format != _FORMAT:
        age = "an earlier" if known.format < _FORMAT else "a later"
        raise SoctkError(f"the store was written by {age} version of soctk", remedy=remedy, where=store)
    return {key: value for key, value in settings.items() if key != "format"}
