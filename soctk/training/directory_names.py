"""The names of a recipe's directories: data, features, and experiment."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from soctk.features.upstream import own
from soctk.schema import Config
from soctk.training import recipe_tuning
from soctk.training.recipe import Name, Recipe
from soctk.training.recipe_options import Options, per_encoder, spaced


def make(recipe: Recipe, options: Options, resolved: Config, upstreams: Sequence[str]) -> tuple[str, list[str], str]:
    """Return the names of the data directory, the feature store of each upstream, and the experiment.

    data/RECIPE, feats/UPSTREAM[-layerN]WAVEFORMS and
    UPSTREAM[-layerN]-POOLING-HEAD[-COMBINE][-PRESET]WAVEFORMS[-recentred][-enrolN][-TARGET][-tuned-PARAMETERS][-TAG],
    where WAVEFORMS is [-spS][-aug-NAMES][-level]; each may end with the values of the recipe's own options and
    protocol. The names of several upstreams, and their layers, are joined by +.
    """
    names = [_name(upstream) for upstream in upstreams]
    waveforms = f"-sp{_dashed(options.speeds)}" if options.speeds else ""
    waveforms += f"-aug-{'-'.join(options.augmentations)}" if options.augmentations else ""
    waveforms += "" if options.normalise == "none" else f"-{options.normalise}"
    frames, head = resolved.frames, resolved.head.name
    parts = [
        f"{'+'.join(names)}{_trained_layers(options, frames.layers)}-{resolved.pooling_name}-{head}",
        "" if (head, frames.combine) in (("linear", "concat"), ("mlp", "sum")) else f"-{frames.combine}",
        "" if options.preset == "default" else f"-{options.preset}",
        waveforms,
        "" if resolved.recentre.by == "none" else "-recentred",
        "" if resolved.recentre.enrol == "all" else f"-enrol{resolved.recentre.enrol}",
        "" if options.target == "emotion" else f"-{options.target}",
        recipe_tuning.name(options),
        f"-{options.tag}" if options.tag else "",
        suffix(recipe, options, "experiment"),
    ]
    data = f"data/{recipe.path.name}{suffix(recipe, options, 'data')}"
    end = f"{waveforms}{suffix(recipe, options, 'features')}"
    each = [replace(options, upstream=shlex.quote(upstream)) for upstream in upstreams]
    features = [f"feats/{name}{_extracted_layers(own)}{end}" for name, own in zip(names, each, strict=True)]
    return data, features, "".join(parts)


def _name(upstream: str) -> str:
    name = own.display_name(upstream) if own.is_own(upstream) else Path(upstream).name
    return name.replace(":", "-")


def suffix(recipe: Recipe, options: Options, name: Name, separator: str = "-") -> str:
    """Return the part of the name of a directory that the recipe's own options and protocol give."""
    values = [
        options.own[key]
        for key, option in recipe.options.items()
        if name in option.names and options.own[key] != option.default
    ]
    values += [key for key, protocol in recipe.protocols.items() if name in protocol.names and key == options.protocol]
    return "".join(f"{separator}{value}" for value in values)


def _extracted_layers(options: Options) -> str:
    return "" if options.extracts_last else f"-layer{_dashed(options.layers)}"


def _trained_layers(options: Options, layers: str | Sequence[int]) -> str:
    """Return the part of the name for the hidden states to train on; empty for the last one.

    If each fold chooses among all hidden states, it is -layerauto; if only some were extracted, their numbers follow.
    """
    if not isinstance(layers, str):
        own = per_encoder(options.use_layers) if isinstance(options.use_layers, tuple) else [layers]
        return f"-layer{'+'.join(map(_dashed, own))}"
    extracted = _extracted_layers(options)
    if layers == "last":
        return f"-layer{max(options.layers)}" if isinstance(options.layers, tuple) else ""
    if layers == "auto" and extracted and len(options.layers) > 1:
        return f"-layerauto{extracted.removeprefix('-layer').removeprefix('all')}"
    return extracted


def _dashed(values: str | Sequence[float]) -> str:
    return spaced(values).replace(" ", "-")
