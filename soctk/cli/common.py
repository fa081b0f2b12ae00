"""Options of several commands, and how all commands report errors, the version, and Ctrl-C."""

import gc
import shlex
import signal
import sys
from pathlib import Path

import click

import soctk
from soctk.errors import SoctkError

CONTEXT = {"show_default": True, "help_option_names": ["-h", "--help"]}


class Command(click.Command):
    """A command with --version, whose errors are one message.

    Exit codes: 0 done, 1 an error that a user can correct, 2 wrong usage, 130 interrupted (Ctrl-C).
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        click.version_option(soctk.__version__, message="soctk %(version)s")(self)

    def invoke(self, ctx: click.Context):
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            gc.freeze()  # the interpreter then ends without collecting all of torch, which takes seconds
            click.echo("Interrupted. Finished work is kept; run the command again to continue.", err=True)
            raise click.exceptions.Exit(128 + signal.SIGINT) from None
        except SoctkError as error:
            raise click.ClickException(str(error)) from error
        except BrokenPipeError:
            raise  # the reader of our output has seen enough; click ends quietly
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            remedy = "Check the path, its permissions, and the space left on the disk."
            raise click.ClickException(f"{place}{error.strerror or error}\n{remedy}") from error


def command_line() -> str:
    """Return the command line of this process."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


class Numbers(click.ParamType):
    """Different whole numbers from 0 in one argument, such as "1 2 3".

    Args:
        at_least: how many are needed.
    """

    name = "numbers"
    description = 'a list of different whole numbers such as "1 2 3"'

    def __init__(self, at_least: int = 0):
        self.at_least = at_least

    def convert(self, value, param, ctx):
        """Return a list of int."""
        if isinstance(value, list):
            return value
        words = value.replace(",", " ").split()
        if not all(word.isdecimal() and int(word) < 2**32 for word in words) or len(set(map(int, words))) < len(words):
            self.fail(f"'{value}' is not {self.description}", param, ctx)
        if len(words) < self.at_least:
            self.fail("at least one number is needed", param, ctx)
        return [int(word) for word in words]


class Layers(Numbers):
    """Hidden states: numbers from 0, or a word."""

    name = "layers"

    def __init__(self, *words: str):
        super().__init__(at_least=1)
        self.words = words
        self.description = f'{", ".join(words)} or a list of different whole numbers such as "3 4"'

    def convert(self, value, param, ctx):
        """Return a tuple of int, or the word."""
        if value in self.words or isinstance(value, tuple):
            return value
        return tuple(super().convert(value, param, ctx))


class Enrol(click.ParamType):
    """A number of utterances from 0, or `all`."""

    name = "enrol"

    def convert(self, value, param, ctx):
        """Return an int, or `all`."""
        if value == "all" or isinstance(value, int):
            return value
        if not value.isdecimal():
            self.fail(f"'{value}' is not all or a whole number", param, ctx)
        return int(value)


class Words(click.ParamType):
    """Arguments of another command in one argument, with a shell's quotes. Nothing in them is evaluated."""

    name = "words"

    def convert(self, value, param, ctx):
        """Return a list of str."""
        if isinstance(value, list):
            return value
        try:
            return shlex.split(value)
        except ValueError:
            self.fail(f"a quote (', \" or \\) is not closed: {value}", param, ctx)


class Speeds(click.ParamType):
    """Different speeds from 0.5 to 2, other than 1, such as "0.9 1.1"."""

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


seeds_option = click.option("--seeds", type=Numbers(at_least=1), default="1", help='Seeds, such as "1 2 3".')
folds_option = click.option(
    "--folds", type=Numbers(), default="", help='Folds to test, such as "1 2".', show_default="all"
)
nj_option = click.option("--nj", type=click.IntRange(min=1), default=1, help="Number of processes.")
device_option = click.option(
    "--device",
    type=click.Choice(["cpu", "cuda", "auto"]),
    default="auto",
    help="Where to compute. auto: on a GPU if the machine has one.",
)

conf_option = click.option(
    "--conf",
    "conf_dirs",
    type=Directory(),
    multiple=True,
    help="Directory of YAML settings, merged over soctk's own. If several set a value, the last one wins.",
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
combine_option = click.option(
    "--combine",
    type=click.Choice(["sum", "concat"]),
    help="Several layers: sum (with learned weights) or concat (the descriptors of each).",
    show_default="concat for the head linear, sum for mlp",
)
recentre_option = click.option(
    "--recentre",
    type=click.Choice(["none", "speaker"]),
    help="speaker: subtract each speaker's mean descriptor. It uses unlabelled recordings of the test speakers.",
    show_default="as in conf/recentre.yaml: none",
)
enrol_option = click.option(
    "--enrol",
    metavar="N",
    type=Enrol(),
    help="With --recentre: number of recordings that give a test speaker's mean, or all.",
    show_default="as in conf/recentre.yaml: all",
)
speed_option = click.option(
    "--speed-perturb",
    "speeds",
    type=Speeds(),
    default="",
    help='Add copies of each recording at these speeds, such as "0.9 1.1".',
    show_default="none",
)
set_option = click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Change one setting, such as train.lr=1e-3."
)

compare_option = click.option("--compare", is_flag=True, help="Test the differences between all pairs of experiments.")
published_option = click.option(
    "--published",
    "published_scores",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Table of published scores to print beside yours.",
    show_default="soctk's conf/published.csv",
)
exp_argument = click.argument("exp", type=Directory(), nargs=-1, required=True)
data_option = click.option("--data", type=Directory(), help="Data directory.", show_default="as recorded in the runs")
feats_option = click.option("--feats", type=Directory(), help="Feature store.", show_default="as recorded in the runs")
descriptors_option = click.option(
    "--descriptors/--no-descriptors",
    "has_descriptors",
    default=True,
    help="Draw the figures that need features and models.",
)
