"""The settings that the runs of an experiment recorded in their config.yaml."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, StrictStr, ValidationError

from soctk.errors import SoctkError, listing, printable
from soctk.features.settings import count_states
from soctk.mappings import differences, read_yaml
from soctk.schema import OF_ONE_RUN
from soctk.scoring.runs import RunDirectory

Value = TypeVar("Value")


class _Schema(BaseModel):
    """The types of the settings that reports read; each may be missing. soctk.schema documents the settings."""

    class _Features(BaseModel, strict=True):
        upstream: str = ""
        layers: list[int] = []
        num_layers: int = 0
        speeds: list[float] = []
        augmentations: list[str] = []
        normalise: str = "none"

    class _Frames(BaseModel, strict=True):
        layers: Literal["all", "last", "auto"] | list[int] = "all"
        speeds: Literal["all"] | list[float] = "all"
        augment: Literal["all"] | list[str] = "all"

    class _Head(BaseModel, strict=True):
        name: str = ""

    class _Recentre(BaseModel, strict=True):
        by: str = ""

    class _Nested(BaseModel, strict=True):
        points: list[str] = []
        chosen: dict[str, str] = {}

    class _FineTune(BaseModel, strict=True):
        tune: str = ""

    protocol: str = ""
    nested: _Nested = _Nested()
    features: _Features = _Features()
    frames: _Frames = _Frames()
    pooling: dict[str, Any] = {}
    pooling_choice: Literal["all", "auto"] = "all"
    recentre: _Recentre = _Recentre()
    speaker_overlap: dict[str, str] = {}
    head: _Head = _Head()
    finetune: _FineTune | None = None
    made_with: dict[str, Any] = {}
    made_from: dict[str, StrictStr] = {}


@dataclass(frozen=True)
class Recorded:
    """The content of the config.yaml files of one experiment.

    Attributes:
        settings: the settings that all runs share, without fold and seed; empty if no run has a config.yaml.
        made_with: the versions, commit and device of the runs; each distinct combination once, sorted.
        made_from: the paths of the data directory (`data`) and the feature store (`features`), if they were recorded.
    """

    settings: Mapping[str, Any]
    made_with: list[str]
    made_from: Mapping[str, Path]


def read(runs: Iterable[RunDirectory]) -> Recorded:
    """Read the config.yaml of each run of one experiment; runs without this file are skipped.

    Raises:
        SoctkError: a config.yaml is damaged, or two runs have different settings.
    """
    contents = {run: _read_config(run.config) for run in runs if run.config.exists()}
    settings = {
        run: {key: value for key, value in content.items() if key not in OF_ONE_RUN}
        for run, content in contents.items()
    }
    _check_agree(settings)
    made_with = {
        ", ".join(f"{name} {version}" for name, version in content["made_with"].items())
        for content in contents.values()
        if "made_with" in content
    }
    made_from = {
        name: (run.path / path).resolve()
        for run, content in contents.items()
        for name, path in content.get("made_from", {}).items()
    }
    return Recorded(next(iter(settings.values()), {}), sorted(made_with), made_from)


def by_name(values: Sequence[Value]) -> dict[str, Value]:
    """Return the values of the feature stores by their names in a config.yaml: features, features2, features3, ..."""
    return {f"features{number if number > 1 else ''}": value for number, value in enumerate(values, start=1)}


def encoders(settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the recorded settings of the feature store of each encoder."""
    names = ["features", *(f"features{number}" for number in range(2, 1 + len(settings)))]
    return [settings[name] for name in names if isinstance(settings.get(name), dict)]


def upstream_name(settings: Mapping[str, Any]) -> str:
    """Return the names of the encoders joined by ` + `; empty if they were not recorded."""
    return " + ".join(store.get("upstream", "") for store in encoders(settings))


def tuning(settings: Mapping[str, Any]) -> str:
    """Return the trained parameters of the encoder, such as `lora` or `top:2`; empty for a frozen encoder."""
    return (settings.get("finetune") or {}).get("tune", "")


def used_layers(settings: Mapping[str, Any]) -> list[int]:
    """Return the numbers of the hidden states that an experiment used; an empty list if they were not recorded.

    They are all in the store if each fold chose among them. Those of several encoders are numbered as in
    soctk.features.side_by_side.
    """
    layers = settings.get("frames", {"layers": "all"}).get("layers", [])
    if not isinstance(layers, str):
        return layers
    found, start = [], 0
    for store in encoders(settings):
        stored = store.get("layers", [])
        found += [start + layer for layer in (stored[-1:] if layers == "last" else stored)]
        start += count_states(store) if stored else 0
    return found


def pooling_name(settings: Mapping[str, Any]) -> str:
    """Return the names of the pooling layers joined by `+`, or `auto` if each fold chose; empty if not recorded."""
    if settings.get("pooling_choice") == "auto":
        return "auto"
    return "+".join(settings.get("pooling", {}))


def used_speeds(settings: Mapping[str, Any]) -> list[float]:
    """Return the speeds of the copies of recordings (soctk.features.copies) that an experiment used."""
    speeds = settings.get("frames", {}).get("speeds", [])
    return settings.get("features", {}).get("speeds", []) if speeds == "all" else speeds


def used_augmentations(settings: Mapping[str, Any]) -> list[str]:
    """Return the augmentations of copies for training (soctk.features.augmentation) that an experiment used."""
    augment = settings.get("frames", {"augment": []}).get("augment", "all")
    return settings.get("features", {}).get("augmentations", []) if augment == "all" else augment


def has_equal_level(settings: Mapping[str, Any]) -> bool:
    """Return whether all recordings of an experiment were scaled to one level (soctk.corpus.level)."""
    return settings.get("features", {}).get("normalise", "none") == "level"


def is_recentred(settings: Mapping[str, Any]) -> bool:
    """Return whether an experiment used unlabelled recordings of the test speakers to re-centre descriptors."""
    return settings.get("recentre", {}).get("by", "none") != "none"


def nested_choice(settings: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return point of a sweep -> the runs that chose it (soctk.training.nested); empty for other experiments.

    Points that no run chose have an empty list.
    """
    nested = settings.get("nested", {})
    runs: dict[str, list[str]] = {point: [] for point in nested.get("points", ())}
    for run, point in nested.get("chosen", {}).items():
        runs.setdefault(point, []).append(run)
    return runs


def speaker_overlap(settings: Mapping[str, Any], test: str) -> str:
    """Return why speakers of a test may be in the training data (soctk.corpus.independence); empty if they are not.

    Args:
        settings: the settings of the experiment.
        test: the name of one of several tests; empty if there is one, or none with a name.
    """
    overlaps = settings.get("speaker_overlap", {})
    return overlaps.get(test, "") if test else "; ".join(overlaps.values())


def _check_agree(settings: Mapping[RunDirectory, Mapping[str, Any]]) -> None:
    for (first, one), (second, other) in pairwise(settings.items()):
        lines = differences(one, other, names=(f"in {first}", f"in {second}"))
        if lines:
            raise SoctkError(
                f"the runs have different settings\n{listing(lines)}",
                remedy="Train each setting in an experiment of its own (--tag).",
                where=first.experiment,
            )


def _read_config(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    try:
        _Schema.model_validate(content)
        for store in encoders(content):
            _Schema._Features.model_validate(store)
    except ValidationError as error:
        keys = dict.fromkeys(".".join(map(str, problem["loc"][:2])) for problem in error.errors())
        raise SoctkError(
            printable(f"damaged: invalid value of {', '.join(keys)}"),
            remedy="Remove the run's directory and train it again.",
            where=path,
        ) from error
    return content
