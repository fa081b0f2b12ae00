"""The sentences and names that all reports share."""

from itertools import takewhile

from soctk.scoring.score import ExperimentScores

# Marks experiments that use unlabelled recordings of the test speakers (ExperimentScores.is_recentred).
RECENTRED = "†"

TITLES = {"WA": "WA", "UA": "UA", "F1": "macro-F1", "log_loss": "log-loss", "ECE": "ECE"}

HEADS = {
    "mlp": "two linear layers, trained on the training utterances; the epoch with the lowest validation loss gives the "
    "weights",
    "linear": "logistic regression, fitted to the training and validation utterances together. Its regularisation has "
    "the lowest loss in an inner cross-validation over the folds of these utterances (protocols cross-lingual and "
    "cross-corpus: over fifths of the speakers; protocol emobox: on the validation utterances only). The seed has an "
    "effect only if it draws utterances (protocol emobox, or re-centring with a limited number of recordings)",
}

MEANING = (
    "WA is the accuracy over utterances, UA the mean of the class recalls, and macro-F1 the mean of the class F1 "
    "scores, all in %. The score of a fold is the mean over seeds. ± is the sample standard deviation. The labels of "
    "test utterances are used only for these scores.",
    "A 95% interval belongs to the score over the utterances of all folds together, averaged over seeds. It is a "
    "bootstrap-t interval over speakers: it shows how the score varies with other speakers, not with other training "
    "runs.",
    "Log-loss (in nats) and expected calibration error (ECE, in %, 15 bins) measure the posteriors. The ECE of an "
    "experiment is the mean over folds and seeds.",
)

RECENTRING = (
    f"{RECENTRED} Re-centred: the mean descriptor of each test speaker, estimated from unlabelled recordings of that "
    "speaker, is subtracted from the speaker's descriptors. Do not compare these scores with scores of systems that "
    "use no such recordings."
)

COMPARISON_MEANING = (
    "Difference: the second experiment minus the first, over all utterances, averaged over seeds, with the 95% "
    "interval over speakers. p: p value of a permutation test, which exchanges the predictions of the two experiments "
    "for whole speakers. McNemar: p value of McNemar's exact test on the first common seed; the test treats the "
    "utterances of a speaker as independent. Holm: the p value to the left, corrected for the number of pairs."
)


def label(experiment: ExperimentScores) -> str:
    """Return the printed name of an experiment, which has a dagger if the experiment is re-centred."""
    return f"{experiment.name} {RECENTRED}" if experiment.is_recentred else experiment.name


def common_start(names: list[str]) -> str:
    """Return the longest common prefix of names; "" for fewer than two names."""
    if len(names) < 2:
        return ""
    pairs = zip(min(names), max(names), strict=False)  # in alphabetical order, all names lie between these two
    return "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
