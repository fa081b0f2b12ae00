"""The report as one HTML page: tables, pictures, and the errors worth listening to."""

import base64
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from soctk.files import atomic
from soctk.reporting import tables
from soctk.reporting.figures import DPI, Picture
from soctk.reporting.tables import Report
from soctk.scoring.score import ExperimentScores

ERRORS = 20


@dataclass(frozen=True)
class Error:
    """An utterance that is taken for another emotion.

    Attributes:
        utt: the utterance.
        speaker: who speaks.
        reference: the emotion that it has.
        hypothesis: the emotion that it is taken for.
        confidence: the posterior of the latter in %, averaged over seeds.
        posterior: the posterior of the former, likewise.
        recording: its URL relative to the page; None if it is not there.
    """

    utt: str
    speaker: str
    reference: str
    hypothesis: str
    confidence: float
    posterior: float
    recording: str | None


def write(path: Path, its_report: Report, pictures: Iterable[Picture]) -> None:
    """Write the page; but for recordings, to which it links by relative paths, it needs no other file."""
    environment = Environment(loader=PackageLoader("soctk.reporting"), autoescape=True, undefined=StrictUndefined)
    images = [(picture, _as_url(picture)) for picture in pictures]
    content = environment.get_template("report.html").render(
        title=its_report.title,
        command=its_report.command,
        today=date.today(),
        meaning=tables.MEANING,
        heading=its_report.heading(),
        notes=its_report.notes(),
        summary=_parts(tables.summary(its_report, "html")),
        overall=[image for image in images if image[0].experiment is None],
        experiments=[
            {
                "name": experiment.name,
                "parts": _parts(tables.details(experiment, "html")),
                "images": [image for image in images if image[0].experiment == experiment.name],
                "errors": worst_errors(experiment, path.parent),
            }
            for experiment in its_report.experiments
        ],
    )
    with atomic(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def worst_errors(experiment: ExperimentScores, directory: Path, most: int = ERRORS) -> list[Error]:
    """Return the most confidently wrong utterances, seeds averaged: by how far hypothesis is above reference.

    Args:
        experiment: whose errors.
        directory: to which the paths of the recordings are relative.
        most: how many at most.
    """
    predictions, emotions = experiment.predictions, experiment.predictions.emotions
    columns = pd.DataFrame(predictions.posteriors, columns=range(len(emotions)))
    posteriors = columns.groupby(predictions.table["utt"]).mean()
    utterances = predictions.utterances.set_index("utt").loc[posteriors.index]
    reference, hypothesis = utterances["ref"].to_numpy(), posteriors.to_numpy().argmax(axis=1)
    rows = np.arange(len(posteriors))
    confidence, posterior = posteriors.to_numpy()[rows, hypothesis], posteriors.to_numpy()[rows, reference]
    order = [i for i in np.argsort(posterior - confidence, kind="stable") if reference[i] != hypothesis[i]]
    return [
        Error(
            utt=posteriors.index[i],
            speaker=utterances["spk"].iloc[i],
            reference=emotions[reference[i]],
            hypothesis=emotions[hypothesis[i]],
            confidence=100 * confidence[i],
            posterior=100 * posterior[i],
            recording=_recording(experiment, posteriors.index[i], directory),
        )
        for i in order[:most]
    ]


def _recording(experiment: ExperimentScores, utt: str, directory: Path) -> str | None:
    if experiment.data is None or not experiment.data.wav[utt].is_file():
        return None
    return quote(os.path.relpath(experiment.data.wav[utt].resolve(), directory.resolve()))


def _parts(parts: Iterable[str]) -> list[str | Markup]:
    """Return prose as it is and tables as HTML; tabulate has escaped what is in them."""
    return [Markup(part) if part.startswith("<table>") else part for part in parts]


def _as_url(picture: Picture) -> str:
    buffer = BytesIO()
    picture.figure.savefig(buffer, format="png", dpi=DPI)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
