"""The page of soctk-demo, made with Gradio: a recording in, the emotions out, with the numbers of soctk-predict."""

import html
import io
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import pandas as pd

from soctk.corpus import audio
from soctk.corpus.segments import Clip
from soctk.errors import SoctkError, install, missing_package
from soctk.inference import answers, outputs
from soctk.inference.answers import Division
from soctk.inference.outputs import Prediction
from soctk.inference.recogniser import Recogniser, Speaker

_OLDEST = 6  # the major version of Gradio
# Longer recordings are classified in windows.
LONG = 10.0  # s
_DELETE_EVERY, _DELETE_AFTER = 600, 3600  # s, of uploaded recordings
_COLOURS = (
    "#4c78a8",
    "#f58518",
    "#e45756",
    "#72b7b2",
    "#54a24b",
    "#eeca3b",
    "#b279a2",
    "#ff9da6",
    "#9d755d",
    "#bab0ac",
)
_FONT = ("system-ui", "sans-serif")  # of the browser
_STYLE = "h1, .label-wrap, .output-class, dt { overflow-wrap: anywhere }"
_POSTERIORS = (
    "A posterior is not the probability that a person feels an emotion. It says how much the recording sounds like the "
    "training recordings with this label. "
)
_PRIVACY = "Recordings go to the machine that shows this page, and nowhere else. They are deleted after an hour."


@dataclass(frozen=True)
class Demo:
    """How the page classifies a recording.

    Attributes:
        model: the model.
        window: the length of a window of a long recording, in s.
        hop: the time from the start of a window to the start of the next, in s.
    """

    model: Recogniser
    window: float
    hop: float

    def classify(self, recording: Path, speaker: Sequence[Path] = ()) -> Iterator[Prediction]:
        """Classify a recording; yield an answer for each window of a long one, and then one for the whole.

        The answers are those of soctk-predict: with `--window` and `--hop` for a long recording, and with the
        recordings of the speaker as `--enrol` for a model with re-centring.

        Raises:
            SoctkError: a recording cannot be used, or the model needs recordings of the speaker.
        """
        clip = Clip(recording)
        enrolled = self._enrol(speaker) if self.model.is_recentred else None
        is_long = _seconds(recording, self.model.settings.channel) > min(LONG, self.model.max_seconds)
        division = Division(self.window if is_long else None, self.hop)
        yield from answers.recording(self.model, recording.name, clip, enrolled, division)

    def _enrol(self, recordings: Sequence[Path]) -> Speaker:
        if not recordings:
            raise SoctkError(
                "this model subtracts the mean descriptor of the speaker, so it needs other recordings of the speaker",
                remedy="Add some; they need no labels.",
            )
        try:
            return self.model.enrol(recordings)
        except SoctkError as error:
            raise SoctkError(f"a recording of the speaker cannot be used: {error.what}", error.remedy) from error


def table(predictions: Sequence[Prediction], model: Recogniser) -> pd.DataFrame:
    """Return the answers as soctk-predict prints them, without the name of the file."""
    text = "".join(outputs.tsv(predictions, model.emotions, model.dimensions))
    return pd.read_csv(io.StringIO(text), sep="\t", dtype=str, keep_default_na=False).drop(columns="file")


def over_time(predictions: Sequence[Prediction], columns: Sequence[str]) -> pd.DataFrame:
    """Return a row for each window and each output: the middle of the window in s, the output, and its value.

    Args:
        predictions: the answers.
        columns: the names of the three columns.
    """
    rows = [
        ((one.start + one.end) / 2, output, value)
        for one in predictions
        if one.is_window
        for output, value in one.result.values.items()
    ]
    return pd.DataFrame(rows, columns=list(columns))


