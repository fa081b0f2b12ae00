"""The report as one HTML page: tables, pictures, and the most confident errors with players for their recordings."""

import base64
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from soctk.files import atomic
from soctk.reporting import corpora, drawing, tables, trivial, wording
from soctk.reporting.drawing import Picture
from soctk.reporting.report import Report
from soctk.scoring.score import ExperimentScores

# The page shows at most this many errors of an experiment.
MOST_ERRORS = 20
_LONG_HEADER = re.compile("<th([^>]*>[^<]{20,}</th>)")
_INTERVAL = re.compile(r"\[[−-]?[\d.]+, [−-]?[\d.]+\]|± [\d.]+")


@dataclass(frozen=True)
class Error:
    """A misclassified utterance.

    Attributes:
        utt: the id of the utterance.
        speaker: the id of its speaker.
        reference: the true class.
        hypothesis: the class with the highest posterior.
        confidence: the posterior of the hypothesis in %, averaged over seeds.
        posterior: the posterior of the reference in %, averaged over seeds.
        recording: the URL of its recording, relative to the page; None if the recording was not found.
    """

    utt: str
    speaker: str
    reference: str
    hypothesis: str
    confidence: float
    posterior: float
    recording: str | None


def write(path: Path, report: Report, pictures: Iterable[Picture]) -> None:
    """Write the page. It contains everything except the recordings; it links to them by relative paths."""
    environment = Environment(loader=PackageLoader("soctk.reporting"), autoescape=True, undefined=StrictUndefined)
    images = [(picture, _as_url(picture)) for picture in pictures]
    prefix, with_short_names = _shorten_names(report)
    content = environment.get_template("report.html").render(
        title=report.title,
        command=report.command,
        today=date.today(),
        meaning=wording.meaning(report.experiments),
        heading=report.heading(),
        notes=report.notes(),
        marks=[*([wording.RECENTRING] if report.is_recentred else []), *wording.overlaps(report.experiments)],
        corpora=corpora.summarise(report.experiments),
        prefix=prefix,
        summary=_parts(tables.summary(with_short_names, "html")),
        trivial=_parts(trivial.parts(with_short_names, "html")),
        overall=[image for image in images if image[0].experiment is None],
        experiments=[
            {
                "label": wording.label(experiment),
                "anchor": quote(os.fsencode(experiment.name)),
                "parts": _parts(tables.details(experiment, "html")),
                "images": [image for image in images if image[0].experiment == experiment.name],
                "has_classes": bool(experiment.predictions.emotions),
                "errors": most_confident_errors(experiment, path.parent),
            }
            for experiment in report.experiments
        ],
    )
    with atomic(path) as temporary:
        temporary.write_text(content, encoding="utf-8", errors="backslashreplace")


def most_confident_errors(experiment: ExperimentScores, directory: Path, most: int = MOST_ERRORS) -> list[Error]:
    """Return misclassified utterances, the largest posterior of hypothesis minus posterior of reference first.

    Args:
        experiment: the experiment; posteriors are averaged over its seeds.
        directory: the directory of the page.
        most: the largest number of errors to return; none for dimensions.
    """
    predictions, emotions = experiment.predictions, experiment.predictions.emotions
    if not emotions:
        return []
    means = pd.DataFrame(predictions.posteriors).groupby(predictions.table["utt"]).mean()
    names, posteriors = means.index.tolist(), means.to_numpy()
    utterances = predictions.utterances.set_index("utt").loc[names]
    reference, hypothesis = utterances["ref"].to_numpy(), posteriors.argmax(axis=1)
    rows = np.arange(len(names))
    confidence, posterior = posteriors[rows, hypothesis], posteriors[rows, reference]
    order = [i for i in np.argsort(posterior - confidence, kind="stable") if reference[i] != hypothesis[i]]
    return [
        Error(
            utt=names[i],
            speaker=utterances["spk"].iloc[i],
            reference=emotions[reference[i]],
            hypothesis=emotions[hypothesis[i]],
            confidence=100 * confidence[i],
            posterior=100 * posterior[i],
            recording=_recording(experiment, names[i], directory),
        )
        for i in order[:most]
    ]


def _recording(experiment: ExperimentScores, utt: str, directory: Path) -> str | None:
    clip = experiment.data.clip(utt) if experiment.data else None
    if clip is None or not clip.path.is_file():
        return None
    # Bytes, because a path need not be UTF-8.
    url = quote(os.fsencode(os.path.relpath(clip.path.resolve(), directory.resolve())))
    # A media fragment: the player plays this part of the recording.
    return url if clip.is_whole or clip.end is None else f"{url}#t={clip.start:.3f},{clip.end:.3f}"


def _shorten_names(report: Report) -> tuple[str, Report]:
    """Return the common prefix of the names of the experiments, and the report with names without it."""
    prefix = wording.common_prefix([experiment.name for experiment in report.experiments])
    short = {experiment.name: experiment.name.removeprefix(prefix) for experiment in report.experiments}
    comparison = report.comparison
    if comparison is not None:
        comparison = comparison.replace({"first": short, "second": short})
    experiments = [replace(experiment, name=short[experiment.name]) for experiment in report.experiments]
    return prefix, replace(report, experiments=experiments, comparison=comparison)


def _parts(parts: Iterable[str]) -> list[str | Markup]:
    """Mark tables as HTML, because tabulate has escaped their cells; the template escapes the sentences.

    Lines are broken before an interval or a standard deviation, but not within it, and within long headers.
    """
    return [Markup(_with_line_breaks(part)) if part.startswith("<table>") else part for part in parts]


def _with_line_breaks(table: str) -> str:
    table = _INTERVAL.sub(r'<span class="unbroken">\g<0></span>', table)
    return _LONG_HEADER.sub(r'<th class="long"\1', table)


def _as_url(picture: Picture) -> str:
    buffer = BytesIO()
    drawing.write(picture.figure, buffer)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
