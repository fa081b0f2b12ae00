"""The utterances of a report to listen to: likely wrong labels, in the page with a player, and in a TSV file."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from soctk.files import atomic
from soctk.reporting.report import Report
from soctk.reporting.text import spreadsheet
from soctk.scoring.score import ExperimentScores

# The page shows at most this many errors of an experiment.
MOST_ERRORS = 20


@dataclass(frozen=True)
class Error:
    """A misclassified utterance.

    Attributes:
        utt: the id of the utterance.
        speaker: the id of its speaker.
        reference: its label.
        hypothesis: the class with the highest posterior.
        confidence: the posterior of the hypothesis in %, averaged over seeds.
        posterior: the posterior of the label in %, averaged over seeds.
        is_suspect: whether confident learning takes the label as wrong (soctk.scoring.suspects).
        recording: the URL of its recording, relative to the page; None if the recording was not found.
    """

    utt: str
    speaker: str
    reference: str
    hypothesis: str
    confidence: float
    posterior: float
    is_suspect: bool
    recording: str | None


def list_errors(experiment: ExperimentScores, directory: Path, most: int = MOST_ERRORS) -> list[Error]:
    """Return the misclassified utterances with the lowest posteriors of their labels, the lowest first.

    Args:
        experiment: the experiment.
        directory: the directory of the page.
        most: the largest number of errors to return; none for dimensions.
    """
    if not experiment.predictions.emotions:
        return []
    table = experiment.suspects.table
    return [
        Error(
            utt=row["utt"],
            speaker=row["spk"],
            reference=row["label"],
            hypothesis=row["predicted"],
            confidence=100 * row["predicted_posterior"],
            posterior=100 * row["label_posterior"],
            is_suspect=row["is_suspect"],
            recording=_recording(experiment, row["utt"], directory),
        )
        for row in table[table["label"] != table["predicted"]].head(most).to_dict("records")
    ]


def describe(experiment: ExperimentScores, file: Path) -> str:
    """Return a sentence about the suspects of an experiment, and the file that lists them; empty for dimensions."""
    if not experiment.predictions.emotions:
        return ""
    found = experiment.suspects
    return (
        f"Confident learning finds {found.count} of {len(found.table)} labels suspect. Most of them can be right: "
        f"confident errors of the model are suspects too. So listen before you correct a label. {file.name} lists "
        "all suspects."
    )


def file_beside(page: Path) -> Path:
    """Return the path of the TSV file that belongs to a page."""
    return page.with_name(f"{page.stem}-suspect_labels.tsv")


def write(path: Path, report: Report) -> None:
    """Write the suspects of all experiments on classes, the lowest posterior of the label first."""
    joined = pd.concat(list(_list_suspects(report)))
    with atomic(path) as temporary:
        joined.to_csv(temporary, sep="\t", index=False, float_format="%.6f", errors="backslashreplace")


def _list_suspects(report: Report) -> Iterator[pd.DataFrame]:
    for experiment in report.experiments:
        if experiment.predictions.emotions:
            table = experiment.suspects.table
            table = table[table["is_suspect"]].drop(columns="is_suspect")
            table.insert(0, "experiment", experiment.name)
            texts = table.select_dtypes(exclude="number").columns
            yield table.assign(**{name: table[name].map(spreadsheet) for name in texts})


def _recording(experiment: ExperimentScores, utt: str, directory: Path) -> str | None:
    clip = experiment.data.clip(utt) if experiment.data else None
    if clip is None or not clip.path.is_file():
        return None
    # Bytes, because a path need not be UTF-8.
    url = quote(os.fsencode(os.path.relpath(clip.path.resolve(), directory.resolve())))
    # A media fragment: the player plays this part of the recording.
    return url if clip.is_whole or clip.end is None else f"{url}#t={clip.start:.3f},{clip.end:.3f}"
