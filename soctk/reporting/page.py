"""The report as one HTML page: tables, pictures, and likely wrong labels with players for their recordings."""

import base64
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from soctk.files import atomic
from soctk.reporting import corpora, drawing, listening, tables, trivial, wording
from soctk.reporting.drawing import Picture
from soctk.reporting.report import Report

_LONG_HEADER = re.compile("<th([^>]*>[^<]{20,}</th>)")
_INTERVAL = re.compile(r"\[[−-]?[\d.]+, [−-]?[\d.]+\]|± [\d.]+")


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
                "errors": listening.list_errors(experiment, path.parent),
                "about_errors": listening.describe(experiment, listening.file_beside(path)),
            }
            for experiment in report.experiments
        ],
    )
    with atomic(path) as temporary:
        temporary.write_text(content, encoding="utf-8", errors="backslashreplace")


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
