"""Pooling layers by name, with checked options."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

import torch
from pydantic import TypeAdapter, ValidationError

from soctk.errors import SoctkError, unknown_name
from soctk.pooling.correlation import Correlation
from soctk.pooling.layers import ASP, SOC, Concatenation, Mean, Pooling, SOCFull, SOCNoLEM, Stats

POOLINGS: dict[str, Callable[..., Pooling]] = {
    "mean": Mean,
    "stats": Stats,
    "asp": ASP,
    "soc": SOC,
    "soc_nolem": SOCNoLEM,
    "soc_full": SOCFull,
    "corr": Correlation,
}


def create(name: str, input_size: int, options: Mapping[str, Mapping[str, Any]]) -> Pooling:
    """Make the pooling layer of this name.

    Args:
        name: a key of POOLINGS, or several joined by `+`, whose descriptors are concatenated.
        input_size: D, the width of a frame.
        options: name -> all arguments of the constructor, except `input_size`.

    Raises:
        SoctkError: the name or an option is unknown, a name is given twice, or an option is missing or has a wrong
            value.
    """
    layers = [POOLINGS[part](input_size, **_check_options(part, options.get(part, {}))) for part in _split_name(name)]
    return layers[0] if len(layers) == 1 else Concatenation(layers)


def is_trained(name: str) -> bool:
    """Return whether the pooling of this name, such as `mean+asp`, has parameters to train.

    Raises:
        SoctkError: the name is unknown, or a name is given twice.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # constructors draw random numbers
        return any(POOLINGS[part](1).is_trained for part in _split_name(name))


def _split_name(name: str) -> list[str]:
    names = name.split("+")
    for part in names:
        if part not in POOLINGS:
            raise unknown_name("pooling", part, POOLINGS, where=f"--pooling {name}")
    if len(set(names)) < len(names):
        raise SoctkError("a pooling is named twice", remedy="Name each once.", where=f"--pooling {name}")
    return names


def _check_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of POOLINGS[name], each converted to its type."""
    constructor = POOLINGS[name]
    types = get_type_hints(constructor.__init__, include_extras=True)
    known = [option for option in inspect.signature(constructor).parameters if option != "input_size"]
    where = f"the options of the pooling {name} (conf/pooling/{name}.yaml, --set pooling.{name}.OPTION=VALUE)"
    checked = {}
    for option, value in options.items():
        if option not in known:
            raise unknown_name("option", option, known, where=where)
        try:
            checked[option] = TypeAdapter(types[option]).validate_python(value)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise SoctkError(f"{option}: {problem}, not {value!r}", remedy="Correct its value.", where=where) from error
    missing = [option for option in known if option not in options]
    if missing:
        raise SoctkError(f"no value for {', '.join(missing)}", remedy="Give each a default in the file.", where=where)
    return checked
