"""Options that several commands share, and the base command: it reports errors, the version, and Ctrl-C."""

import atexit
import errno
import functools
import gc
import io
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

import soctk
from soctk.errors import SoctkError

CONTEXT = {"show_default": True, "help_option_names": ["-h", "--help"]}

atexit.register(gc.freeze)  # skips the garbage collection at exit, which takes up to a second if torch is loaded


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pause Python's garbage collection while packages are imported and a model is loaded.

    It would take a quarter of the time of torch's and transformers' imports, and find nothing to collect. What is
    loaded stays, so that later collections need not look at it either.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def given_options(command: click.Command, ctx: click.Context, arguments: Sequence[str]) -> list[click.Option]:
    """Return the options in the arguments of a command, in their order; a repeated option is returned repeatedly.

    Raises:
        click.UsageError: an option is unknown, or lacks its value.
    """
    *_, order = command.make_parser(ctx).parse_args(list(arguments))
    return [parameter for parameter in order if isinstance(parameter, click.Option)]


class Command(click.Command):
    """A command with --version that reports an error as one message, and refuses an option that is given twice.

    Exit codes: 0 done, 1 an error that a user can correct, 2 wrong usage, 130 interrupted (Ctrl-C).
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        click.version_option(soctk.__version__, message="soctk %(version)s")(self)

    def main(self, *args, **options):
        """Run the command; characters that the output cannot show, such as a path that is not UTF-8, are escaped."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        return super().main(*args, **options)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; click itself would silently keep the last value of a repeated option.

        Raises:
            click.UsageError: the arguments are wrong, or an option that takes one value is given twice.
        """
        given = given_options(self, ctx, args)
        for parameter in given:
            if given.count(parameter) > 1 and not (parameter.multiple or parameter.is_eager):
                name = "/".join([*parameter.opts, *parameter.secondary_opts])
                hint = ""
                if isinstance(parameter.type, Listed):
                    hint = f', with all values in one argument, such as {parameter.opts[0]} "{parameter.type.example}"'
                raise click.UsageError(f"{name} is given {given.count(parameter)} times. Give it once{hint}.", ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context):
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Interrupted. Finished work is kept; run the command again to continue.", err=True)
            raise click.exceptions.Exit(128 + signal.SIGINT) from None
        except SoctkError as error:
            raise click.ClickException(str(error)) from error
        except BrokenPipeError:
            raise  # the output is a closed pipe, such as of `head`; click exits without a message
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            remedy = "Check the path, its permissions, and the space left on the disk."
            if error.errno == errno.ELOOP:
                remedy = "It is a symbolic link, and soctk follows no links where it writes: remove the link."
            raise click.ClickException(f"{place}{error.strerror or error}\n{remedy}") from error


class Option(click.Option):
    """An option that prints a described default as [default: none]; click prints [default: (none)]."""

    def get_help_extra(self, ctx):
        """Return the parts of the brackets at the end of the help text."""
        extra = super().get_help_extra(ctx)
        return {**extra, "default": self.show_default} if isinstance(self.show_default, str) else extra


option = functools.partial(click.option, cls=Option)


class Listed(click.ParamType):
    """Several values in one argument.

    Attributes:
        example: an argument with two values.
    """

    example: str


class Numbers(Listed):
    """Different whole numbers from 0 in one argument, such as "1 2 3".

    Args:
        at_least: the smallest allowed count of numbers.
    """

    name, example = "numbers", "1 2"
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
    """Hidden states: numbers from 0, or a word.

    Args:
        words: the allowed words, such as `all`.
    """

    name, example = "layers", "3 4"

    def __init__(self, *words: str):
        super().__init__(at_least=1)
        self.words = words
        self.description = f'{", ".join(words)} or a list of different whole numbers such as "3 4"'

    def convert(self, value, param, ctx):
        """Return a tuple of int, or the word."""
        if value in self.words or isinstance(value, tuple):
            return value
        return tuple(super().convert(value, param, ctx))


class Words(click.ParamType):
    """Arguments for another command, as one text; it is split as a shell does, but no variable is expanded."""

    name = "words"

    def convert(self, value, param, ctx):
        """Return a list of str."""
        if isinstance(value, list):
            return value
        try:
            return shlex.split(value)
        except ValueError:
            self.fail(f"a quote (', \" or \\) is not closed: {value}", param, ctx)


class Speeds(Listed):
    """Different speeds from 0.5 to 2, other than 1, such as "0.9 1.1"."""

    name, example = "speeds", "0.9 1.1"

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


class Augmentations(Listed):
    """Different augmentations, such as "noise reverb"; soctk.schema has their names."""

    name, example = "augmentations", "noise reverb"

    def convert(self, value, param, ctx):
        """Return a tuple of str, in the order of soctk.schema."""
        if isinstance(value, tuple):
            return value
        from soctk.schema import AUGMENTATIONS

        names = value.replace(",", " ").split()
        if len(set(names)) < len(names) or not set(names) <= set(AUGMENTATIONS):
            self.fail(f"'{value}' is not a list of different names from: {', '.join(AUGMENTATIONS)}", param, ctx)
        return tuple(name for name in AUGMENTATIONS if name in names)


class Directory(click.Path):
    """A directory, as pathlib.Path."""

    def __init__(self, **options):
        super().__init__(file_okay=False, path_type=Path, **options)


class Model(click.Path):
    """A packed model, as str: a folder, or an id OWNER/NAME on the Hugging Face hub."""

    def __init__(self):
        super().__init__(file_okay=False, path_type=str)


class File(click.Path):
    """A file, as pathlib.Path."""

    def __init__(self, **options):
        super().__init__(dir_okay=False, path_type=Path, **options)


seeds_option = option("--seeds", type=Numbers(at_least=1), default="1", help='Random seeds, such as "1 2 3".')
folds_option = option("--folds", type=Numbers(), default="", help='Folds to test, such as "1 2".', show_default="all")
nj_option = option("--nj", type=click.IntRange(min=1), default=1, help="Number of parallel processes.")
cluster_option = option(
    "--cluster",
    metavar="FILE|local:N|tcp://HOST:PORT",
    help="Give the work to Dask workers: a cluster file such as conf/cluster/slurm.yaml, local:N for N processes on "
    "this machine, or the address of a running scheduler. Needs the extra cluster.",
    show_default="processes on this machine (--nj)",
)
device_option = option(
    "--device",
    type=click.Choice(["cpu", "cuda", "auto"]),
    default="auto",
    help="Processor to compute on. auto: a GPU if this machine, or each worker of --cluster, has one.",
)

encoder_option = option(
    "--encoder",
    metavar="DIR|MODULE:CLASS|FILE.py:CLASS",
    type=Directory(),
    help="Folder of the encoder; or your own class, if the model was trained with one.",
    show_default="the one in the model, or on the hub",
)
runtime_option = option(
    "--runtime",
    type=click.Choice(("torch", "onnx")),
    default="torch",
    help="What computes. onnx starts faster, without torch, and needs a model packed with soctk-pack --onnx.",
)
revision_option = option(
    "--revision",
    help="Commit, tag or branch of a MODEL on the Hugging Face hub.",
    show_default="the newest commit",
)

conf_option = option(
    "--conf",
    "conf_dirs",
    type=Directory(),
    multiple=True,
    help="Directory of YAML settings that override soctk's own. Can be repeated; the last one wins.",
)
speed_option = option(
    "--speed-perturb",
    "speeds",
    type=Speeds(),
    default="",
    help='Add copies of each recording at these speeds, such as "0.9 1.1", to the training; in the test, the '
    "posteriors of all speeds are averaged.",
    show_default="none",
)
augment_option = option(
    "--augment",
    "augmentations",
    metavar="NAMES",
    type=Augmentations(),
    default="",
    help="Add degraded copies of each recording, for training only, one for each of noise, babble, reverb, pitch, gain "
    'and codec that you name, such as "noise babble".',
    show_default="none",
)
normalise_option = option(
    "--normalise",
    type=click.Choice(["none", "level"]),
    default="none",
    help="level: scale each recording to -26 dBFS (RMS) before the encoder, to see what its level contributes.",
)
compare_option = option(
    "--compare", is_flag=True, help="Test whether the differences between experiments are significant, for all pairs."
)
published_option = option(
    "--published",
    "published_scores",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Table of published scores to print beside yours.",
    show_default="soctk's conf/published.csv",
)
exp_argument = click.argument("exp", type=Directory(), nargs=-1, required=True)
data_option = option("--data", type=Directory(), help="Data directory.", show_default="the one recorded in each run")
feats_option = option("--feats", type=Directory(), help="Feature store.", show_default="the one recorded in each run")
descriptors_option = option(
    "--descriptors/--no-descriptors",
    "has_descriptors",
    default=True,
    help="Draw the figures that take long: t-SNE of the logits; and log-covariances, which need the feature store and "
    "the models.",
)
