"""Likely wrong labels, by confident learning (Northcutt, Jiang & Chuang 2021, JAIR 70, arXiv 1911.00068).

The posterior of each utterance comes from a model that did not train on it, so a label that the model contradicts with
confidence is worth a second look. The posteriors are averaged over seeds.

- Threshold of class j, its mean self-confidence (equation 2): t_j = mean of p_j(x) over the utterances x labelled j.
- Confident joint (equation 1): C_ij counts the utterances labelled i with j = argmax of p_l(x) over the classes l with
  p_l(x) >= t_l; utterances without such a class do not count.

The suspects are the utterances outside of the diagonal of C. Utterances are ranked by self-confidence, the posterior of
their label; the lowest comes first. On RAVDESS with 5% of the labels changed at random it finds more of them than the
normalised margin, the paper's other ranking (docs/scoring.md). The paper's estimate of the number of wrong labels is
not given: it counts the confident errors of the model, and was 3 to 4 times too high there.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from soctk.scoring.predictions import Predictions


@dataclass(frozen=True)
class Suspects:
    """The likely wrong labels of an experiment.

    Attributes:
        table: a row for each test utterance, the lowest posterior of the label first: utt, spk, fold, label, predicted
            (the class with the highest posterior), label_posterior, predicted_posterior, and is_suspect.
    """

    table: pd.DataFrame

    @property
    def count(self) -> int:
        """The number of suspects."""
        return int(self.table["is_suspect"].sum())


def find(predictions: Predictions) -> Suspects:
    """Return the likely wrong labels among the test utterances of an experiment on classes."""
    means = pd.DataFrame(predictions.posteriors).groupby(predictions.table["utt"]).mean()
    utterances = predictions.utterances.set_index("utt").loc[means.index]
    labels, posteriors = utterances["ref"].to_numpy(), means.to_numpy()
    confident = find_confident(labels, posteriors)
    rows, predicted = np.arange(len(labels)), posteriors.argmax(axis=1)
    names = pd.Index(predictions.emotions)
    table = pd.DataFrame(
        {
            "utt": means.index,
            "spk": utterances["spk"].to_numpy(),
            "fold": utterances["fold"].to_numpy(),
            "label": names[labels],
            "predicted": names[predicted],
            "label_posterior": posteriors[rows, labels],
            "predicted_posterior": posteriors[rows, predicted],
            "is_suspect": (confident >= 0) & (confident != labels),
        }
    )
    table = table.sort_values(["label_posterior", "predicted_posterior", "utt"], ascending=[True, False, True])
    return Suspects(table.reset_index(drop=True))


def thresholds(labels: np.ndarray, posteriors: np.ndarray) -> np.ndarray:
    """Return the threshold of each class `(K,)`; infinity for a class without labels.

    Args:
        labels: class indices `(N,)`.
        posteriors: `(N, K)`.
    """
    counts = np.bincount(labels, minlength=posteriors.shape[1])
    sums = np.bincount(labels, posteriors[np.arange(len(labels)), labels], minlength=posteriors.shape[1])
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)


def find_confident(labels: np.ndarray, posteriors: np.ndarray) -> np.ndarray:
    """Return the class with the highest posterior among those that reach their threshold; -1 without any, `(N,)`."""
    reached = posteriors >= thresholds(labels, posteriors)
    return np.where(reached.any(axis=1), np.where(reached, posteriors, -1).argmax(axis=1), -1)
