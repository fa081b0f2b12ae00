"""The sentences and names that all reports share."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile

from soctk.scoring.score import ExperimentScores

# Marks experiments that use unlabelled recordings of the test speakers (ExperimentScores.is_recentred).
RECENTRED = "†"

TITLES = {"WA": "WA", "UA": "UA", "F1": "macro-F1", "log_loss": "log-loss", "ECE": "ECE"}

HEADS = {
    "mlp": "two linear layers, trained on the training utterances; the epoch with the lowest validation loss gives the "
    "weights",
    "linear": "logistic regression, fitted to the training and validation utterances together. Its regularisation has "
    "the lowest loss among a grid of values of C, which grows at an edge that has the lowest loss, in an inner "
    "cross-validation over the folds of these utterances (protocols cross-lingual and "
    "cross-corpus: over fifths of the speakers; protocol emobox: on the validation utterances only). The seed has an "
    "effect only if it draws utterances (protocol emobox, or re-centring with a limited number of recordings)",
}

MEANING = (
    "WA is the accuracy over utterances, UA the mean of the class recalls, and macro-F1 the mean of the class F1 "
    "scores, all in %. UA and macro-F1 of a fold or a subgroup are means over the classes that it has. The labels of "
    "test utterances are used only for these scores.",
    "All utterances: each seed is scored over the test utterances of all folds together, and the scores are averaged "
    "over seeds. [] is the 95% interval of this score. It shows how the score varies with other speakers, not with "
    "other training runs.",
    "Folds: each fold is scored alone, and averaged over seeds. ± is the sample standard deviation. Published scores "
    "are often means over folds (as in EmoBox).",
    "Log-loss (in nats) and expected calibration error (ECE, in %, 15 bins) measure the posteriors.",
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


def label(experiment: ExperimentScores) -> str:
    """Return the printed name of an experiment, which has a dagger if the experiment is re-centred."""
    return f"{experiment.name} {RECENTRED}" if experiment.is_recentred else experiment.name


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
