"""The sentences and names that all reports share."""

from itertools import takewhile

from soctk.scoring.score import ExperimentScores

# Marks experiments that use unlabelled recordings of the test speakers (ExperimentScores.is_recentred).
RECENTRED = "†"

TITLES = {"WA": "WA", "UA": "UA", "F1": "macro-F1", "log_loss": "log-loss", "ECE": "ECE"}

HEADS = {
    "mlp": "two layers, trained on the training utterances; the weights are those of the epoch with the lowest "
    "validation loss",
    "linear": "logistic regression. Its regularisation has the lowest loss in an inner cross-validation: a fit on the "
    "other training folds scores each training fold (protocol emobox: a fit on the training utterances scores the "
    "validation utterances). The final fit is on the training and validation utterances together, and does not depend "
    "on the seed",
}

MEANING = (
    "WA is the accuracy over utterances, UA the mean of the class recalls, and macro-F1 the mean of the class F1 "
    "scores, all in %. The value of a fold is the mean over seeds. ± is the sample standard deviation. The labels of "
    "test utterances are used only for these scores.",
    "95% intervals are bootstrap-t intervals over speakers. They are for the value over all utterances, all folds "
    "together, averaged over seeds. They show how the scores vary with other speakers, not with other training runs.",
    "Log-loss (in nats) and expected calibration error (ECE, in %, 15 bins) measure the posteriors.",
)

RECENTRING = (
    f"{RECENTRED} Re-centred: the mean descriptor of each test speaker, estimated from unlabelled recordings of that "
    "speaker, is subtracted. Scores of systems without such recordings are not comparable."
)

COMPARISON_MEANING = (
    "Difference: the second experiment minus the first, over all utterances, averaged over seeds, with the 95% "
    "interval over speakers. p: permutation test that exchanges the answers of the two experiments for whole speakers. "
    "Holm: p, corrected for the number of pairs. McNemar: exact test on the first seed that both have; it treats the "
    "utterances of a speaker as independent."
)


def label(experiment: ExperimentScores) -> str:
    """Return the name of an experiment as reports print it: with a dagger if it is re-centred."""
    return f"{experiment.name} {RECENTRED}" if experiment.is_recentred else experiment.name


def common_start(names: list[str]) -> str:
    """Return the letters with which all names begin; "" for fewer than two names."""
    if len(names) < 2:
        return ""
    pairs = zip(min(names), max(names), strict=False)  # all names lie between these two in alphabetical order
    return "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
