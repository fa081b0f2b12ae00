"""soctk-plan: check the options of a recipe, and print the commands of its stages."""

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
    augment_option,
    cluster_option,
    device_option,
    folds_option,
    given_options,
    normalise_option,
    option,
    seeds_option,
    speed_option,
)
from soctk.cli.model_options import (
    EncoderLayers,
    Tune,
    combine_option,
    enrol_option,
    head_option,
    pooling_option,
    preset_option,
    recentre_option,
    target_option,
)

if TYPE_CHECKING:
    from soctk.training.plan import Plan
    from soctk.training.recipe import Recipe

_PROTOCOLS = ("soctk", "emobox")  # a recipe may add its own
# Options of soctk-extract and soctk-train that run.sh has too: a recipe makes the names of its directories from them.
_EXTRACT_OPTIONS = ("upstream", "layers", "speeds", "augmentations", "normalise")
_TRAIN_OPTIONS = ("preset", "pooling", "head", "layers", "combine", "recentre", "enrol", "protocol", "target")


@click.command(
    cls=Command,
    context_settings={**CONTEXT, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
@option("--shell", is_flag=True, help="Print the plan as assignments for bash, which bin/recipe.sh evaluates.")
@click.argument("recipe", type=Directory(exists=True))
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[RECIPE_OPTIONS]...")
def main(shell: bool, recipe: Path, options: tuple[str, ...]) -> None:
    """Check the options of the recipe in the directory RECIPE, and print the commands of its stages. Nothing is run.

    RECIPE_OPTIONS are the options of RECIPE/run.sh; `soctk-plan RECIPE --help` lists them.
    """
    from soctk.training.recipe import read

    command = recipe_command(read(Path(os.path.abspath(recipe))))  # noqa: PTH100 - a link keeps its name
    # The command may print its help or version instead of making a plan; bash must then print that text.
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
        SoctkError: conf/recipe.yaml has a default for an unknown option, or an option with the name of a common one.
    """
    from soctk.errors import SoctkError, unknown_name

    where = recipe.path / "conf" / "recipe.yaml"
    copies = [parameter for parameter in copy.deepcopy(_options.params) if isinstance(parameter, click.Option)]
    parameters = {copied.opts[0].removeprefix("--"): copied for copied in copies if copied.name != "version"}
    parameters["corpus"].help = recipe.corpus.help
    parameters["corpus"].show_default = recipe.corpus.default or recipe.corpus.download
    parameters["protocol"].type = click.Choice([*_PROTOCOLS, *recipe.protocols])
    for name, own in recipe.options.items():
        if name in parameters:
            raise SoctkError(f"'{name}' is an option of every recipe", remedy="Rename the option.", where=where)
        kind = click.Choice(own.choices) if own.choices else Directory(exists=True) if own.is_folder else str
        default = None if own.is_folder else own.default
        parameters[name] = click.Option([f"--{name}"], type=kind, default=default, help=own.help)
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
        help=f"Run the recipe {recipe.path.name}. Options may be spelled with - or _: --stop-stage 1, --stop_stage=1.",
        context_settings={**CONTEXT, "token_normalize_func": lambda token: token.replace("_", "-")},
    )


@click.command(cls=Command, context_settings=CONTEXT)
@option(
    "--stage",
    type=click.IntRange(0, 5),
    default=0,
    help="First stage to run: 0 data, 1 features, 2 train, 3 score, 4 pack (a model for soctk-predict), 5 robustness.",
)
@option(
    "--stop-stage",
    type=click.IntRange(0, 5),
    help="Last stage to run. Stages 4 and 5 run only if --stage or --stop-stage chooses them.",
    show_default="3, or --stage if it is greater",
)
@option("--corpus", metavar="DIR")
@option(
    "--upstream",
    default="fbank",
    help="Encoder: a name in conf/upstream or in s3prl, s3prl:NAME, egemaps, egemaps-lld, a folder, a Hugging Face hub "
    'id, or your own class, MODULE:CLASS or FILE.py:CLASS. Several, such as "wavlm_base_plus egemaps-lld", are used '
    "side by side.",
)
@option(
    "--layer",
    "layers",
    type=Layers("all", "last"),
    default="all",
    help='Hidden states of the upstream to extract: all, last, or numbers such as "3 4"; 0 is the input of layer 1.',
)
@speed_option
@augment_option
@normalise_option
@option(
    "--use-layer",
    "use_layers",
    type=EncoderLayers("auto", "all", "last"),
    help="Extracted hidden states to train on: auto (each fold chooses, for the head linear), all, last, or numbers "
    'such as "3 4". A comma separates the numbers of several encoders: "2 3 4 5, 2 3".',
    show_default="auto for the head linear with concat, last with the presets paper and emobox, else all; if "
    "--layer names some: all of these",
)
@combine_option
@preset_option
@pooling_option
@head_option
@folds_option
@seeds_option
@target_option
@recentre_option
@enrol_option
@option(
    "--protocol",
    type=click.Choice(_PROTOCOLS),
    default="soctk",
    help="Validation utterances: the next fold (soctk), or 20% of the other folds at random (emobox). A corpus with a "
    "published partition has its own: dev.",
)
@option(
    "--extract-args",
    type=Words(),
    default="",
    help='More options of soctk-extract, such as "--dtype float32".',
    show_default="none",
)
@option(
    "--train-args",
    type=Words(),
    default="",
    help='More options of soctk-train, such as "--set train.lr=1e-3"; with --finetune, of soctk-finetune.',
    show_default="none",
)
@option(
    "--finetune",
    type=Tune(),
    metavar="lora|top:N|all",
    help="Train the encoder too: stage 2 is soctk-finetune, which needs no features. Parameters to train: lora (extra "
    "finetune), top:N or all.",
    show_default="off",
)
@option(
    "--tag",
    default="",
    help="Suffix of the experiment's directory name; give one if --train-args change.",
    show_default="none",
)
@option("--nj", type=click.IntRange(min=1), default=2, help="Number of parallel processes.")
@cluster_option
@device_option
@option("--expdir", metavar="DIR", help="Directory of the experiments.", show_default="exp in the recipe's directory")
def _options() -> None:
    """Hold the options that every recipe has; nothing calls it."""


def _make_plan(recipe: "Recipe", values: dict[str, Any]) -> "Plan":
    from soctk.cli import extract, finetune, train
    from soctk.training import plan
    from soctk.training.recipe_options import Options, per_encoder

    own = {name: values.pop(name.replace("-", "_")) for name in recipe.options}
    own = {name: str(value.absolute()) if isinstance(value, Path) else value or "" for name, value in own.items()}
    needed = ["DATA", "STORE", "--upstream", values["upstream"]]
    _parse(extract.main, "--extract-args", values["extract_args"], needed, _EXTRACT_OPTIONS)
    needed, training = ["DATA", "STORE", "EXPERIMENT"], train.main
    taken: Sequence[str] = _TRAIN_OPTIONS
    if values["finetune"]:
        needed, training = ["DATA", "EXPERIMENT", "--upstream", values["upstream"]], finetune.main
        taken = (*_TRAIN_OPTIONS, "upstream", "tune", "speeds", "normalise")
    context = _parse(training, "--train-args", values["train_args"], needed, taken)
    if isinstance(values["layers"], tuple):
        values["layers"] = tuple(sorted(values["layers"]))
    if isinstance(values["use_layers"], tuple):
        lists = [tuple(sorted(own)) for own in per_encoder(values["use_layers"])]
        values["use_layers"] = tuple(lists) if len(lists) > 1 else lists[0]
    values["speeds"] = tuple(sorted(values["speeds"]))
    more = {name: context.params[name] for name in ("conf_dirs", "overrides")}
    return plan.make(recipe, Options(**values, **more, own=own))


def _parse(
    command: click.Command, option: str, arguments: Sequence[str], needed: Sequence[str], taken: Sequence[str]
) -> click.Context:
    """Parse further arguments of a command, together with the arguments that it needs.

    Raises:
        click.UsageError: the command would refuse them, or they contain an option in `taken`, which run.sh has too.
    """
    try:
        for parameter in given_options(command, click.Context(command), arguments):
            if parameter.name in taken:
                raise click.UsageError(f"{parameter.opts[0]} is an option of the recipe itself; give it to the recipe")
        return command.make_context(command.name, [*needed, *arguments])
    except click.exceptions.Exit:
        raise click.UsageError(f"{option}: --help and --version do not work here") from None
    except click.UsageError as error:
        raise click.UsageError(f"{option}: {error.format_message()}") from error
