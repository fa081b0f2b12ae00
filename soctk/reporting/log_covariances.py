"""How much log-covariances differ between emotions and between speakers, and in which directions."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from soctk.reporting import drawing
from soctk.reporting.drawing import WIDTH
from soctk.scoring.score import ExperimentScores

DIRECTIONS = 24
_COLUMNS = 1 << 12  # columns of descriptors to convert to float64 at a time
_MATRICES = 16  # matrices in memory at a time


@dataclass(frozen=True)
class Comparison:
    """The variance of log-covariances between and within groups.

    Shares are adjusted for the number of groups (epsilon squared, Kelley 1935): 1 - MS_within / MS_total. A share is
    0 on average if the groups do not differ, and NaN if every utterance is a group of its own.

    Attributes:
        directions: m, the number of directions: the leading eigenvectors of the mean log-covariance.
        by_emotion: `(m, m)`: the share of the variance of each entry that lies between emotions. Entry (i, j) is u' L v
            for the directions u and v. The diagonal has the log-variances, the other entries the correlations.
        by_speaker: the same between speakers.
        total_by_emotion: the share of the whole variance, of all entries in all directions.
        total_by_speaker: the same between speakers.
        distances: `(K, K)`: the distance between the means of two emotions, divided by the standard deviation within
            emotions (the root of the whole variance). Without the part that finite samples add: it is 0, on average
            of squares, for equal distributions. NaN for emotions without utterances.
    """

    directions: int
    by_emotion: np.ndarray
    by_speaker: np.ndarray
    total_by_emotion: float
    total_by_speaker: float
    distances: np.ndarray


def compare(vectors: np.ndarray, emotions: np.ndarray, speakers: np.ndarray, num_classes: int) -> Comparison:
    """Compare log-covariances between emotions and between speakers.

    Args:
        vectors: the log-covariances `(N, d(d+1)/2)` of N utterances (soctk.reporting.descriptors.LogCovariances).
        emotions: the index of the emotion of each utterance, `(N,)`.
        speakers: the speaker of each utterance, `(N,)`.
        num_classes: K.
    """
    entries = _in_leading_directions(vectors)
    size = entries.shape[1]
    flat = entries.reshape(len(entries), -1)
    return Comparison(
        directions=size,
        by_emotion=_share(*_variances(flat, emotions)).reshape(size, size),
        by_speaker=_share(*_variances(flat, speakers)).reshape(size, size),
        total_by_emotion=float(_share(*(v.sum() for v in _variances(vectors, emotions)))),
        total_by_speaker=float(_share(*(v.sum() for v in _variances(vectors, speakers)))),
        distances=_distances(vectors, emotions, num_classes),
    )


def draw(experiment: ExperimentScores, comparison: Comparison) -> Figure:
    """Draw the shares of variance by emotion and by speaker, and the distances between emotions."""
    emotions = [drawing.clipped(name, 16) for name in experiment.predictions.emotions]
    figure = Figure(figsize=(WIDTH, 5.4 + 0.36 * len(emotions)), layout="constrained")
    upper, lower = np.asarray(figure.subfigures(2, 1, height_ratios=(4, 1.4 + 0.36 * len(emotions))))
    panels = upper.subplots(1, 2)
    shares = (100 * comparison.by_emotion, 100 * comparison.by_speaker)
    totals = (comparison.total_by_emotion, comparison.total_by_speaker)
    limit = max(np.nan_to_num(share).max() for share in shares) or 1
    ticks = [i for i in range(comparison.directions) if i == 0 or (i + 1) % 6 == 0]
    for axes, name, share, total in zip(panels, ("emotions", "speakers"), shares, totals, strict=True):
        image = axes.imshow(share, cmap="cividis", vmin=0, vmax=limit)
        axes.set_title(f"between {name} (all entries: {_percent(total)})", fontsize=11)
        axes.set_xticks(ticks, [str(i + 1) for i in ticks], fontsize=9)
        axes.set_yticks(ticks, [str(i + 1) for i in ticks], fontsize=9)
        axes.set_xlabel("direction", fontsize=10)
    panels[0].set_ylabel("direction", fontsize=10)
    upper.colorbar(image, ax=list(panels), shrink=0.8, label="share of the variance (%)")
    axes = lower.subplots()
    image = axes.imshow(comparison.distances, cmap="cividis", vmin=0, aspect="auto")
    middle = np.nanmax(np.nan_to_num(comparison.distances)) / 2
    for (row, column), value in np.ndenumerate(comparison.distances):
        if row != column and not np.isnan(value):
            colour = "black" if value > middle else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9, color=colour)
    axes.set_title("distance between the means of two emotions, in standard deviations within emotions", fontsize=11)
    axes.set_xticks(range(len(emotions)), emotions, rotation=35, ha="right", rotation_mode="anchor", fontsize=10)
    axes.set_yticks(range(len(emotions)), emotions, fontsize=10)
    lower.colorbar(image, ax=axes)
    figure.suptitle(f"{drawing.title(experiment)}\nvariance of log-covariances", fontsize=12)
    return figure


def describe(comparison: Comparison, emotions: tuple[str, ...]) -> str:
    """Return sentences about the figure: what is drawn, and its main numbers."""
    diagonal = 100 * np.diag(comparison.by_emotion).clip(0)
    others = 100 * comparison.by_emotion[~np.eye(comparison.directions, dtype=bool)].clip(0)
    text = (
        f"Of the whole variance, {_percent(comparison.total_by_emotion)} lies between emotions and "
        f"{_percent(comparison.total_by_speaker)} between speakers (adjusted for the number of groups; 0% if they do "
        f"not differ). The maps show these shares for the entries of the matrices in the {comparison.directions} "
        "leading eigenvectors of the mean matrix: log-variances on the diagonal (between emotions "
        f"{np.median(diagonal):.0f}% in the median, {diagonal.max():.0f}% at most, in direction "
        f"{diagonal.argmax() + 1})"
    )
    text += f", correlations elsewhere ({np.median(others):.0f}%, {others.max():.0f}%)." if others.size else "."
    pairs = [(comparison.distances[i, j], i, j) for i, j in zip(*np.triu_indices(len(emotions), 1), strict=True)]
    pairs = sorted(pair for pair in pairs if not np.isnan(pair[0]))
    if pairs:
        (low, *nearest), (high, *farthest) = pairs[0], pairs[-1]
        near, far = (" and ".join(emotions[i] for i in pair) for pair in (nearest, farthest))
        text += f" The nearest emotions are {near} ({low:.2f} standard deviations), the farthest {far} ({high:.2f})."
    return text


def _share(within: np.ndarray, total: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, 1 - within / total, np.where(np.isnan(within), np.nan, 0))


def _variances(values: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the unbiased variances `(F,)` of values `(N, F)` within groups `(N,)`, and without groups."""
    codes, names = pd.factorize(groups)
    sizes = np.bincount(codes)[:, None]
    within, total = np.empty(values.shape[1]), np.empty(values.shape[1])
    for start in range(0, values.shape[1], _COLUMNS):
        part = values[:, start : start + _COLUMNS].astype(np.float64)
        part -= part.mean(axis=0)
        squares = (part**2).sum(axis=0)
        between = (sizes * _means(part, codes, len(names)) ** 2).sum(axis=0)
        total[start : start + _COLUMNS] = squares / max(len(values) - 1, 1)
        degrees = len(values) - len(names)
        within[start : start + _COLUMNS] = (squares - between) / degrees if degrees else np.nan
    return within, total


