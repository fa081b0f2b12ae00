"""All pictures of a report, with their captions."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from soctk import progress
from soctk.errors import SoctkError, plural
from soctk.files import atomic
from soctk.reporting import charts, dimensions, drawing, embedding
from soctk.reporting import robustness as of_robustness
from soctk.reporting.drawing import Picture
from soctk.reporting.wording import label
from soctk.scoring import robustness
from soctk.scoring.recorded import encoders
from soctk.scoring.score import ExperimentScores


def pictures(experiments: Sequence[ExperimentScores], store: Path | None, has_descriptors: bool) -> Iterator[Picture]:
    """Yield all pictures of the experiments.

    Args:
        experiments: the scores of the experiments.
        store: the feature store of all experiments; by default each experiment's own, if it still exists.
        has_descriptors: whether to draw the pictures that take long: maps of logits, and log-covariances.

    Raises:
        SoctkError: a train.jsonl is damaged, or soctk.reporting.descriptors.of_run raises it.
    """
    of_classes = [e for e in experiments if e.predictions.emotions]
    if of_classes:
        caption = "WA of all test utterances with its 95% interval over speakers."
        yield Picture("WA", caption, charts.accuracies(of_classes))
    of_dimensions = [e for e in experiments if e.predictions.dimensions]
    if of_dimensions:
        caption = "CCC of all test utterances with its 95% interval over speakers."
        yield Picture("CCC", caption, dimensions.concordances(of_dimensions))
    for experiment in progress.track(experiments, "draw", "experiment"):
        for name, sentence, figure in _of_experiment(experiment, store, has_descriptors):
            caption = f"{label(experiment)}: {sentence}"
            yield Picture(f"{experiment.name}-{name}", caption, figure, experiment.name)


def save(pictures: Iterator[Picture], directory: Path, style: str = "png") -> Iterator[Path]:
    """Write each picture into a directory as NAME.png (or svg, pdf), and yield its path."""
    for picture in pictures:
        path = directory / f"{picture.name}.{style}"
        with atomic(path) as temporary:
            drawing.write(picture.figure, temporary, style)
        yield path


def _of_experiment(
    experiment: ExperimentScores, store: Path | None, has_descriptors: bool
) -> Iterator[tuple[str, str, Figure]]:
    """Yield the name, the caption and the figure of each picture of an experiment."""
    has_classes = bool(experiment.predictions.emotions)
    if has_classes:
        caption = "the share of each true class (row) that was classified as each class (column), in %."
        yield "confusion", caption, charts.confusion(experiment)
        yield "speakers", _speakers(experiment), charts.speakers(experiment)
    else:
        caption = f"predicted over labelled values of the test utterances, seed {experiment.seeds[0]}; dashed: equal."
        yield "predicted", caption, dimensions.predicted(experiment)
    curves = charts.learning_curves(experiment)
    if curves:
        score = "WA" if has_classes else "CCC"
        yield "curves", f"losses and validation {score}, one line for each fold and seed.", curves
    yield from _robustness(experiment)
    if has_descriptors and has_classes:
        yield from _maps(experiment)
        yield from _log_covariances(experiment, store)


def _speakers(experiment: ExperimentScores) -> str:
    table = charts.speaker_accuracies(experiment)
    quarters = table["WA"].quantile([0.25, 0.75])
    return (
        f"WA of each of the {len(table)} speakers, over all test utterances of the speaker and averaged over seeds. "
        f"Lowest {table['WA'].iloc[-1]:.1f} ({table.index[-1]}, {plural(table['utterances'].iloc[-1], 'utterance')}), "
        f"highest {table['WA'].iloc[0]:.1f} ({table.index[0]}, {table['utterances'].iloc[0]}); the middle half of the "
        f"speakers has {quarters.iloc[0]:.1f} to {quarters.iloc[1]:.1f}."
    )


def _robustness(experiment: ExperimentScores) -> Iterator[tuple[str, str, Figure]]:
    """Yield the pictures of the scores on disturbed recordings, if soctk-robustness has tested all runs."""
    try:
        found = robustness.read(experiment)
    except SoctkError as error:
        progress.message(f"{label(experiment)}: no picture of its robustness, because {error}", file=sys.stderr)
        return
    for picture in of_robustness.pictures([found] if found else []):
        yield picture.name, picture.caption, picture.figure


def _maps(experiment: ExperimentScores) -> Iterator[tuple[str, str, Figure]]:
    outputs = embedding.outputs(experiment.predictions)
    if not outputs.is_mappable:
        reason = f"fewer than {embedding.FEWEST_DIFFERENT} test utterances have different posteriors"
        progress.message(f"{label(experiment)}: no t-SNE map, because {reason}", file=sys.stderr)
        return
    shares = [
        f"{own:.0f}% have its {name} ({chance:.0f}% by chance)"
        for name, (own, chance) in (
            ("emotion", outputs.same_among_neighbours("ref")),
            ("speaker", outputs.same_among_neighbours("spk")),
        )
    ]
    nearest = f"Among the {outputs.neighbours} utterances whose logits are nearest to those of an utterance"
    for method, points in embedding.embed(outputs.logits).items():
        caption = (
            f"{method} of the logits (minus their mean over classes, from the posteriors in predictions.tsv) of "
            f"{len(points)} of the {outputs.available} test utterances, each by the model of its own fold, seed "
            f"{outputs.seed}. The models of all folds are drawn on one map, because their logits have the same axes: "
            "the classes. The axes of the map have no meaning, and distances between groups little. "
            f"{nearest}, {' and '.join(shares)}."
        )
        yield method.lower(), caption, embedding.draw(experiment, points, outputs.utterances, method)


def _log_covariances(experiment: ExperimentScores, store: Path | None) -> Iterator[tuple[str, str, Figure]]:
    # These modules import torch, which the other figures do not need.
    from soctk.reporting import descriptors, log_covariances

    if not descriptors.has_log_covariances(experiment.predictions):
        return
    found = descriptors.of_run(experiment.predictions, store)
    if found is None:
        is_one = len(encoders(experiment.predictions.settings)) < 2
        not_found = "its feature store (--feats DIR) or its model was not found"
        reason = not_found if is_one else "it has several encoders"
        progress.message(f"{label(experiment)}: no picture of log-covariances, because {reason}", file=sys.stderr)
        return
    emotions = experiment.predictions.emotions
    spk, ref = found.utterances["spk"].to_numpy(), found.utterances["ref"].to_numpy()
    comparison = log_covariances.compare(found.vectors, ref, spk, len(emotions))
    stage = ", before re-centring" if experiment.is_recentred else ""
    caption = f"log-covariances of {found.source}{stage}. {log_covariances.describe(comparison, emotions)}"
    yield "logcov", caption, log_covariances.draw(experiment, comparison)
