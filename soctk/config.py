"""The conf directories: their YAML files, merged and validated (soctk.schema)."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from soctk.errors import SoctkError, listing, plural, unknown_name
from soctk.mappings import parse_yaml, read_yaml
from soctk.schema import (
    DIMENSIONS,
    ClusterConfig,
    Config,
    FineTuneConfig,
    FramesConfig,
    LinearConfig,
    MLPConfig,
    ModelConfig,
    Protocol,
    RecentreConfig,
    Section,
    TrainConfig,
    UpstreamConfig,
)

_PACKAGE = Path(__file__).resolve().parent
# soctk's own settings: every command starts from these. A wheel contains them; a checkout has them beside the package.
BUILTIN_CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"

# The YAML files that are allowed at the top of a conf directory. Other modules read three of them: folds.yaml
# (soctk.corpus.folds), labels.yaml (soctk.corpus.labels) and recipe.yaml (soctk.training.recipe).
_FILES = (
    "finetune.yaml",
    "folds.yaml",
    "frames.yaml",
    "labels.yaml",
    "model.yaml",
    "recentre.yaml",
    "recipe.yaml",
    "train.yaml",
)

# The pooling layers among which a fold chooses with --pooling auto; none has trained parameters.
CHOICE_OF_POOLINGS = ("mean", "soc_full")

_SECTIONS: dict[str, type[Section]] = {
    "frames": FramesConfig,
    "recentre": RecentreConfig,
    "mlp": MLPConfig,
    "linear": LinearConfig,
    "train": TrainConfig,
    "finetune": FineTuneConfig,
}

AnySection = TypeVar("AnySection", bound=Section)


def conf_directories(preset: str = "default", given: Sequence[Path] = (), utterances: int | None = None) -> list[Path]:
    """Return the conf directories to merge, in order; values of later ones replace values of earlier ones.

    soctk's own settings come first, then the preset's, then the given directories. A given directory that is one of
    soctk's own is left out, so that `--conf ../../conf` does not undo a preset.

    Args:
        preset: `default`, or the name of a folder in conf/preset/.
        given: the directories of `--conf`.
        utterances: the size of the corpus, for a preset with settings for large corpora (size_directories); without
            it, they are not used.

    Raises:
        SoctkError: the preset is unknown.
    """
    presets = BUILTIN_CONF / "preset"
    known = ["default", *(folder.name for folder in presets.iterdir() if folder.is_dir())]
    if preset not in known:
        raise unknown_name("preset", preset, known, where="--preset")
    by_size = [folder for least, folder in size_directories(preset).items() if least <= (utterances or 0)]
    builtin = [BUILTIN_CONF] if preset == "default" else [BUILTIN_CONF, presets / preset, *by_size]
    return builtin + [folder for folder in given if folder.resolve() not in builtin]


def size_directories(preset: str) -> dict[int, Path]:
    """Return number of utterances -> the folder `from-N-utterances` of a preset, whose settings hold from this size."""
    folders = (BUILTIN_CONF / "preset" / preset).glob("from-*-utterances")
    return dict(sorted((int(folder.name.split("-")[1]), folder) for folder in folders))


def load(
    conf_dirs: Sequence[Path],
    pooling: str,
    head: str = "mlp",
    protocol: Protocol = "soctk",
    overrides: Iterable[str] = (),
    target: str = "emotion",
    tune: str | None = None,
) -> Config:
    """Merge the files of the conf directories and the overrides; later values replace earlier ones.

    Each directory may hold `frames.yaml`, `recentre.yaml`, `train.yaml`, `head/NAME.yaml` and `pooling/NAME.yaml`.
    A key that a directory does not set keeps the value of the earlier directories.

    Args:
        conf_dirs: the directories, soctk's own first (conf_directories).
        pooling: the pooling's name, or several joined by `+`; each takes its options from `pooling/NAME.yaml`. `auto`:
            each fold chooses among CHOICE_OF_POOLINGS.
        head: `mlp`, or `linear`, which does not use the training loop and has no section `train`.
        protocol: how validation utterances are chosen (soctk.corpus.splits).
        overrides: KEY=VALUE strings such as `train.lr=1e-3` or `pooling.soc.d=16`; with one pooling, `pooling.d=16`
            is enough. VALUE is read as YAML.
        target: what is predicted: `emotion`, `distribution`, or dimensions joined by `+`.
        tune: the parameters of the encoder to train: `lora`, `top:N` or `all`, with the other settings of
            `finetune.yaml`; None for a frozen encoder. The section `train` is not used for fine-tuning.

    Raises:
        SoctkError: a file is missing or is not a YAML mapping, a key is unknown, a value has a wrong type or range, or
            a setting has no effect on the target.
    """
    _check_conf_dirs(conf_dirs)
    poolings = list(CHOICE_OF_POOLINGS) if pooling == "auto" else pooling.split("+")
    for name in poolings:
        _check_name("pooling", name, conf_dirs)
    if len(set(poolings)) < len(poolings):
        raise SoctkError("a pooling is named twice", remedy="Name each pooling once.", where=f"--pooling {pooling}")
    _check_name("head", head, conf_dirs)
    sections: dict[str, dict[str, Any]] = {
        "frames": _merge_files(conf_dirs, "frames.yaml"),
        "pooling": {name: _merge_files(conf_dirs, f"pooling/{name}.yaml") for name in poolings},
        "recentre": _merge_files(conf_dirs, "recentre.yaml"),
        "head": _merge_files(conf_dirs, f"head/{head}.yaml"),
    }
    if tune is not None:
        sections["finetune"] = {**_merge_files(conf_dirs, "finetune.yaml"), "tune": tune}
    elif head == "mlp":
        sections["train"] = _merge_files(conf_dirs, "train.yaml")
    sections["head"]["name"] = head
    overrides = list(overrides)
    for override in overrides:
        _apply_override(sections, override)
    _resolve_frames(sections["frames"], head)
    _check_target(target, sections["head"], overrides)
    choice = {"pooling_choice": "auto"} if pooling == "auto" else {}
    where = " < ".join(str(folder) for folder in conf_dirs)
    config = _validated({"protocol": protocol, "target": target, "train": None, **choice, **sections}, where)
    _check_choice(config)
    return config


def load_model(conf_dirs: Sequence[Path]) -> ModelConfig:
    """Read and merge `model.yaml` of the conf directories.

    Raises:
        SoctkError: a directory is missing, or the file is malformed.
    """
    _check_conf_dirs(conf_dirs)
    return _validated_file(ModelConfig, conf_dirs, "model.yaml")


def load_upstream(conf_dirs: Sequence[Path], name: str) -> UpstreamConfig | None:
    """Read and merge `upstream/NAME.yaml` of the conf directories; return None if all lack it.

    Raises:
        SoctkError: a directory is missing, or the file is malformed.
    """
    _check_conf_dirs(conf_dirs)
    file = f"upstream/{name}.yaml"
    if not any((folder / file).is_file() for folder in conf_dirs):
        return None
    return _validated_file(UpstreamConfig, conf_dirs, file)


def load_cluster(path: Path) -> ClusterConfig:
    """Return the settings in a cluster file, such as conf/cluster/slurm.yaml.

    Raises:
        SoctkError: the file cannot be read, or it has an unknown key or a wrong value.
    """
    return _validated_file(ClusterConfig, [path.parent], path.name)


def _check_conf_dirs(conf_dirs: Iterable[Path]) -> None:
    for folder in conf_dirs:
        if not folder.is_dir():
            raise SoctkError("no such conf directory", remedy="Check the path given to --conf.", where=folder)
        for file in [*folder.glob("*.yaml"), *folder.glob("*.yml")]:
            if file.name not in _FILES:
                raise unknown_name("settings file", file.name, _FILES, where=folder)
        for kind in ("pooling", "head"):
            known = [file.name for file in (BUILTIN_CONF / kind).glob("*.yaml")]
            for file in [*(folder / kind).glob("*.yaml"), *(folder / kind).glob("*.yml")]:
                if file.name not in known:
                    raise unknown_name("settings file", file.name, known, where=folder / kind)


def _validated_file(section: type[AnySection], conf_dirs: Sequence[Path], file: str) -> AnySection:
    try:
        return section.model_validate(_merge_files(conf_dirs, file))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()]
        where = [folder / file for folder in conf_dirs if (folder / file).is_file()] or [conf_dirs[0] / file]
        raise SoctkError(f"wrong settings\n{listing(problems)}", remedy="Correct the file.", where=where[-1]) from error


def _merge_files(conf_dirs: Iterable[Path], file: str) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for folder in conf_dirs:
        if (folder / file).exists():
            merged |= read_yaml(folder / file)
    return merged


def _check_name(kind: str, name: str, conf_dirs: Sequence[Path]) -> None:
    known = {file.stem for folder in conf_dirs for file in (folder / kind).glob("*.yaml")}
    if name not in known:
        raise unknown_name(kind, name, known | {"auto"}, where=f"--{kind}")


def _apply_override(sections: dict[str, dict[str, Any]], override: str) -> None:
    key, equals, value = override.partition("=")
    section, *path = key.split(".")
    if not (equals and path and all(path)):
        remedy = f"Write e.g. --set frames.layers=[3, 4]. Sections: {', '.join(sorted(sections))}."
        raise SoctkError("not of the form SECTION.KEY=VALUE", remedy=remedy, where=f"--set {override}")
    if section == "train" and section not in sections:
        is_tuned = "finetune" in sections
        user = "soctk-finetune has settings of its own and" if is_tuned else "the head linear"
        raise SoctkError(
            f"{user} does not use the training loop, so this setting has no effect",
            remedy="Give a setting of conf/finetune.yaml, such as --set finetune.epochs=5."
            if is_tuned
            else "Choose --head mlp, or leave the setting out.",
            where=f"--set {override}",
        )
    if section not in sections:
        raise unknown_name("section", section, sections, where=f"--set {override}")
    settings = sections[section]
    if key in ("head.name", "finetune.tune"):
        option = {"head.name": "the head with --head", "finetune.tune": "the parameters with --tune"}[key]
        raise SoctkError("this is no setting", remedy=f"Choose {option}.", where=f"--set {override}")
    if section == "pooling":
        settings, path = _select_pooling(settings, path, where=f"--set {override}")
    try:
        settings[".".join(path)] = parse_yaml(value)
    except ValueError as error:
        raise SoctkError(
            f"not a YAML value: {error}", remedy="Write e.g. 1 or [1, 2].", where=f"--set {override}"
        ) from error


def _resolve_frames(frames: dict[str, Any], head: str) -> None:
    """Replace the values of conf/frames.yaml that depend on the head: `combine: auto` and `layers: default`."""
    if frames.get("combine") == "auto":
        frames["combine"] = "concat" if head == "linear" else "sum"
    if frames.get("layers") == "default":
        frames["layers"] = "auto" if (head, frames.get("combine")) == ("linear", "concat") else "all"


def _check_choice(config: Config) -> None:
    """Refuse a choice inside folds, except for the linear head on concatenated descriptors."""
    options = {"--layer auto": config.frames.layers == "auto", "--pooling auto": config.pooling_choice == "auto"}
    given = [option for option, is_given in options.items() if is_given]
    model = "the head mlp" if isinstance(config.head, MLPConfig) else "--combine sum"
    if given and (model == "the head mlp" or config.frames.combine == "sum"):
        raise SoctkError(
            f"a fold chooses only for the head linear on concatenated descriptors, not for {model}",
            remedy="Choose --head linear without --combine sum; or name the pooling and the hidden states, such as "
            '--layer all, --layer last or --layer "3 4".',
            where=" ".join(given),
        )


def _check_target(target: str, head: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Refuse an unknown target, and settings of classes that have no effect on dimensions."""
    names = target.split("+")
    if target in ("emotion", "distribution"):
        return
    unknown = [name for name in names if name not in DIMENSIONS]
    if unknown or len(set(names)) < len(names):
        what = f"unknown target '{unknown[0]}'" if unknown else "a dimension is named twice"
        raise SoctkError(
            what,
            remedy=f"Choose emotion, distribution, or one or several of {', '.join(DIMENSIONS)}, joined by +.",
            where=f"--target {target}",
        )
    given = [override for override in overrides if override.startswith("head.within_class_shrinkage=")]
    if head.get("class_weight") == "balanced":
        given.append("head.class_weight=balanced")
    if given:
        raise SoctkError(
            "this setting is for classes, and dimensions have none",
            remedy="Leave the setting out, or choose another --target.",
            where=f"--set {given[0]}",
        )


