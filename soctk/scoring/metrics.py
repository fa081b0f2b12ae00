"""Metrics of classes, of distributions over classes, and of values on dimensions.

WA is the accuracy over utterances, UA the mean recall over classes, and macro-F1 the mean F1 over classes, all in %, in
the definitions of EmoBox (arXiv 2406.07162), computed by scikit-learn. Only classes that occur among the references
count as classes. References and hypotheses are class indices.
"""

import numpy as np
import pandas as pd
from scipy.special import rel_entr
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


def cross_entropies(shares: np.ndarray, posteriors: np.ndarray) -> np.ndarray:
    """Return -sum_k p_k ln q_k of each utterance, in nats, `(N,)`.

    Args:
        shares: the annotators' distributions p `(N, K)`.
        posteriors: the posteriors q `(N, K)`.
    """
    return -(shares * np.log(np.maximum(posteriors, SMALLEST_POSTERIOR))).sum(axis=1)


def divergences(shares: np.ndarray, posteriors: np.ndarray) -> np.ndarray:
    """Return the Jensen-Shannon divergence of each utterance, in bits: from 0 for equal distributions to 1, `(N,)`.

    It is (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2 (Lin 1991), for distributions p and q `(N, K)`.
    """
    middle = (shares + posteriors) / 2
    return (rel_entr(shares, middle) + rel_entr(posteriors, middle)).sum(axis=1) / (2 * np.log(2))


def annotated(shares: np.ndarray, posteriors: np.ndarray) -> dict[str, np.ndarray]:
    """Return the cross-entropy and the Jensen-Shannon divergence (`JSD`) of each utterance, `(N,)`."""
    return {"cross_entropy": cross_entropies(shares, posteriors), "JSD": divergences(shares, posteriors)}


def dimensional(reference: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return CCC, Pearson's correlation (`r`) and RMSE of one dimension.

    CCC is the concordance correlation coefficient 2 s_xy / (s_xx + s_yy + (m_x - m_y)^2) with means m, and variances
    and covariance s, which are divided by N (Lin 1989). RMSE is in the unit of the labels. CCC and r are NaN where they
    are not defined: if labels and predictions are all equal, and if either of them is constant.

    Args:
        reference: the labels `(N,)`.
        predicted: the predictions `(N,)`.
    """
    values = moments(reference - reference.mean(), predicted - reference.mean()).sum(0)
    return {name: float(function(values)) for name, function in DIMENSIONAL.items()}


def moments(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the terms of the sums that the metrics of a dimension need, `(N, 6)`: 1, x, y, x^2, y^2, xy."""
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)


def concordance(sums: np.ndarray) -> np.ndarray:
    """Return CCC for sums of `moments`, `(..., 6)`."""
    _, mean_x, mean_y, variance_x, variance_y, covariance = _central(sums)
    distance = variance_x + variance_y + (mean_x - mean_y) ** 2
    return np.where(distance > 0, 2 * covariance / np.where(distance > 0, distance, 1), np.nan)


def correlation(sums: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation for sums of `moments`, `(..., 6)`."""
    _, _, _, variance_x, variance_y, covariance = _central(sums)
    product = np.sqrt(variance_x * variance_y)
    return np.where(product > 0, covariance / np.where(product > 0, product, 1), np.nan)


def root_mean_square(sums: np.ndarray) -> np.ndarray:
    """Return RMSE for sums of `moments`, `(..., 6)`."""
    count, *_, square_x, square_y, product = np.moveaxis(sums, -1, 0)
    return np.sqrt(np.maximum(square_x + square_y - 2 * product, 0) / np.where(count > 0, count, np.nan))


# The metrics of a dimension: functions of sums of `moments`.
DIMENSIONAL = {"CCC": concordance, "r": correlation, "RMSE": root_mean_square}


def _central(sums: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the number, the two means, the two variances and the covariance.

    Variances that are rounding errors of the sums are 0.
    """
    count, sum_x, sum_y, square_x, square_y, product = np.moveaxis(sums, -1, 0)
    count = np.where(count > 0, count, np.nan)
    mean_x, mean_y = sum_x / count, sum_y / count
    variances = []
    for square, mean in ((square_x, mean_x), (square_y, mean_y)):
        variance = square / count - mean**2
        variances.append(np.where(variance > 1e-12 * square / count, variance, 0))
    return count, mean_x, mean_y, *variances, product / count - mean_x * mean_y
