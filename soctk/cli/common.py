"""What the commands share: errors as one message, and options that several of them take."""

import shlex
import sys
from pathlib import Path

import click

from soctk.errors import SoctkError

CONTEXT = {"show_default": True, "help_option_names": ["-h", "--help"]}


class Command(click.Command):
    """A command that prints what a user can mend as one message and exits with 1; wrong usage exits with 2."""

    def invoke(self, ctx: click.Context):
        """Run the command."""
        try:
            return super().invoke(ctx)
        except SoctkError as error:
            raise click.ClickException(str(error)) from error
        except BrokenPipeError:
            raise  # the reader of our output has seen enough; click ends quietly
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            remedy = "Check the path, its permissions, and the space left on the disk."
            raise click.ClickException(f"{place}{error.strerror or error}\n{remedy}") from error


def command_line() -> str:
    """Return the command with its arguments, as one would type it."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


class Numbers(click.ParamType):
    """Different whole numbers from 0 in one argument, such as "1 2 3"."""

    name = "numbers"

    def convert(self, value, param, ctx):
        """Return a list of int."""
        if isinstance(value, list):
            return value
        words = value.replace(",", " ").split()
        if not all(word.isdecimal() and int(word) < 2**32 for word in words) or len(set(map(int, words))) < len(words):
            self.fail(f"'{value}' is not a list of different whole numbers such as \"1 2 3\"", param, ctx)
        return [int(word) for word in words]


class Layers(Numbers):
    """Hidden states: numbers from 0, or a word."""

    name = "layers"

    def __init__(self, *words: str):
        self.words = words

    def convert(self, value, param, ctx):
        """Return a tuple of int, or the word."""
        if value in self.words or isinstance(value, tuple):
            return value
        return tuple(super().convert(value, param, ctx)) or self.fail("no layer is named", param, ctx)


class Speeds(click.ParamType):
    """Speeds to play recordings at, such as "0.9 1.1"; 1 is none."""

    name = "speeds"

    def convert(self, value, param, ctx):
        """Return a tuple of float."""
        if isinstance(value, tuple):
            return value
        try:
            speeds = tuple(float(word) for word in value.replace(",", " ").split())
        except ValueError:
            speeds = (1.0,)
        if len({f"{speed:g}" for speed in speeds}) < len(speeds) or not all(
            0.5 <= speed <= 2 and speed != 1 for speed in speeds
        ):
            self.fail(f"'{value}' is not a list of different speeds from 0.5 to 2, other than 1", param, ctx)
        return speeds


class Directory(click.Path):
    """A directory, as pathlib.Path."""

    def __init__(self, **options):
        super().__init__(file_okay=False, path_type=Path, **options)


class File(click.Path):
    """A file, as pathlib.Path."""

    def __init__(self, **options):
        super().__init__(dir_okay=False, path_type=Path, **options)


nj_option = click.option("--nj", type=click.IntRange(min=1), default=1, help="How many processes share the work.")
device_option = click.option(
    "--device", type=click.Choice(["cpu", "cuda", "auto"]), default="auto", help="auto: a GPU where there is one."
)

conf_option = click.option(
    "--conf",
    "conf_dirs",
    type=Directory(),
    multiple=True,
    help="Directory of settings to merge over soctk's own; the last one wins.",
)
preset_option = click.option(
    "--preset",
    default="default",
    help="Settings to start from: default, or paper (pooling, head and training of the SOC paper).",
)
pooling_option = click.option(
    "--pooling", help="A name in conf/pooling, or several joined by +.", show_default="from the preset"
)
head_option = click.option(
    "--head",
    help="Classifier: linear (logistic regression), mlp, or auto (mlp for poolings with trained parameters).",
    show_default="from the preset",
)
set_option = click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="One setting, such as train.lr=1e-3."
)

compare_option = click.option("--compare", is_flag=True, help="Test the difference of every two experiments.")
published_option = click.option(
    "--published",
    "figures",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Table of published figures.",
    show_default="the checkout's conf/published.csv",
)
exp_argument = click.argument("exp", type=Directory(), nargs=-1, required=True)
data_option = click.option(
    "--data", type=Directory(), help="Data directory.", show_default="the one that the runs name"
)
feats_option = click.option(
    "--feats", type=Directory(), help="Feature store.", show_default="the one that the runs name"
)
descriptors_option = click.option(
    "--descriptors/--no-descriptors",
    "has_descriptors",
    default=True,
    help="Draw the pictures that need features and models.",
)
