"""Classification metrics in the definitions of EmoBox (arXiv 2406.07162), computed by scikit-learn.

WA is the accuracy over utterances, UA the mean recall over classes, and macro-F1 the mean F1 over classes, all in %.
Only classes that occur among the references count as classes. References and hypotheses are class indices.
"""

import numpy as np
import pandas as pd
from sklearn import metrics

METRICS = ("WA", "UA", "F1")
CLASS_COLUMNS = ("precision", "recall", "F1", "utterances")
# predictions.tsv has posteriors with six decimals. A posterior of 0 there is less than half of the last decimal.
SMALLEST_POSTERIOR = 5e-7
CALIBRATION_BINS = 15


def accuracies(reference: np.ndarray, hypothesis: np.ndarray) -> dict[str, float]:
    """Return WA, UA and macro-F1 (`F1`), in %.

    Args:
        reference: class indices `(N,)`, N > 0.
        hypothesis: class indices `(N,)`.
    """
    # scikit-learn gets each pair of classes once, weighted by its count: a hundred times faster than N pairs.
    classes = 1 + max(reference.max(), hypothesis.max())
    counts = np.bincount(classes * reference + hypothesis, minlength=classes**2)
    pairs = np.divmod(np.arange(classes**2), classes)
    _, recall, f1, _ = metrics.precision_recall_fscore_support(
        *pairs, labels=np.unique(reference), average="macro", zero_division=0, sample_weight=counts
    )
    accuracy = metrics.accuracy_score(*pairs, sample_weight=counts)
    return {"WA": 100 * float(accuracy), "UA": 100 * float(recall), "F1": 100 * float(f1)}


def log_losses(reference: np.ndarray, posteriors: np.ndarray) -> np.ndarray:
    """Return -ln of the posterior of the reference class, in nats, `(N,)`, for posteriors `(N, K)`."""
    return -np.log(np.maximum(posteriors[np.arange(len(reference)), reference], SMALLEST_POSTERIOR))


def calibration_error(reference: np.ndarray, posteriors: np.ndarray) -> float:
    """Return the expected calibration error (ECE), in %, for posteriors `(N, K)`.

    The highest posterior of each utterance falls into one of 15 bins of equal width. The error of a bin is the
    distance between its accuracy and its mean highest posterior; ECE is the mean of this error over utterances (Guo et
    al. 2017, arXiv 1706.04599, equation 3).
    """
    confidence, correct = posteriors.max(axis=1), posteriors.argmax(axis=1) == reference
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    excess, _ = np.histogram(np.minimum(confidence, 1), edges, weights=correct - confidence)
    return float(100 * np.abs(excess).sum() / len(reference))


def probabilistic(reference: np.ndarray, posteriors: np.ndarray) -> dict[str, float]:
    """Return the mean log-loss in nats and the expected calibration error (`ECE`) in %, for posteriors `(N, K)`."""
    return {
        "log_loss": float(log_losses(reference, posteriors).mean()),
        "ECE": calibration_error(reference, posteriors),
    }


def per_class(reference: np.ndarray, hypothesis: np.ndarray, emotions: tuple[str, ...]) -> pd.DataFrame:
    """Return precision, recall and F1 in %, and the number of utterances, one row for each class."""
    columns = metrics.precision_recall_fscore_support(
        reference, hypothesis, labels=np.arange(len(emotions)), zero_division=0
    )
    percentages = (100 * column for column in columns[:3])
    return pd.DataFrame(dict(zip(CLASS_COLUMNS, (*percentages, columns[3]), strict=True)), index=emotions)


def confusion(reference: np.ndarray, hypothesis: np.ndarray, emotions: tuple[str, ...]) -> pd.DataFrame:
    """Return the number of utterances of each class (rows) that were classified as each class (columns)."""
    counts = metrics.confusion_matrix(reference, hypothesis, labels=np.arange(len(emotions)))
    return pd.DataFrame(counts, index=emotions, columns=emotions)
