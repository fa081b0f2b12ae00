"""What the commands share: errors as one message, and options that several of them take."""

from pathlib import Path

import click

from soctk.errors import SoctkError

CONTEXT = {"show_default": True, "help_option_names": ["-h", "--help"]}


class Command(click.Command):
    """A command that prints a SoctkError as one message and exits with 1; wrong usage exits with 2, as click has it."""

    def invoke(self, ctx: click.Context):
        """Run the command."""
        try:
            return super().invoke(ctx)
        except SoctkError as error:
            raise click.ClickException(str(error)) from error


class Numbers(click.ParamType):
    """Whole numbers in one argument, such as "1 2 3"."""

    name = "numbers"

    def convert(self, value, param, ctx):
        """Return a list of int."""
        if isinstance(value, list):
            return value
        try:
            return [int(word) for word in value.replace(",", " ").split()]
        except ValueError:
            self.fail(f"'{value}' is not a list of whole numbers such as \"1 2 3\"", param, ctx)


class Directory(click.Path):
    """A directory, as pathlib.Path."""

    def __init__(self, **options):
        super().__init__(file_okay=False, path_type=Path, **options)


nj_option = click.option("--nj", type=click.IntRange(min=1), default=1, help="How many processes share the work.")
device_option = click.option(
    "--device", type=click.Choice(["cpu", "cuda", "auto"]), default="auto", help="auto: a GPU where there is one."
)
