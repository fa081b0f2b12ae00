"""Maps of test utterances by the logits of the models that tested them: t-SNE, and UMAP if umap-learn is installed."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from soctk.reporting import drawing
from soctk.reporting.drawing import WIDTH, legend_below, series
from soctk.reporting.wording import common_start
from soctk.scoring.predictions import Predictions
from soctk.scoring.score import ExperimentScores

# With more points, the symbols hide each other, and t-SNE takes long.
MOST_UTTERANCES = 800
# Points with fewer different posteriors make no map.
FEWEST_DIFFERENT = 10
# predictions.tsv has six decimals.
_SMALLEST_POSTERIOR = 1e-6
_PERPLEXITY = 30
_NEIGHBOURS = 10
# Of more than _MOST_LISTED speakers, the _COLOURED ones with the most utterances have a colour.
_MOST_LISTED, _COLOURED = 24, 12


@dataclass(frozen=True)
class Outputs:
    """The outputs of the models for test utterances, each tested by the model of its own fold.

    The models of all folds have the same classes, so their logits share axes; their descriptors need not.

    Attributes:
        seed: the seed of the models.
        utterances: one row per utterance: spk, and ref (the index of the emotion).
        logits: `(N, K)`: the logits of K classes minus their mean, which is the same as the logarithms of the
            posteriors minus their mean. Posteriors below 1e-6 count as 1e-6.
        available: the number of test utterances, of which N were drawn at random.
    """

    seed: int
    utterances: pd.DataFrame
    logits: np.ndarray
    available: int

    @property
    def neighbours(self) -> int:
        """The number of nearest utterances that `same_among_neighbours` looks at."""
        return min(_NEIGHBOURS, len(self.logits) - 1)

    @property
    def is_mappable(self) -> bool:
        """Whether the outputs are different enough for a map."""
        return len(np.unique(self.logits, axis=0)) >= FEWEST_DIFFERENT and self.logits.shape[1] > 1

    def same_among_neighbours(self, column: str) -> tuple[float, float]:
        """Return how often one of the nearest utterances has the same value of a column, in %, and the chance level.

        Nearest is meant by the distance between logits. The chance level is the share of such pairs among all pairs.
        """
        from sklearn.neighbors import NearestNeighbors

        values = self.utterances[column].to_numpy()
        found = NearestNeighbors(n_neighbors=self.neighbours).fit(self.logits).kneighbors(return_distance=False)
        sizes = np.unique(values, return_counts=True)[1]
        chance = (sizes * (sizes - 1)).sum() / (len(values) * (len(values) - 1))
        return 100 * float((values[found] == values[:, None]).mean()), 100 * float(chance)


def outputs(predictions: Predictions) -> Outputs:
    """Return the outputs of the models of the first seed, for at most MOST_UTTERANCES test utterances of all folds."""
    seed = predictions.seeds[0]
    rows = np.flatnonzero(predictions.table["seed"] == seed)
    chosen = np.sort(np.random.default_rng(0).permutation(rows)[:MOST_UTTERANCES])
    logarithms = np.log(np.maximum(predictions.posteriors[chosen], _SMALLEST_POSTERIOR))
    logits = logarithms - logarithms.mean(axis=1, keepdims=True)
    return Outputs(seed, predictions.table.iloc[chosen][["spk", "ref"]].reset_index(drop=True), logits, len(rows))


def embed(values: np.ndarray) -> dict[str, np.ndarray]:
    """Return method -> points `(N, 2)` of vectors `(N, K)`; UMAP only if umap-learn is installed."""
    from sklearn.manifold import TSNE

    perplexity = min(_PERPLEXITY, (len(values) - 1) / 3)
    with threadpool_limits(1):  # threads slow t-SNE of so few points down, many times on a busy machine
        points = {"t-SNE": TSNE(perplexity=perplexity, random_state=0, init="pca").fit_transform(values)}
        try:
            import umap
        except ImportError:
            return points
        return points | {"UMAP": umap.UMAP(random_state=0, n_jobs=1).fit_transform(values)}


def draw(experiment: ExperimentScores, points: np.ndarray, utterances: pd.DataFrame, method: str) -> Figure:
    """Draw points `(N, 2)` coloured by emotion on the left and by speaker on the right.

    Args:
        experiment: the experiment.
        points: the utterances in two dimensions.
        utterances: one row for each point: spk, and ref (the index of the emotion).
        method: the name of the method that computed the points, for the title.
    """
    emotions = [drawing.clipped(name) for name in experiment.predictions.emotions]
    speakers = _named_speakers(utterances["spk"])
    legends = (drawing.legend_height(emotions), drawing.legend_height(list(speakers.values())))
    figure = Figure(figsize=(WIDTH, 4.6 + max(legends)), layout="constrained")
    by_emotion, by_speaker = figure.subplots(1, 2)
    drawn = [_scatter(by_emotion, points[utterances["ref"] == i], i) for i in range(len(emotions))]
    legend_below(by_emotion, drawn, emotions)
    by_emotion.set_title("by emotion", fontsize=11)
    others = points[~utterances["spk"].isin(speakers.keys())]
    by_speaker.scatter(*others.T, s=8, color="0.8", linewidths=0)
    drawn = [_scatter(by_speaker, points[utterances["spk"] == name], i) for i, name in enumerate(speakers)]
    legend_below(by_speaker, drawn, list(speakers.values()))
    count = utterances["spk"].nunique()
    named = f"{count}" if count == len(speakers) else f"{len(speakers)} of {count}, others grey"
    by_speaker.set_title(f"by speaker ({named})", fontsize=11)
    for axes in (by_emotion, by_speaker):
        axes.set_xticks([])
        axes.set_yticks([])
    what = f"{method} of the logits of {len(points)} test utterances"
    figure.suptitle(f"{drawing.title(experiment)}\n{what}", fontsize=12)
    return figure


def _named_speakers(speakers: pd.Series) -> dict[str, str]:
    """Return name -> short name of all speakers, or, of many, of those with the most utterances."""
    sizes = speakers.value_counts(sort=False).sort_index().sort_values(ascending=False, kind="stable")
    names = sorted(sizes.index if len(sizes) <= _MOST_LISTED else sizes.index[:_COLOURED])
    common = common_start(names).rstrip("0123456789")
    common = "" if common in names else common
    return {name: drawing.clipped(name.removeprefix(common)) for name in names}


def _scatter(axes: Axes, points: np.ndarray, index: int) -> PathCollection:
    return axes.scatter(points[:, 0], points[:, 1], s=18, alpha=0.8, linewidths=0, **series(index))
