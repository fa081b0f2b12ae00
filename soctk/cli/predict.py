"""soctk-predict: the emotions of recordings, by a packed model."""

import math
import signal
import sys
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
    cluster_option,
    collection_paused,
    device_option,
    encoder_option,
    option,
    revision_option,
    runtime_option,
)

if TYPE_CHECKING:
    from soctk.inference.runtime import RuntimeName

_PIPE = "-"
_FORMATS = ("tsv", "csv", "jsonl", "textgrid", "audacity", "audformat")
_PICTURES = (".png", ".pdf", ".svg")
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
    "--vad",
    "is_speech",
    is_flag=True,
    help="Classify the stretches of speech, without pauses and noise; with --window, windows within speech.",
)
@option(
    "--plot",
    type=File(),
    metavar="FILE.png|pdf|svg",
    help="Draw the emotions of one recording over time; with --window, --vad or --stream.",
    show_default="off",
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
@runtime_option
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
@cluster_option
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
    is_speech: bool,
    plot: Path | None,
    is_stream: bool,
    rate: int | None,
    channel: str | None,
    enrol: str | None,
    encoder: Path | None,
    revision: str | None,
    runtime: "RuntimeName",
    score: Path | None,
    labels: Path | None,
    cluster: str | None,
    device: str,
) -> None:
    """Print the emotions of recordings, by a model that soctk-pack wrote.

    MODEL is its folder, or its id OWNER/NAME on the Hugging Face hub.

    INPUT is a recording, a folder with recordings, a data directory, @FILE (a list with one of these on each line), or
    - (sound from a pipe). Each line has the recording, start and end in s, the emotion with the highest posterior, this
    posterior as confidence, and the posteriors of all emotions; or, from a model of dimensions, a column for each
    dimension.

    With --window, each recording has a line for each window, and then one for the whole recording: the mean of the
    posteriors of its windows. With --vad, it has a line for each stretch of speech instead, and the mean is weighted by
    their durations. Recordings that cannot be used are named on standard error; the others are classified,
    and the exit code is 1.
    """
    _check_usage(ctx, inputs)
    if is_stream:
        window = window or _WINDOW
    hop = hop or min(_HOP, window or _HOP)
    try:
        with collection_paused():
            from soctk.cli import classify
            from soctk.cluster.option import open_cluster
            from soctk.corpus.datadir import check_channel
            from soctk.inference.answers import Division
            from soctk.inference.recogniser import Recogniser

            if channel:
                check_channel(channel, "--channel")
            problems = classify.Problems()
            found = [] if is_stream or score else classify.find(inputs, form, output, plot, problems)
            needs_model = bool(found or is_stream or score)
            own_device = "cpu" if cluster else device  # with a cluster, this machine need not have a GPU
            loaded = Recogniser.load(model, encoder, own_device, revision, runtime) if needs_model else None
        if loaded and score:
            classify.score(loaded, inputs[0], score, labels)
        elif loaded:
            loaded = loaded.with_channel(channel) if channel else loaded
            division = Division(window, hop, is_speech)
            speaker = classify.enrol(loaded, enrol, Path(model), division)
            method = classify.Method(loaded, speaker, division, has_channel=bool(channel), rate=rate)
            with ExitStack() as stack:
                if is_stream:
                    predictions = classify.listen(method)
                elif cluster:
                    folder = output.parent if output else Path.cwd()
                    needed = [found[0].path, *(Path(name) for name in (model, encoder, enrol) if name)]
                    opened = open_cluster(cluster, device, folder, needed)
                    executor, device = stack.enter_context(opened)
                    assert executor is not None
                    loading = classify.Loading(model, encoder, device, revision, runtime, channel, enrol, division)
                    predictions = classify.each_on(executor, found, loading, method, problems, bool(output))
                else:
                    predictions = classify.each(found, method, problems, has_progress=bool(output))
                if plot:
                    predictions = classify.plotted(predictions, loaded.emotions, plot, problems)
                classify.write(predictions, form, loaded, output, problems)
        problems.finish()
    except KeyboardInterrupt:
        lost = "".join(f" {file} is not written." for file in (output, plot) if file)
        click.echo(f"Interrupted.{lost}", err=True)
        raise click.exceptions.Exit(128 + signal.SIGINT) from None


def _check_usage(ctx: click.Context, inputs: tuple[str, ...]) -> None:
    """Refuse options that contradict each other, or that would have no effect."""
    given = {
        parameter.name: parameter.opts[-1]
        for parameter in ctx.command.params
        if parameter.name and ctx.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    }
    if "score" in given:
        others = [given[name] for name in given if name in ("form", "output", "window", "hop", "is_speech", "plot",
                                                             "is_stream", "rate", "channel", "enrol")]  # fmt: skip
        if others:
            raise click.UsageError(f"--score writes predictions for soctk-score; {others[0]} does not work with it")
        if len(inputs) > 1:
            raise click.UsageError("--score takes one data directory")
    elif "labels" in given:
        raise click.UsageError("--labels works with --score only")
    if "hop" in given and not {"window", "is_stream"} & given.keys():
        raise click.UsageError("--hop works with --window or --stream only")
    if "plot" in given:
        if not {"window", "is_speech", "is_stream"} & given.keys():
            raise click.UsageError("--plot draws emotions over time; add --window, --vad or --stream")
        if ctx.params["plot"].suffix.lower() not in _PICTURES:
            raise click.UsageError(f"--plot FILE ends with one of {', '.join(_PICTURES)}")
        if ctx.params["plot"] == ctx.params["output"]:
            raise click.UsageError("--plot and -o are the same file")
    if "is_stream" in given:
        if "is_speech" in given:
            raise click.UsageError("--vad needs the end of the sound, so it does not work with --stream")
        if inputs != (_PIPE,):
            raise click.UsageError("--stream takes - as the only INPUT: the sound from a pipe")
        if "output" in given:
            raise click.UsageError("--stream prints while the sound arrives; write > FILE instead of -o FILE")
        if ctx.params["form"] == "textgrid":
            raise click.UsageError("--format textgrid cannot be written while the sound arrives")
    if "cluster" in given and ("score" in given or _PIPE in inputs):
        raise click.UsageError("--cluster classifies files; it does not work with --score or a pipe")
    if _PIPE in inputs:
        if sys.stdin is None or sys.stdin.isatty():
            raise click.UsageError("- needs sound from a pipe, such as: arecord -f S16_LE -r 16000 | soctk-predict ...")
        if inputs.count(_PIPE) > 1:
            raise click.UsageError("- is given more than once, and there is one pipe")
    elif "rate" in given:
        raise click.UsageError("--rate is for raw samples from a pipe, with - as INPUT; files have their rate inside")
