"""Experiments compared in pairs, on the same utterances."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from soctk.errors import SoctkError
from soctk.scoring.metrics import METRICS
from soctk.scoring.predictions import Predictions
from soctk.scoring.resampling import STATISTICS, Counts, count, holm, permutation_test
from soctk.scoring.score import ExperimentScores


def compare(experiments: Sequence[ExperimentScores]) -> pd.DataFrame:
    """Compare every two experiments.

    Returns:
        A row for each metric (WA, UA, F1) and pair: metric, first, second; difference, how much the second is better,
        all folds together and averaged over seeds, with low and high, its 95% interval over speakers; p of the
        permutation test over speakers, and p_holm, corrected for the number of pairs; and in the rows of WA mcnemar
        and mcnemar_holm, the p of McNemar's exact test. That compares two sets of answers, so it is of the first seed
        that both have (NaN without one), and it takes utterances for independent, which those of a speaker are not.

    Raises:
        SoctkError: there are fewer than two experiments, or two were not tested on the same utterances.
    """
    if len(experiments) < 2:
        raise SoctkError(
            f"only {experiments[0].name} is there" if experiments else "no experiment is there",
            remedy="Give two experiments, or a directory with several.",
            where="--compare",
        )
    for other in experiments[1:]:
        _check_same_utterances(experiments[0], other)
    mcnemar = _mcnemar([experiment.predictions for experiment in experiments])
    counts = {experiment.name: count(experiment.predictions)[0] for experiment in experiments}
    return pd.concat([_of_metric(metric, counts, mcnemar) for metric in METRICS], ignore_index=True)


def _of_metric(metric: str, counts: Mapping[str, Counts], mcnemar: Sequence[float]) -> pd.DataFrame:
    rows = []
    ratios = {name: STATISTICS[metric](its_counts) for name, its_counts in counts.items()}
    for (first, one), (second, other) in combinations(ratios.items(), 2):
        difference = other.minus(one).interval()
        names = {"metric": metric, "first": first, "second": second}
        bounds = {"difference": difference.value, "low": difference.low, "high": difference.high}
        rows.append(names | bounds | {"p": permutation_test(one, other)})
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"])
    table["mcnemar"] = mcnemar if metric == "WA" else np.nan
    known = table["mcnemar"].notna()
    table.loc[known, "mcnemar_holm"] = holm(table.loc[known, "mcnemar"])
    return table


def _check_same_utterances(first: ExperimentScores, second: ExperimentScores) -> None:
    one, other = first.predictions, second.predictions
    if one.emotions == other.emotions and one.utterances.equals(other.utterances):
        return
    different = set(one.utterances["utt"]) ^ set(other.utterances["utt"])
    what = f"{len(different)} utterances are in one alone" if different else "labels, speakers or folds differ"
    raise SoctkError(
        f"{first.name} and {second.name} were not tested alike: {what}",
        remedy="Compare experiments on the same folds of the same corpus.",
        where="--compare",
    )


def _mcnemar(predictions: Sequence[Predictions]) -> list[float]:
    """Return for each pair the two-sided p of McNemar's exact test of the first seed that both have, else NaN."""
    right = [_right(its) for its in predictions]
    p_values = []
    for one, other in combinations(right, 2):
        shared = sorted(one.keys() & other.keys())
        p_values.append(mcnemar(one[shared[0]], other[shared[0]]) if shared else np.nan)
    return p_values


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """Return the two-sided p of McNemar's exact test for whether two systems are right about each utterance."""
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    return binomtest(only_one, only_one + only_other).pvalue if only_one + only_other else 1.0


def _right(predictions: Predictions) -> dict[int, np.ndarray]:
    """Return by seed whether each utterance is classified rightly, in the order of `predictions.utterances`."""
    table = predictions.table
    utterance = pd.Index(predictions.utterances["utt"]).get_indexer(table["utt"])
    right, seeds = (table["ref"] == table["hyp"]).to_numpy(), table["seed"].to_numpy()
    return {seed: right[seeds == seed][utterance[seeds == seed].argsort()] for seed in predictions.seeds}