def _means(values: np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
    """Return the means `(count, F)` of the groups; NaN for groups without values."""
    membership = (codes == np.arange(count)[:, None]).astype(values.dtype)
    with np.errstate(invalid="ignore"):
        return membership @ values / membership.sum(axis=1, keepdims=True)


def _distances(vectors: np.ndarray, emotions: np.ndarray, num_classes: int) -> np.ndarray:
    within = _variances(vectors, emotions)[0].sum()
    means = _means(vectors, emotions, num_classes).astype(np.float64)
    sizes = np.bincount(emotions, minlength=num_classes)
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = np.array([[((one - other) ** 2).sum() for other in means] for one in means])
        squares -= within * (1 / sizes + 1 / sizes[:, None])
        result = np.sqrt(np.maximum(squares, 0) / within)
    np.fill_diagonal(result, np.where(sizes > 0, 0, np.nan))
    return result


def _in_leading_directions(vectors: np.ndarray) -> np.ndarray:
    """Return the matrices `(N, m, m)` in the basis of the m leading eigenvectors of their mean, m = d or DIRECTIONS."""
    mean = _symmetric(vectors.mean(axis=0, dtype=np.float64)[None])[0]
    basis = np.linalg.eigh(mean)[1][:, : -DIRECTIONS - 1 : -1]
    parts = np.split(vectors, range(_MATRICES, len(vectors), _MATRICES))
    return np.concatenate([basis.T @ _symmetric(part) @ basis for part in parts])


def _symmetric(vectors: np.ndarray) -> np.ndarray:
    """Return the symmetric matrices `(N, d, d)` with the vectors `(N, d(d+1)/2)`: soctk.pooling.spd.tangent_vector."""
    size = int(np.sqrt(2 * vectors.shape[1]))
    rows, columns = np.triu_indices(size)
    values = np.where(rows == columns, 1, np.sqrt(0.5)) * vectors
    matrices = np.zeros((len(vectors), size, size))
    matrices[:, rows, columns] = values
    matrices[:, columns, rows] = values
    return matrices


def _percent(share: float) -> str:
    return "an unknown share" if np.isnan(share) else f"{100 * max(share, 0):.1f}%"
