"""The sentences and names that all reports share."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile

from soctk.scoring import recorded
from soctk.scoring.score import ExperimentScores

# Marks experiments that use unlabelled recordings of the test speakers (ExperimentScores.is_recentred).
RECENTRED = "†"
# Marks experiments whose test speakers may be in the training data (ExperimentScores.speaker_overlap).
OVERLAPPING = "‡"

TITLES = {
    **{"WA": "WA", "UA": "UA", "F1": "macro-F1", "log_loss": "log-loss", "ECE": "ECE"},
    **{"cross_entropy": "cross-entropy", "JSD": "JSD"},
    **{"CCC": "CCC", "r": "r", "RMSE": "RMSE"},
}
# The digits after the point; 2 for metrics in %.
_DIGITS = dict.fromkeys(("log_loss", "cross_entropy", "JSD", "CCC", "r", "RMSE"), 3)

HEADS = {
    "mlp": "two linear layers, trained on the training utterances; the epoch with the lowest validation loss gives the "
    "weights",
    "linear": "logistic regression, fitted to the training and validation utterances together. Its regularisation has "
    "the lowest loss among a grid of values of C, which grows at an edge that has the lowest loss, in an inner "
    "cross-validation over the folds of these utterances (protocols cross-lingual and "
    "cross-corpus: over fifths of the speakers; protocol emobox, and a partition with dev: on the validation "
    "utterances only). The seed has an "
    "effect only if it draws utterances (protocol emobox, or re-centring with a limited number of recordings)",
    "chosen": "one of several, chosen in each run by its validation loss",
}

RIDGE = (
    "ridge regression, fitted to the training and validation utterances together, with one C for all dimensions. It "
    "has the lowest loss, 1 minus the mean CCC, in an inner cross-validation as for classes"
)

_DIMENSIONS_MEANING = (
    "CCC is the concordance correlation coefficient of labels and predictions (Lin 1989), r Pearson's correlation, and "
    "RMSE the root of the mean squared error, in the unit of the labels. The labels of test utterances are used only "
    "for these scores.",
)
_CLASSES_MEANING = (
    "WA is the accuracy over utterances, UA the mean of the class recalls, and macro-F1 the mean of the class F1 "
    "scores, all in %. UA and macro-F1 of a fold or a subgroup are means over the classes that it has. The labels of "
    "test utterances are used only for these scores.",
)
_SHARED_MEANING = (
    "All utterances: each seed is scored over the test utterances of all folds together, and the scores are averaged "
    "over seeds. [] is the 95% interval of this score. It shows how the score varies with other speakers, not with "
    "other training runs.",
    "Folds: each fold is scored alone, and averaged over seeds. ± is the sample standard deviation. Published scores "
    "are often means over folds (as in EmoBox).",
)
_POSTERIORS_MEANING = (
    "Log-loss (in nats) and expected calibration error (ECE, in %, 15 bins) measure the posteriors.",
)

_UNKNOWN = (
    " The intervals count each utterance of an unknown speaker as a speaker of its own, so they may be too narrow."
)

FINE_TUNED = (
    "Fine-tuned (the encoder is trained on the training utterances, and the epoch with the lowest validation loss "
    "gives its weights; unless the head is trained with the encoder or finetune.refit is false, the head linear is "
    "then fitted to training and validation utterances, with the C that was chosen on the training utterances)"
)

RECENTRING = (
    f"{RECENTRED} Re-centred: the mean descriptor of each test speaker, estimated from unlabelled recordings of that "
    "speaker, is subtracted from the speaker's descriptors. Do not compare these scores with scores of systems that "
    "use no such recordings."
)

COMPARISON_MEANING = (
    "Difference: the second experiment minus the first, over all utterances, averaged over seeds, and its 95% "
    "interval over speakers. p: p value of a permutation test, which exchanges the predictions of the two experiments "
    "for whole speakers. McNemar: p value of McNemar's exact test on the first common seed; the test treats the "
    "utterances of a speaker as independent. Holm: the p value to the left, corrected for the number of pairs."
)

_GAPS_MEANING = (
    "Gaps: the difference between the groups with the highest and the lowest score, among groups of 5 speakers or "
    "more, and its 95% interval over the speakers of both. With more than two groups, some gap is expected by chance, "
    "because the two are chosen by their scores. Groups can also differ in their shares of the classes.",
)


_DISTRIBUTIONS_MEANING = (
    "Cross-entropy (in nats) and Jensen-Shannon divergence (JSD, in bits, from 0 for equal distributions to 1) compare "
    "the posteriors with the annotators' distribution over the emotions; WA and UA refer to the majority.",
)


def meaning(experiments: Sequence[ExperimentScores]) -> list[str]:
    """Return sentences about the meaning of the scores of these experiments."""
    are_classes = any(e.predictions.emotions for e in experiments)
    are_distributions = any("JSD" in e.scale.others for e in experiments)
    are_dimensions = any(e.predictions.dimensions for e in experiments)
    return [
        *(_CLASSES_MEANING if are_classes else ()),
        *(_DIMENSIONS_MEANING if are_dimensions else ()),
        *_SHARED_MEANING,
        *(_POSTERIORS_MEANING if are_classes else ()),
        *(_DISTRIBUTIONS_MEANING if are_distributions else ()),
        *(_GAPS_MEANING if any(e.gaps for e in experiments) else ()),
    ]


def title(key: str) -> str:
    """Return the printed name of a score, such as macro-F1, or CCC of arousal."""
    metric, part = split_key(key)
    return f"{TITLES[metric]} of {part}" if part else TITLES[metric]


def split_key(key: str) -> tuple[str, str]:
    """Return the metric and the part of the key of a score (scales.key)."""
    if key in TITLES:
        return key, ""
    metric, _, part = key.partition("_")
    return metric, part


def number(value: float, metric: str) -> str:
    """Return a score as text; "" for NaN, where a metric is not defined."""
    return "" if math.isnan(value) else f"{value:.{digits(metric)}f}"


def digits(metric: str) -> int:
    """Return the number of digits after the point."""
    return _DIGITS.get(split_key(metric)[0], 2)


def label(experiment: ExperimentScores) -> str:
    """Return the printed name of an experiment: (tuned: lora) if its encoder is fine-tuned, and marks.

    The marks are those of re-centring and of overlapping speakers.
    """
    tuned = recorded.tuning(experiment.predictions.settings)
    name = f"{experiment.name} (tuned: {tuned})" if tuned else experiment.name
    marks = RECENTRED * experiment.is_recentred + OVERLAPPING * bool(experiment.speaker_overlap)
    return f"{name} {marks}".rstrip()


def describe_nested(experiment: ExperimentScores) -> str:
    """Return a sentence about a nested choice (soctk.training.nested): its points, and which runs chose each."""
    points = experiment.nested_choice
    chosen = "; ".join(f"{point} in {', '.join(runs)}" for point, runs in points.items() if runs)
    return f"nested choice: each run uses the point with its lowest validation loss, of {len(points)} points: {chosen}."


def overlaps(experiments: Iterable[ExperimentScores]) -> list[str]:
    """Return a sentence for each reason why test speakers may be in training data, with the marked experiments."""
    names: dict[str, list[str]] = {}
    for experiment in experiments:
        if experiment.speaker_overlap:
            names.setdefault(experiment.speaker_overlap, []).append(experiment.name)
    return [
        f"{OVERLAPPING} Test speakers are, or may be, in the training data ({', '.join(its_names)}): {reason}. Do not "
        f"compare these scores with scores of speaker-disjoint tests.{_UNKNOWN if 'unknown' in reason else ''}"
        for reason, its_names in names.items()
    ]


def missing_classes(experiments: Sequence[ExperimentScores]) -> list[str]:
    """Return sentences about folds whose UA and macro-F1 are over fewer classes; experiments with equal folds share."""
    sharing: dict[str, list[str]] = {}
    for experiment in experiments:
        predictions = experiment.predictions
        for sentence in describe_missing(predictions.emotions, predictions.folds, experiment.missing_classes()):
            sharing.setdefault(sentence, []).append(label(experiment))
    return [
        sentence if len(names) == len(experiments) else f"{', '.join(names)}: {sentence}"
        for sentence, names in sharing.items()
    ]


def describe_missing(
    emotions: Sequence[str], folds: Iterable[int], missing: Mapping[int, Sequence[str]]
) -> Iterator[str]:
    """Yield a sentence for the classes that all folds lack, and for each set of classes that some folds lack.

    Args:
        emotions: all classes.
        folds: all folds.
        missing: fold -> the classes without test utterances, for the folds that lack classes.
    """
    everywhere = set.intersection(*(set(missing.get(fold, ())) for fold in folds))
    lacking: dict[tuple[str, ...], list[str]] = {}
    if everywhere:
        lacking[tuple(name for name in emotions if name in everywhere)] = []
    for fold, names in missing.items():
        if set(names) != everywhere:
            lacking.setdefault(tuple(names), []).append(str(fold))
    for classes, numbers in lacking.items():
        which = f" of fold{'s' * (len(numbers) > 1)} {', '.join(numbers)}" if numbers else ""
        lack = f"{', '.join(classes)} {'have' if len(classes) > 1 else 'has'} no test utterances"
        yield f"UA and macro-F1{which} are over {len(emotions) - len(classes)} of {len(emotions)} classes: {lack}."


def common_start(names: list[str]) -> str:
    """Return the longest common prefix of names; "" for fewer than two names."""
    if len(names) < 2:
        return ""
    pairs = zip(min(names), max(names), strict=False)  # in alphabetical order, all names lie between these two
    return "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def common_prefix(names: list[str]) -> str:
    """Return the longest common prefix of names that ends with a hyphen or slash and leaves something of each name."""
    common = common_start(names)
    while common and (common[-1] not in "-/" or common in names):
        common = common[:-1]
    return common