def _select_pooling(poolings: dict[str, Any], path: list[str], where: str) -> tuple[dict[str, Any], list[str]]:
    """Return the options of the pooling that `path` begins with (or of the only pooling), and the rest of `path`."""
    if len(path) == 1 and len(poolings) == 1:
        return next(iter(poolings.values())), path
    if len(path) == 1:
        raise SoctkError(
            "the name of the pooling is missing",
            remedy=f"Write pooling.NAME.{path[0]}, where NAME is one of {', '.join(poolings)}.",
            where=where,
        )
    if path[0] not in poolings:
        raise unknown_name("pooling", path[0], poolings, where=where)
    return poolings[path[0]], path[1:]


def _validated(settings: dict[str, Any], where: str) -> Config:
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        problems = [_describe(problem, settings) for problem in error.errors()]
        raise SoctkError(
            f"{plural(len(problems), 'setting is', 'settings are')} wrong\n{listing(problems)}",
            remedy="Correct the YAML file or the --set option.",
            where=where,
        ) from error


def _describe(problem: Mapping[str, Any], settings: dict[str, Any]) -> str:
    # pydantic inserts the kind of head into the location of a problem: head.mlp.hidden instead of head.hidden.
    location = [part for i, part in enumerate(problem["loc"]) if i != 1 or problem["loc"][0] != "head"]
    key = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        section, name = location[0], location[-1]
        known = _SECTIONS[settings["head"]["name"] if section == "head" else section].model_fields.keys() - {"name"}
        return str(unknown_name("key", f"{name}", known, where=section)).replace("\n", ". ")
    if problem["type"] == "missing":
        return f"{key}: missing"
    return f"{key}: {problem['msg']}, not {problem['input']!r}"
