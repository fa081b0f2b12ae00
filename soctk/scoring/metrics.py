"""Metrics of classification, by scikit-learn, in EmoBox's definitions (arXiv 2406.07162); classes are indices.

WA is accuracy over utterances, UA the mean of the recalls, and macro-F1 the mean of the F1 scores, of the classes that
occur among the references. They are in %.
"""

import numpy as np
import pandas as pd
from sklearn import metrics

METRICS = ("WA", "UA", "F1")
# Posteriors stand in predictions.tsv with six decimals: a 0 there is below half of the last one.
SMALLEST_POSTERIOR = 5e-7
CALIBRATION_BINS = 15


def accuracies(reference: np.ndarray, hypothesis: np.ndarray) -> dict[str, float]:
    """Return WA, UA and macro-F1 (`F1`), in %, of class indices `(N,)`."""
    # Each pair of classes once, with how often it occurs, which scikit-learn goes through a hundred times faster.
    classes = 1 + max(reference.max(), hypothesis.max())
    counts = np.bincount(classes * reference + hypothesis, minlength=classes**2)
    pairs = np.divmod(np.arange(classes**2), classes)
    _, recall, f1, _ = metrics.precision_recall_fscore_support(
        *pairs, labels=np.unique(reference), average="macro", zero_division=0, sample_weight=counts
    )
    accuracy = metrics.accuracy_score(*pairs, sample_weight=counts)
    return {"WA": 100 * accuracy, "UA": 100 * recall, "F1": 100 * f1}


def log_losses(reference: np.ndarray, posteriors: np.ndarray) -> np.ndarray:
    """Return -ln of the posterior of each utterance's class, in nats, `(N,)`, for posteriors `(N, K)`."""
    return -np.log(np.maximum(posteriors[np.arange(len(reference)), reference], SMALLEST_POSTERIOR))


def calibration_error(reference: np.ndarray, posteriors: np.ndarray) -> float:
    """Return the expected calibration error, in %, for posteriors `(N, K)`.

    The highest posteriors fall into 15 bins of equal width; the error is the mean over utterances of the distance
    between accuracy and mean posterior in their bin (Guo et al. 2017, arXiv 1706.04599, equation 3).
    """
    confidence, correct = posteriors.max(axis=1), posteriors.argmax(axis=1) == reference
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    excess, _ = np.histogram(np.minimum(confidence, 1), edges, weights=correct - confidence)
    return float(100 * np.abs(excess).sum() / len(reference))


def probabilistic(reference: np.ndarray, posteriors: np.ndarray) -> dict[str, float]:
    """Return the log-loss in nats and the expected calibration error (`ECE`) in %, for posteriors `(N, K)`."""
    return {
        "log_loss": float(log_losses(reference, posteriors).mean()),
        "ECE": calibration_error(reference, posteriors),
    }


def per_class(reference: np.ndarray, hypothesis: np.ndarray, emotions: tuple[str, ...]) -> pd.DataFrame:
    """Return precision, recall and F1 in %, and how many utterances are of it, a row a class."""
    rows = metrics.precision_recall_fscore_support(
        reference, hypothesis, labels=np.arange(len(emotions)), zero_division=0
    )
    table = pd.DataFrame(dict(zip(("precision", "recall", "F1", "utterances"), rows, strict=True)), index=emotions)
    return table.assign(**{column: 100 * table[column] for column in ("precision", "recall", "F1")})


def confusion(reference: np.ndarray, hypothesis: np.ndarray, emotions: tuple[str, ...]) -> pd.DataFrame:
    """Return how many utterances of each class (rows) were taken for each (columns)."""
    counts = metrics.confusion_matrix(reference, hypothesis, labels=np.arange(len(emotions)))
    return pd.DataFrame(counts, index=emotions, columns=emotions)