def build(demo: Demo) -> Any:
    """Return the page, a gradio.Blocks.

    Raises:
        SoctkError: Gradio is not installed.
    """
    gr = _gradio()
    model = demo.model
    colours = dict(zip(model.settings.outputs, itertools.cycle(_COLOURS)))
    output, value = ("dimension", "value") if model.dimensions else ("emotion", "posterior")
    columns = ("time (s)", output, value)

    def show(recording: str | None, speaker: list[str] | None = None, progress=gr.Progress()):  # noqa: B008
        found: list[Prediction] = []
        problem = ""
        try:
            for prediction in demo.classify(Path(recording), [*map(Path, speaker or ())]) if recording else ():
                found.append(prediction)
                progress((round(prediction.end), None), desc="Classified", unit="s")
            if found and found[-1].is_silent:
                raise SoctkError("it is silent: all samples are 0", remedy="Use another recording.")
        except SoctkError as error:
            found, problem = [], f"{error.what}\n{error.remedy}"
        result = found[-1].result if found else None
        whole = result and (result.posteriors or result.text)
        has_windows = len(found) > 2  # and the whole
        shown = (gr.update(visible=bool(is_shown)) for is_shown in (problem, not problem, has_windows, found))
        return problem, whole, over_time(found, columns), table(found, model), *shown

    with gr.Blocks(
        title="Emotions in speech", analytics_enabled=False, delete_cache=(_DELETE_EVERY, _DELETE_AFTER)
    ) as page:
        gr.Markdown(_introduction(demo))
        with gr.Row():
            with gr.Column():
                plain: dict[str, Any] = {"editable": False, "buttons": ["download"]}
                inputs = [gr.Audio(sources=["upload", "microphone"], type="filepath", label="Recording", **plain)]
                if model.is_recentred:
                    label = "Other recordings of the same speaker"
                    inputs.append(gr.File(file_count="multiple", file_types=["audio"], label=label))
            with gr.Column(visible=False) as refusal:
                problem = gr.Textbox(label="This recording cannot be classified")
            with gr.Column() as answer:
                whole = gr.Label(label="Values" if model.dimensions else "Emotion", num_top_classes=len(colours))
        with gr.Column(visible=False) as timeline:
            gr.HTML(_legend(f"{output.capitalize()}s over time", colours))
            plot = gr.LinePlot(
                x=columns[0], y=value, y_lim=None if model.dimensions else [0, 1], color=output, color_map=colours,
                colors_in_legend=[], show_label=False,
            )  # fmt: skip
        with gr.Accordion("All numbers", open=False, visible=False) as numbers:
            posteriors = gr.Dataframe(interactive=False)
        gr.Markdown(_PRIVACY if model.dimensions else _POSTERIORS + _PRIVACY)
        events = [component.change for component in inputs]
        values, places = [problem, whole, plot, posteriors], [refusal, answer, timeline, numbers]
        gr.on(events, show, inputs, values + places, api_name="classify")
    return page


@contextmanager
def running(demo: Demo, host: str, port: int | None) -> Iterator[str]:
    """Serve the page while the block runs; yield its address.

    Nothing is sent to other machines: no statistics, no link for sharing, and fonts and scripts of Gradio itself.
    Uploaded recordings are in a folder that only this user can read, and which is removed at the end.

    Args:
        demo: what the page does.
        host: the address to listen at; 0.0.0.0 for all of this machine.
        port: the port; None for the first free one from 7860 on.

    Raises:
        SoctkError: Gradio is not installed, or the port is in use.
    """
    gr = _gradio()
    with TemporaryDirectory(prefix="soctk-demo-") as folder, _environment("GRADIO_TEMP_DIR", folder):
        page = build(demo)
        try:
            page.launch(
                server_name=host, server_port=port, share=False, ssr_mode=False, run_history=False, quiet=True,
                prevent_thread_lock=True, show_error=True, footer_links=["api", "settings"],
                theme=gr.themes.Base(font=_FONT, font_mono=_FONT), css=_STYLE,
            )  # fmt: skip
        except OSError as error:
            raise SoctkError(
                f"the page cannot be served there ({error})",
                remedy="Choose another --port, and a --host of this machine.",
                where=f"--host {host}",
            ) from error
        try:
            yield page.local_url
        finally:
            page.close(verbose=False)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _gradio() -> ModuleType:
    """Return the package gradio, without its statistics; it must be imported here first."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise missing_package("gradio", "demo", "the page") from error
    if int(gradio.__version__.partition(".")[0]) < _OLDEST:
        raise SoctkError(f"the page needs Gradio {_OLDEST} or newer, not {gradio.__version__}", remedy=install("demo"))
    return gradio


def _introduction(demo: Demo) -> str:
    settings = demo.model.settings
    name = settings.training.get("experiment") or "This model"
    verb = "predicts" if demo.model.dimensions else "recognises"
    return (
        f"# Emotions in speech\n**{_escaped(name)}** {verb} {_escaped(', '.join(settings.outputs))}. A recording "
        f"longer than {LONG:g} s is classified in windows of {demo.window:g} s, one every {demo.hop:g} s; its result "
        "is their mean."
    )


def _legend(title: str, colours: Mapping[str, str]) -> str:
    """Return the legend of the time line; Gradio's own has one line, which a phone cuts."""
    style = "display: inline-block; max-width: 100%; margin-right: 1em; overflow-wrap: anywhere"
    entries = (
        f'<span style="{style}"><span style="color: {colour}">●</span> {html.escape(name)}</span>'
        for name, colour in colours.items()
    )
    return f"{title}: {' '.join(entries)}"


def _escaped(text: str) -> str:
    """Return text without the meaning that some characters have in Markdown and HTML."""
    return "".join(f"\\{char}" if char in "\\`*_{}[]()#+-.!|~$" else html.escape(char) for char in str(text))


def _seconds(path: Path, channel: str) -> float:
    blocks, rate = audio.load_blocks(path, channel)
    return sum(map(len, blocks)) / rate
