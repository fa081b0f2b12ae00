"""The settings of an experiment: one validated Config from command-line options and conf directories."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from soctk import config
from soctk.errors import plural
from soctk.mappings import read_yaml
from soctk.pooling import registry
from soctk.schema import Config, Protocol

# The options that are settings: parameter of `resolve` -> key. An option that is None is not given.
SETTINGS = {
    "pooling": "pooling",
    "head": "head",
    "layers": "frames.layers",
    "combine": "frames.combine",
    "recentre": "recentre.by",
    "enrol": "recentre.enrol",
}


def resolve(
    *,
    preset: str = "default",
    conf_dirs: Sequence[Path] = (),
    pooling: str | None = None,
    head: str | None = None,
    layers: str | Sequence[int] | None = None,
    combine: str | None = None,
    recentre: str | None = None,
    enrol: str | int | None = None,
    protocol: Protocol = "soctk",
    target: str = "emotion",
    utterances: int | None = None,
    overrides: Iterable[str] = (),
    tune: str | None = None,
) -> Config:
    """Return the settings for these options; an option that is None keeps the value of the conf directories.

    Args:
        preset: `default`, or the name of a folder in soctk's conf/preset/.
        conf_dirs: the directories of `--conf`; they are merged over soctk's own settings and the preset's.
        pooling: the pooling's name, several joined by `+`, or `auto` (soctk.config.load). By default that of
            model.yaml.
        head: `linear`, `mlp`, or `auto`: mlp if the pooling has trained parameters, else linear; by default that of
            model.yaml.
        layers: the hidden states to train on: `all`, `last`, numbers from 0, or `auto`: each fold chooses them. By
            default that of frames.yaml; there, `default` means `auto` for the head linear on concatenated descriptors,
            and `all` for other models.
        combine: several layers: `sum`, `concat`, or `auto`: concat for the linear head, sum for mlp.
        recentre: `speaker` or `none`.
        enrol: how many utterances of a test speaker give the speaker's mean: `all`, or a number.
        protocol: how validation utterances are chosen.
        target: what is predicted (soctk.config.load).
        utterances: the number of utterances of the corpus, for presets whose settings depend on it
            (soctk.config.size_directories).
        overrides: KEY=VALUE strings (soctk.config.load); they win over the other options.
        tune: the parameters of the encoder to train (soctk.config.load); None for a frozen encoder.

    Raises:
        SoctkError: a name is unknown, or a setting is wrong.
    """
    directories = config.conf_directories(preset, conf_dirs, utterances)
    model = config.load_model(directories)
    pooling = model.pooling if pooling is None else pooling
    head = model.head if head is None else head
    if head == "auto":
        head = "mlp" if pooling != "auto" and registry.is_trained(pooling) else "linear"
    options = {
        "frames.layers": layers,
        "frames.combine": combine,
        "recentre.by": recentre,
        "recentre.enrol": enrol,
    }
    given = [f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None]
    return config.load(directories, pooling, head, protocol, [*given, *overrides], target, tune)


def describe_size(preset: str, utterances: int, resolved: Config) -> str:
    """Return a sentence with the resolved settings whose values in the preset depend on the size of the corpus.

    It is empty if the preset has none, or if the model does not use them.
    """
    used = []
    for folder in config.size_directories(preset).values():
        for file in sorted(folder.rglob("*.yaml")):
            path = file.relative_to(folder).with_suffix("").parts
            section = resolved.model_dump()[path[0]] or {}
            for part in path[1:]:
                section = section.get(part, {})
            used += [f"{'.'.join(path)}.{key}={section[key]}" for key in read_yaml(file) if key in section]
    return f"preset {preset}, {plural(utterances, 'utterance')}: {', '.join(dict.fromkeys(used))}" if used else ""
