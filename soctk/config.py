"""Settings: YAML layers, one over the other, into one validated object."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from soctk.errors import SoctkError, listing, unknown_name

# What may lie at the top of a conf/ directory; folds.yaml is read by a recipe's stage 0 (soctk.datadir.read_folds).
_FILES = ("train.yaml", "head.yaml", "folds.yaml")

Protocol = Literal["soctk", "emobox"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PoolingConfig(_Section):
    """A pooling layer by its name in soctk.pooling.POOLINGS, and the options of that layer."""

    name: str
    options: dict[str, Annotated[int | float | str, Field(union_mode="left_to_right")]]


class HeadConfig(_Section):
    """The classifier on top of the descriptor: Linear-BatchNorm-ReLU-Dropout-Linear."""

    hidden: int = Field(gt=0)
    dropout: float = Field(ge=0, lt=1)


class TrainConfig(_Section):
    """The training loop: AdamW, linear warm-up and decay, early stopping on the validation loss."""

    frame_norm: bool
    batch_size: int = Field(gt=1)
    epochs: int = Field(gt=0)
    patience: int = Field(gt=0)
    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warmup: float = Field(ge=0, lt=1)
    grad_clip: float = Field(gt=0)


class Config(_Section):
    """All settings of an experiment but its fold and seed."""

    protocol: Protocol
    pooling: PoolingConfig
    head: HeadConfig
    train: TrainConfig


def load(layers: Sequence[Path], pooling: str, protocol: Protocol = "soctk", overrides: Iterable[str] = ()) -> Config:
    """Merge the conf/ directories in `layers`, a later one over an earlier one, and then `overrides`.

    Each layer may hold `train.yaml`, `head.yaml` and `pooling/NAME.yaml`; what a layer leaves out is inherited.

    Args:
        layers: directories, the shared conf/ first.
        pooling: the pooling's name; its options are those of `pooling/NAME.yaml`.
        protocol: how validation utterances are chosen (soctk.protocol).
        overrides: KEY=VALUE strings such as `train.lr=1e-3` or `pooling.d=16`; VALUE is read as YAML.

    Raises:
        SoctkError: a file that is missing or no YAML mapping, an unknown key, a value of the wrong type or range.
    """
    for layer in layers:
        _check_layer(layer)
    _check_pooling_is_known(pooling, layers)
    files = {"train": "train.yaml", "head": "head.yaml", "pooling": f"pooling/{pooling}.yaml"}
    sections = {section: _merge_files([layer / file for layer in layers]) for section, file in files.items()}
    for override in overrides:
        _apply_override(sections, override)
    return _validated(
        {
            "protocol": protocol,
            "pooling": {"name": pooling, "options": sections["pooling"]},
            "head": sections["head"],
            "train": sections["train"],
        },
        where=" < ".join(str(layer) for layer in layers),
    )


def differences(there: Mapping[str, Any], asked: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return a line for each key, dotted, whose value differs between two nested mappings."""
    lines = []
    for key in sorted(there.keys() | asked.keys()):
        old, new = there.get(key), asked.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key}: {old} there, {new} asked for")
    return lines


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; an empty file is an empty mapping.

    Raises:
        SoctkError: the file is missing, not YAML, or not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SoctkError(f"cannot be read ({error.strerror})", remedy="Check the path.", where=path) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SoctkError(f"not YAML: {error}", remedy="Mend the file.", where=path) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SoctkError("not a mapping", remedy="Write it as 'key: value' lines.", where=path)
    return content


def _check_layer(layer: Path) -> None:
    if not layer.is_dir():
        raise SoctkError("no such conf/ directory", remedy="Give --conf the toolkit's conf/ first.", where=layer)
    for file in layer.glob("*.yaml"):
        if file.name not in _FILES:
            raise unknown_name("settings file", file.name, _FILES, where=layer)


def _merge_files(paths: Iterable[Path]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for path in paths:
        if path.exists():
            merged |= read_yaml(path)
    return merged


def _check_pooling_is_known(pooling: str, layers: Sequence[Path]) -> None:
    known = {file.stem for layer in layers for file in (layer / "pooling").glob("*.yaml")}
    if pooling not in known:
        raise unknown_name("pooling", pooling, known, where="--pooling")


def _apply_override(sections: dict[str, dict[str, Any]], override: str) -> None:
    key, equals, value = override.partition("=")
    section, dot, name = key.partition(".")
    if not (equals and dot and name):
        raise SoctkError("not of the form SECTION.KEY=VALUE", remedy="Write e.g. --set train.lr=1e-3.", where=override)
    if section not in sections:
        raise unknown_name("section", section, sections, where=f"--set {override}")
    try:
        sections[section][name] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise SoctkError("the value is not YAML", remedy="Quote it.", where=f"--set {override}") from error


def _validated(settings: dict[str, Any], where: str) -> Config:
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        problems = [_describe(problem, settings) for problem in error.errors()]
        raise SoctkError(
            f"{len(problems)} settings are wrong\n{listing(problems)}",
            remedy="Mend the YAML file or the --set option.",
            where=where,
        ) from error


def _describe(problem: Mapping[str, Any], settings: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        section, name = problem["loc"][0], problem["loc"][-1]
        known = Config.model_fields[section].annotation.model_fields
        return str(unknown_name("key", f"{name}", known, where=section)).replace("\n", ". ")
    if problem["type"] == "missing":
        return f"{key}: missing"
    return f"{key}: {problem['msg']}, not {problem['input']!r}"
