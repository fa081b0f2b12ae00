"""The scores of trivial classifiers on corpora, beside the scores of experiments: tables and sentences."""

from collections.abc import Iterator, Sequence

from soctk import provenance
from soctk.reporting.report import Report
from soctk.reporting.tables import with_bounds
from soctk.reporting.text import fill, narrow_table, table
from soctk.reporting.wording import label
from soctk.scoring.cues import Cues, CueScore, describe
from soctk.scoring.score import ExperimentScores

_METRICS = ("WA", "UA")
_HEADERS = (*(f"{metric} [95%]" for metric in _METRICS), "above chance")
_MEANING = (
    "Each trivial classifier sees one property of the recording, speaker or text, but not the voice. It is tested on "
    "the folds of the corpus; [] is the 95% interval over speakers. In training, all classes count equally, so compare "
    "UA. Above chance: whether the whole interval of UA lies above it"
)


def as_text(cues: Cues) -> str:
    """Return the scores of a corpus for a terminal of 80 columns."""
    parts = [f"{_MEANING}."]
    parts += [narrow_table(_rows(cues.of_test(test)), (_first_header(test), *_HEADERS)) for test in cues.tests]
    return "\n\n".join(map(fill, [*parts, *_sentences(cues)]))


def parts(report: Report, style: str) -> Iterator[str]:
    """Yield the sentences and tables for each corpus of a report, in a table format of tabulate."""
    for path, cues in report.cues.items():
        if cues is None:
            command = f"soctk-check {provenance.displayed_path(path)}"
            yield (
                f"The scores of trivial classifiers on the corpus {path.name} are not known for its present labels and "
                f"folds. To see them here, run {command}, then this command again."
            )
            continue
        yield f"Corpus {path.name}: {_MEANING[0].lower()}{_MEANING[1:]}."
        for test in cues.tests:
            tested = [e for e in report.experiments if e.predictions.emotions and (e.corpus, e.test) == (path, test)]
            best = max(tested, key=lambda e: e.pooled["UA"].value, default=None)
            yield table(_rows(cues.of_test(test), best), (_first_header(test), *_HEADERS), style)
            if best is not None:
                yield _compare(max(cues.of_test(test), key=lambda score: score.UA[0]), best)
        yield from _sentences(cues)


def _first_header(test: str) -> str:
    return f"cue ({test})" if test else "cue"


def _rows(scores: Sequence[CueScore], best: ExperimentScores | None = None) -> list[tuple[str, ...]]:
    """Return a row for chance, for each cue, and for an experiment."""
    rows: list[tuple[str, ...]] = [("chance", f"{scores[0].chance_WA:.2f}", f"{scores[0].chance_UA:.2f}", "")]
    for score in scores:
        cells = (with_bounds(score.interval(metric), metric) for metric in _METRICS)
        rows.append((score.cue, *cells, "yes" if score.stands_out else "no"))
    if best is not None:
        cells = (with_bounds(best.pooled[metric], metric) for metric in _METRICS)
        rows.append((f"experiment with the highest UA: {label(best)}", *cells, ""))
    return rows


def _compare(cue: CueScore, best: ExperimentScores) -> str:
    """Return a sentence about what the strongest cue and the best experiment gain over chance."""
    by_cue, by_model = (f"{value - cue.chance_UA:.1f}" for value in (cue.UA[0], best.pooled["UA"].value))
    return (
        f"Gain over chance in UA: {by_cue} points by the trivial classifier of {cue.cue}, {by_model} points by the "
        f"experiment {label(best)}."
    )


def _sentences(cues: Cues) -> list[str]:
    constant = [f"Equal in all utterances: {', '.join(cues.constant)}."] if cues.constant else []
    return [*constant, *describe(cues)]
