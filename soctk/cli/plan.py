"""soctk-plan: check the options of a recipe, and show what it will do."""

import contextlib
import copy
import io
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from soctk.cli.common import (
    CONTEXT,
    Command,
    Directory,
    Layers,
    Words,
    combine_option,
    device_option,
    enrol_option,
    folds_option,
    head_option,
    pooling_option,
    preset_option,
    recentre_option,
    seeds_option,
    speed_option,
)

if TYPE_CHECKING:
    from soctk.training.plan import Plan
    from soctk.training.recipe import Recipe

_PROTOCOLS = ("soctk", "emobox")  # a recipe may add its own
# Options of soctk-extract and soctk-train that a recipe has as its own: it makes the names of directories from them.
_EXTRACT_OPTIONS = ("upstream", "layers", "speeds")
_TRAIN_OPTIONS = ("preset", "pooling", "head", "layers", "combine", "recentre", "enrol", "protocol")


@click.command(
    cls=Command,
    context_settings={**CONTEXT, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("--shell", is_flag=True, help="Print assignments for bash (bin/recipe.sh).")
@click.argument("recipe", type=Directory(exists=True))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def main(shell: bool, recipe: Path, options: tuple[str, ...]) -> None:
    """Check all OPTIONS of the recipe in the directory RECIPE, and print what its stages will run. It does no work.

    `soctk-plan RECIPE --help` describes OPTIONS. They are those of RECIPE/run.sh.
    """
    from soctk.training.recipe import read

    command = recipe_command(read(Path(os.path.abspath(recipe))))  # noqa: PTH100 - a link keeps its name
    # The command may print its help or version instead of making a plan; bash is then to print that text.
    name = "run.sh" if shell else f"soctk-plan {recipe}"
    try:
        with contextlib.redirect_stdout(io.StringIO()) as text:
            plan = command.main(options, name, standalone_mode=False)
    except click.UsageError as error:
        error.ctx = error.ctx or click.Context(command, info_name=name)  # for the usage line above the message
        raise
    if isinstance(plan, int):
        click.echo(f"printf %s {shlex.quote(text.getvalue())}; exit {plan}" if shell else text.getvalue(), nl=shell)
    else:
        click.echo(plan.shell() if shell else plan.describe())


def recipe_command(recipe: "Recipe") -> Command:
    """Return the command with a recipe's options and defaults; its callback returns the Plan.

    Raises:
        SoctkError: conf/recipe.yaml has a default for an unknown option, or an own option with the name of another one.
    """
    from soctk.errors import SoctkError, unknown_name

    where = recipe.path / "conf" / "recipe.yaml"
    copies = [parameter for parameter in copy.deepcopy(_options.params) if isinstance(parameter, click.Option)]
    parameters = {option.opts[0].removeprefix("--"): option for option in copies if option.name != "version"}
    parameters["corpus"].help = recipe.corpus.help
    parameters["corpus"].show_default = recipe.corpus.default or recipe.corpus.download
    parameters["protocol"].type = click.Choice([*_PROTOCOLS, *recipe.protocols])
    for name, option in recipe.options.items():
        if name in parameters:
            raise SoctkError(f"'{name}' is an option of every recipe", remedy="Rename the option.", where=where)
        kind = click.Choice(option.choices) if option.choices else str
        parameters[name] = click.Option([f"--{name}"], type=kind, default=option.default, help=option.help)
    known = parameters.keys() - {"corpus", "expdir"} - recipe.options.keys()
    for name, value in recipe.defaults.items():
        if name not in known:
            raise unknown_name("option", name, known, where=where)
        parameters[name].default, parameters[name].show_default = value, True

    def callback(**values: Any) -> "Plan":
        return _make_plan(recipe, values)

    return Command(
        None,
        params=list(parameters.values()),
        callback=callback,
        help=f"Run the recipe {recipe.path.name}. A name may be spelled with - or _: --stop-stage 1, --stop_stage=1.",
        context_settings={**CONTEXT, "token_normalize_func": lambda token: token.replace("_", "-")},
    )


@click.command(cls=Command, context_settings=CONTEXT)
@click.option(
    "--stage", type=click.IntRange(0, 3), default=0, help="First stage to run: 0 data, 1 features, 2 train, 3 score."
)
@click.option("--stop-stage", type=click.IntRange(0, 3), default=3, help="Last stage to run.")
@click.option("--corpus", metavar="DIR")
@click.option(
    "--upstream", default="fbank", help="Encoder: a NAME in conf/upstream or s3prl, a DIR, or a Hugging Face hub id."
)
@click.option(
    "--layer",
    "layers",
    type=Layers("last", "all"),
    default="last",
    help='Hidden states of the upstream to extract: last, all, or numbers such as "3 4"; 0 is the input of layer 1.',
)
@speed_option
@click.option(
    "--use-layer",
    "use_layers",
    type=Layers("all"),
    default="all",
    help='Which of the extracted hidden states to train on: all, or numbers such as "3 4".',
)
@combine_option
@preset_option
@pooling_option
@head_option
@folds_option
@seeds_option
@recentre_option
@enrol_option
@click.option(
    "--protocol",
    type=click.Choice(_PROTOCOLS),
    default="soctk",
    help="Validation utterances: soctk (of speakers who do not train) or emobox (20% of the utterances at random).",
)
@click.option(
    "--extract-args", type=Words(), default="", help='More options of soctk-extract, such as "--dtype float32".'
)
@click.option(
    "--train-args", type=Words(), default="", help='More options of soctk-train, such as "--set train.lr=1e-3".'
)
@click.option("--tag", default="", help="Suffix of the experiment's name, to keep other settings apart.")
@click.option("--nj", type=click.IntRange(min=1), default=2, help="Number of processes.")
@device_option
@click.option("--expdir", metavar="DIR", help="Directory of the experiments.", show_default="exp in the recipe")
def _options() -> None:
    """Hold the options that every recipe has."""


def _make_plan(recipe: "Recipe", values: dict[str, Any]) -> "Plan":
    from soctk.cli import extract, train
    from soctk.training import plan

    own = {name: values.pop(name.replace("-", "_")) for name in recipe.options}
    arguments = ["DATA", "STORE", "--upstream", values["upstream"], *values["extract_args"]]
    if _parse(extract.main, "--extract-args", arguments, _EXTRACT_OPTIONS[1:]).params["upstream"] != values["upstream"]:
        raise _taken("--extract-args", "--upstream")
    arguments = ["DATA", "STORE", "EXPERIMENT", *values["train_args"]]
    context = _parse(train.main, "--train-args", arguments, _TRAIN_OPTIONS)
    if isinstance(values["layers"], tuple):
        values["layers"] = tuple(sorted(values["layers"]))
    if isinstance(values["use_layers"], tuple):
        values["use_layers"] = tuple(sorted(values["use_layers"]))
    values["speeds"] = tuple(sorted(values["speeds"]))
    more = {name: context.params[name] for name in ("conf_dirs", "overrides")}
    return plan.make(recipe, plan.Options(**values, **more, own=own))


def _parse(command: click.Command, option: str, arguments: Sequence[str], taken: Sequence[str]) -> click.Context:
    """Parse arguments as a command would.

    Raises:
        click.UsageError: the command would refuse them, or they have an option among those `taken` by the recipe.
    """
    try:
        context = command.make_context(command.name, list(arguments))
    except click.exceptions.Exit:
        raise click.UsageError(f"{option}: --help and --version do not work here") from None
    except click.UsageError as error:
        raise click.UsageError(f"{option}: {error.format_message()}") from error
    for parameter in command.params:
        source = context.get_parameter_source(parameter.name)
        if parameter.name in taken and source is click.core.ParameterSource.COMMANDLINE:
            raise _taken(option, parameter.opts[0])
    return context


def _taken(option: str, name: str) -> click.UsageError:
    return click.UsageError(f"{option} has {name}, which is an option of the recipe itself: give it there")
