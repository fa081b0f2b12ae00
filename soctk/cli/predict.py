"""soctk-predict: the emotions of recordings, by a packed model."""

import gc
import math
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from soctk.cli.common import (
    CONTEXT,
    Command,
    Directory,
    File,
    Model,
    device_option,
    encoder_option,
    option,
    revision_option,
)

if TYPE_CHECKING:
    from soctk.errors import SoctkError
    from soctk.inference.outputs import Prediction
    from soctk.inference.recogniser import Recogniser, Speaker
    from soctk.inference.sources import Source

_PIPE = "-"
_FORMATS = ("tsv", "csv", "jsonl", "textgrid", "audacity", "audformat")
_WINDOW, _HOP = 3.0, 1.0  # s


class Seconds(click.ParamType):
    """A time greater than 0, in s."""

    name = "s"

    def convert(self, value, param, ctx):
        """Return a float."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            self.fail(f"'{value}' is not a time greater than 0, in s", param, ctx)
        return seconds


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("model", type=Model())
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@option("--format", "form", type=click.Choice(_FORMATS), default="tsv", help="Format of the output.")
@option("-o", "--output", type=File(), help="Write the output to this file.", show_default="the screen")
@option("--window", type=Seconds(), help="Classify windows of this length in s too.", show_default="no windows")
@option(
    "--hop",
    type=Seconds(),
    help="Time from the start of a window to the start of the next, in s.",
    show_default=f"{_HOP:g}, or the window if it is shorter",
)
@option(
    "--stream",
    "is_stream",
    is_flag=True,
    help=f"With -: classify windows while the sound arrives ({_WINDOW:g} s, unless --window gives another length).",
)
@option(
    "--rate",
    type=click.IntRange(1000, 1_000_000),
    help="With -: the pipe has raw samples (signed 16 bits, little-endian, one channel) with this rate in Hz.",
    show_default="the pipe has a file, such as WAV",
)
@option(
    "--channel",
    metavar="1|2|...|mix",
    help="Channel of the recordings, or mix for the mean of all.",
    show_default="that of the data directory, or else of the training",
)
@option(
    "--enrol",
    metavar="DIR",
    help="Recordings of the speaker of all inputs, without labels: a folder. For models with re-centring.",
    show_default="none",
)
@encoder_option
@revision_option
@option(
    "--score",
    type=Directory(),
    help="INPUT is a data directory with labels: write predictions for soctk-score to this new directory.",
    show_default="off",
)
@option(
    "--labels",
    type=File(),
    help="With --score: label map, a YAML file with lines LABEL: CLASS.",
    show_default="labels are the classes of the model",
)
@device_option
@click.pass_context
def main(
    ctx: click.Context,
    model: str,
    inputs: tuple[str, ...],
    form: str,
    output: Path | None,
    window: float | None,
    hop: float | None,
    is_stream: bool,
    rate: int | None,
    channel: str | None,
    enrol: str | None,
    encoder: Path | None,
    revision: str | None,
    score: Path | None,
    labels: Path | None,
    device: str,
) -> None:
    """Print the emotions of recordings, by a model that soctk-pack wrote.

    MODEL is its folder, or its id OWNER/NAME on the Hugging Face hub.

    INPUT is a recording, a folder with recordings, a data directory, @FILE (a list with one of these on each line), or
    - (sound from a pipe). Each line has the recording, start and end in s, the emotion with the highest posterior, this
    posterior as confidence, and the posteriors of all emotions.

    With --window, each recording has a line for each window, and then one for the whole recording: the mean of the
    posteriors of its windows. Recordings that cannot be used are named on standard error; the others are classified,
    and the exit code is 1.
    """
    _check_usage(ctx, inputs)
    if is_stream:
        window = window or _WINDOW
    hop = hop or min(_HOP, window or _HOP)
    try:
        from soctk.corpus.datadir import check_channel
        from soctk.device import resolve
        from soctk.inference import answers, enrolment
        from soctk.inference.recogniser import Recogniser

        device = resolve(device)
        if channel:
            check_channel(channel, "--channel")
        if score:
            _score(Recogniser.load(model, encoder, device, revision), inputs[0], score, labels, device)
            return
        problems = _Problems()
        found = [] if is_stream else _find(inputs, form, output, problems)
        if found or is_stream:
            loaded = Recogniser.load(model, encoder, device, revision)
            loaded = loaded.with_channel(channel) if channel else loaded
            speaker = enrolment.enrol(loaded, enrol, Path(model))
            if window:
                _check_windows(loaded, window, hop, speaker)
            if is_stream:
                predictions = answers.live(loaded, _PIPE, sys.stdin.fileno(), rate, speaker, window or _WINDOW, hop)
            else:
                predictions = _classify(loaded, found, channel, speaker, window, hop, rate, problems, bool(output))
            _write(predictions, form, loaded.emotions, output, problems)
        problems.finish()
    except KeyboardInterrupt:
        gc.freeze()  # skips the garbage collection at exit, which takes seconds if torch is loaded
        click.echo(f"Interrupted.{f' {output} is not written.' if output else ''}", err=True)
        raise click.exceptions.Exit(128 + signal.SIGINT) from None


def _check_usage(ctx: click.Context, inputs: tuple[str, ...]) -> None:
    """Refuse options that contradict each other, or that would have no effect."""
    given = {
        parameter.name: parameter.opts[-1]
        for parameter in ctx.command.params
        if parameter.name and ctx.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    }
    if "score" in given:
        others = [given[name] for name in given if name in ("form", "output", "window", "hop", "is_stream", "rate",
                                                             "channel", "enrol")]  # fmt: skip
        if others:
            raise click.UsageError(f"--score writes predictions for soctk-score; {others[0]} does not work with it")
        if len(inputs) > 1:
            raise click.UsageError("--score takes one data directory")
    elif "labels" in given:
        raise click.UsageError("--labels works with --score only")
    if "hop" in given and not {"window", "is_stream"} & given.keys():
        raise click.UsageError("--hop works with --window or --stream only")
    if "is_stream" in given:
        if inputs != (_PIPE,):
            raise click.UsageError("--stream takes - as the only INPUT: the sound from a pipe")
        if "output" in given:
            raise click.UsageError("--stream prints while the sound arrives; write > FILE instead of -o FILE")
        if ctx.params["form"] == "textgrid":
            raise click.UsageError("--format textgrid cannot be written while the sound arrives")
    if _PIPE in inputs:
        if sys.stdin is None or sys.stdin.isatty():
            raise click.UsageError("- needs sound from a pipe, such as: arecord -f S16_LE -r 16000 | soctk-predict ...")
        if inputs.count(_PIPE) > 1:
            raise click.UsageError("- is given more than once, and there is one pipe")
    elif "rate" in given:
        raise click.UsageError("--rate is for raw samples from a pipe, with - as INPUT; files have their rate inside")


class _Problems:
    """Prints an error for each input that cannot be classified, and all remedies at the end.

    Attributes:
        is_everything: whether no input has been classified so far.
    """

    def __init__(self) -> None:
        self.is_everything = True
        self._remedies: dict[str, int] = {}

    def add(self, name: str, error: "SoctkError") -> None:
        from soctk.errors import printable

        click.echo(f"Error: {printable(name)}: {error.what}", err=True)
        self._remedies[error.remedy] = self._remedies.get(error.remedy, 0) + 1

    def finish(self) -> None:
        """End the command with the exit code 1 if something could not be classified."""
        if self._remedies:
            count = sum(self._remedies.values())
            click.echo(f"{count} of the inputs could not be classified. What to do:", err=True)
            for remedy, of_this_kind in self._remedies.items():
                click.echo(f"  ({of_this_kind}) {remedy}", err=True)
            raise click.exceptions.Exit(1)


def _find(inputs: tuple[str, ...], form: str, output: Path | None, problems: _Problems) -> "list[Source]":
    """Return the recordings to classify."""
    from soctk.errors import SoctkError
    from soctk.inference import outputs, sources

    every = []
    for source in sources.expand(inputs):
        if isinstance(source, SoctkError):
            problems.add(str(source.where), source)
        else:
            every.append(source)
    found = sources.distinct(every)
    if len(found) < len(every):
        click.echo(f"Note: of {len(every)} inputs, {len(every) - len(found)} are repeated; they are classified once.",
                   err=True)  # fmt: skip
    if form in outputs.OF_ONE_RECORDING and len(found) > 1:
        raise click.UsageError(f"--format {form} describes one recording, not {len(found)}; run the command for each")
    if output and output.exists() and any(output.samefile(source.path) for source in found if source.path.exists()):
        raise SoctkError("it is one of the inputs", remedy="Choose another file.", where=f"--output {output}")
    return found


def _check_windows(model: "Recogniser", window: float, hop: float, speaker: "Speaker | None") -> None:
    from soctk.errors import SoctkError

    try:
        model.stream(model.settings.encoder.sample_rate, window, hop, speaker)
    except ValueError as error:
        raise SoctkError(str(error), remedy="Change --window or --hop.", where="--window, --hop") from error


def _classify(
    model: "Recogniser",
    found: "list[Source]",
    channel: str | None,
    speaker: "Speaker | None",
    window: float | None,
    hop: float,
    rate: int | None,
    problems: _Problems,
    has_progress: bool,
) -> "Iterator[Prediction]":
    """Yield the answers; recordings that cannot be used are reported."""
    from soctk.corpus.segments import Clip
    from soctk.errors import SoctkError
    from soctk.inference import answers, pipes
    from soctk.progress import track

    items: Iterable[Source] = track(found, "predict", "file") if has_progress else found
    for source in items:
        used = model.with_channel(source.channel) if source.channel and not channel else model
        try:
            with ExitStack() as stack:
                is_pipe = source.name == _PIPE
                clip = Clip(stack.enter_context(pipes.saved(sys.stdin.buffer, rate))) if is_pipe else source.clip
                if window:
                    yield from answers.windows(used, source.name, clip, speaker, window, hop)
                else:
                    yield answers.whole(used, source.name, clip, speaker)
                problems.is_everything = False
        except SoctkError as error:
            problems.add(source.name, error)


def _write(
    predictions: "Iterator[Prediction]", form: str, emotions: list[str], output: Path | None, problems: _Problems
) -> None:
    """Write the answers to the screen as they come, or to a file, which appears when it is complete."""
    from soctk.files import atomic
    from soctk.inference import outputs

    pieces = outputs.FORMATS[form](predictions, emotions)
    if output is None:
        for piece in pieces:
            click.echo(piece, nl=False)
        return
    with atomic(output) as path, path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        file.writelines(pieces)
        if problems.is_everything:
            problems.finish()  # raises, so that no file without an answer appears


def _score(model: "Recogniser", folder: str, directory: Path, labels: Path | None, device: str) -> None:
    from soctk.corpus import datadir
    from soctk.corpus.labels import read as read_labels
    from soctk.inference import labelled

    data = datadir.read(Path(folder))
    selected = labelled.select(data, model, read_labels(labels) if labels else {})
    click.echo(f"{folder}: {selected.summary}")
    run = labelled.write(model, selected, directory, device)
    click.echo(f"{run.predictions}: written\nsoctk-score {directory}")
