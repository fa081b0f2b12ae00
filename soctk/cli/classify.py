"""The work of soctk-predict: find the recordings, classify them, and write the answers.

Inputs that cannot be classified are reported; the others are classified.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import click

from soctk.corpus import datadir
from soctk.corpus.labels import read as read_labels
from soctk.corpus.segments import Clip
from soctk.errors import SoctkError, plural, printable
from soctk.files import atomic
from soctk.inference import answers, enrolment, outputs, pipes, sources, windows
from soctk.inference.answers import Division
from soctk.inference.outputs import Prediction
from soctk.inference.recogniser import Recogniser, Speaker
from soctk.inference.runtime import RuntimeName
from soctk.inference.sources import PIPE, Source
from soctk.parallel import Executor, Job
from soctk.progress import track

_CHUNK = 32  # recordings in a job of a cluster


class Problems:
    """Prints an error for each input that cannot be classified, and all remedies at the end.

    Attributes:
        is_everything: whether no input has been classified so far.
    """

    def __init__(self) -> None:
        self.is_everything = True
        self._remedies: dict[str, int] = {}

    def add(self, name: str, error: SoctkError) -> None:
        """Print the error about an input."""
        click.echo(f"Error: {printable(name)}: {error.what}", err=True)
        self._remedies[error.remedy] = self._remedies.get(error.remedy, 0) + 1

    def __bool__(self) -> bool:
        return bool(self._remedies)

    def finish(self) -> None:
        """End the command with the exit code 1 if something could not be classified."""
        if self:
            count = sum(self._remedies.values())
            click.echo(f"{count} of the inputs could not be classified. What to do:", err=True)
            for remedy, of_this_kind in self._remedies.items():
                click.echo(f"  ({of_this_kind}) {remedy}", err=True)
            raise click.exceptions.Exit(1)


def find(
    inputs: tuple[str, ...], form: str, output: Path | None, plot: Path | None, problems: Problems
) -> list[Source]:
    """Return the recordings to classify."""
    every = []
    for source in sources.expand(inputs):
        if isinstance(source, SoctkError):
            problems.add(str(source.where), source)
        else:
            every.append(source)
    found = sources.distinct(every)
    if len(found) < len(every):
        repeated = plural(len(every) - len(found), "repeated input is", "repeated inputs are")
        click.echo(f"Note: {repeated} classified once.", err=True)
    if form in outputs.OF_ONE_RECORDING and len(found) > 1:
        raise click.UsageError(f"--format {form} describes one recording, not {len(found)}; run the command for each")
    if plot and len(found) > 1:
        raise click.UsageError(f"--plot draws one recording, not {len(found)}; run the command for each")
    for option, file in (("--output", output), ("--plot", plot)):
        if file and file.exists() and any(file.samefile(source.path) for source in found if source.path.exists()):
            raise SoctkError("it is one of the inputs", remedy="Choose another file.", where=f"{option} {file}")
    return found


def enrol(model: Recogniser, folder: str | None, where: Path, division: Division) -> Speaker | None:
    """Return the speaker for a model with re-centring, after a check of the windows.

    Args:
        model: the model.
        folder: recordings of the speaker.
        where: the model, for messages.
        division: how recordings are divided.
    """
    speaker = enrolment.enrol(model, folder, where)
    if division.window:
        check_windows(model, division.window, division.hop)
    return speaker


def check_windows(model: Recogniser, window: float, hop: float) -> None:
    """Check the options --window and --hop, in s.

    Raises:
        SoctkError: the model does not take such windows.
    """
    try:
        windows.check(window, hop, model.min_seconds, model.max_seconds)
    except ValueError as error:
        raise SoctkError(str(error), remedy="Change --window or --hop.", where="--window, --hop") from error


@dataclass(frozen=True)
class Method:
    """How inputs are classified.

    Attributes:
        model: the model.
        speaker: the speaker, for a model with re-centring.
        division: how recordings are divided.
        has_channel: whether the model has the channel that the user chose; else a source's own channel counts.
        rate: the rate of raw samples from a pipe, in Hz.
    """

    model: Recogniser
    speaker: Speaker | None
    division: Division
    has_channel: bool = False
    rate: int | None = None

    def for_source(self, source: Source) -> Recogniser:
        """Return the model with the channel for a source."""
        return self.model if self.has_channel or not source.channel else self.model.with_channel(source.channel)


@dataclass(frozen=True)
class Loading:
    """What a worker of a cluster loads: the arguments of Recogniser.load and `enrol`, and how it divides recordings."""

    model: str
    encoder: Path | None
    device: str
    revision: str | None
    runtime: RuntimeName
    channel: str | None
    enrol: str | None
    division: Division

    @lru_cache(maxsize=1)  # noqa: B019 - a worker has one model
    def method(self) -> Method:
        """Load the model, and return the method."""
        model = Recogniser.load(self.model, self.encoder, self.device, self.revision, self.runtime)
        model = model.with_channel(self.channel) if self.channel else model
        speaker = enrol(model, self.enrol, Path(self.model), self.division)
        return Method(model, speaker, self.division, has_channel=bool(self.channel))


def each(found: Sequence[Source], method: Method, problems: Problems, has_progress: bool) -> Iterator[Prediction]:
    """Yield the answers for recordings; report recordings that cannot be used."""
    items: Iterable[Source] = track(found, "predict", "file") if has_progress else found
    for source in items:
        yield from _reported(source, method, _answers(source, method), problems)


def each_on(
    executor: Executor,
    found: Sequence[Source],
    loading: Loading,
    method: Method,
    problems: Problems,
    has_progress: bool,
) -> Iterator[Prediction]:
    """Do the same as `each` in the workers of a cluster; they get _CHUNK recordings at a time."""
    chunks = [found[start : start + _CHUNK] for start in range(0, len(found), _CHUNK)]
    jobs = [Job(f"recordings from {chunk[0].name}", _chunk, (i, loading, chunk)) for i, chunk in enumerate(chunks)]
    waiting: dict[int, list[list[Prediction | SoctkError]]] = {}
    done, results = 0, executor.run(jobs)
    for number, answered in track(results, "predict", "part", len(jobs)) if has_progress else results:
        waiting[number] = answered
        while done in waiting:  # the answers are printed in the order of the inputs
            for source, own in zip(chunks[done], waiting.pop(done), strict=True):
                yield from _reported(source, method, own, problems)
            done += 1


def _chunk(number: int, loading: Loading, chunk: Sequence[Source]) -> tuple[int, list[list[Prediction | SoctkError]]]:
    return number, [list(_answers(source, loading.method())) for source in chunk]


def _answers(source: Source, method: Method) -> Iterator[Prediction | SoctkError]:
    """Yield the answers for a recording; the error comes last if it cannot be used."""
    try:
        with ExitStack() as stack:
            is_pipe = source.name == PIPE
            clip = Clip(stack.enter_context(pipes.saved(sys.stdin.buffer, method.rate))) if is_pipe else source.clip
            yield from answers.recording(method.for_source(source), source.name, clip, method.speaker, method.division)
    except SoctkError as error:
        yield error


def _reported(
    source: Source, method: Method, answered: Iterable[Prediction | SoctkError], problems: Problems
) -> Iterator[Prediction]:
    """Yield the answers for a recording; print a note if it is silent, or the error if it cannot be used."""
    for answer in answered:
        if isinstance(answer, SoctkError):
            problems.add(source.name, answer)
            return
        if answer.is_silent and not answer.is_window:
            _note_silence(source.name, method.for_source(source).settings.channel)
        yield answer
    problems.is_everything = False


def _note_silence(name: str, channel: str) -> None:
    what = "all channels are" if channel == "mix" else f"channel {channel} is"
    click.echo(f"Note: {printable(name)}: {what} silent (all samples are 0), so the answer means nothing. Check the "
               "recording, or choose another --channel.", err=True)  # fmt: skip


def listen(method: Method) -> Iterator[Prediction]:
    """Yield the answers for sound on standard input while it arrives, in windows."""
    window, hop = method.division.window, method.division.hop
    assert window is not None
    return answers.live(method.model, PIPE, sys.stdin.fileno(), method.rate, method.speaker, window, hop)


def plotted(
    predictions: Iterable[Prediction], emotions: Sequence[str], plot: Path, problems: Problems
) -> Iterator[Prediction]:
    """Return the answers; after the last one, those for windows are drawn, unless there was a problem.

    Raises:
        SoctkError: the model has no emotions.
    """
    if not emotions:  # known before the first answer
        raise SoctkError(
            "it draws posteriors, and this model predicts dimensions", remedy="Leave it out.", where="--plot"
        )
    return _plot_last(predictions, emotions, plot, problems)


def _plot_last(
    predictions: Iterable[Prediction], emotions: Sequence[str], plot: Path, problems: Problems
) -> Iterator[Prediction]:
    drawn = []
    for prediction in predictions:
        if prediction.is_window:
            drawn.append(prediction)
        yield prediction
    if drawn and not problems:
        from soctk.reporting import drawing, timeline  # imports matplotlib

        with atomic(plot) as path:
            drawing.write(timeline.draw(drawn, emotions), path, plot.suffix[1:].lower())


def write(
    predictions: Iterator[Prediction], form: str, model: Recogniser, output: Path | None, problems: Problems
) -> None:
    """Write the answers to the screen as they come, or to a file, which appears when it is complete."""
    pieces = outputs.FORMATS[form](predictions, model.emotions, model.dimensions)
    if output is None:
        for piece in pieces:
            click.echo(piece, nl=False)
        return
    with atomic(output) as path, path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        file.writelines(pieces)
        if problems.is_everything:
            problems.finish()  # raises, so that no file without an answer appears


def score(model: Recogniser, folder: str, directory: Path, labels: Path | None) -> None:
    """Write predictions for soctk-score."""
    from soctk.inference import labelled  # imports pandas

    data = datadir.read(Path(folder))
    selected = labelled.select(data, model, read_labels(labels) if labels else {})
    click.echo(f"{folder}: {selected.summary}")
    run = labelled.write(model, selected, directory, model.runtime.device)
    click.echo(f"{run.predictions}: written\nsoctk-score {directory}")
