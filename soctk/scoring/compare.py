"""Comparison of experiments in pairs, on the same utterances."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from soctk.errors import SoctkError, plural
from soctk.scoring import scales
from soctk.scoring.intervals import Statistic
from soctk.scoring.predictions import Predictions
from soctk.scoring.score import ExperimentScores
from soctk.scoring.significance import holm, mcnemar, permutation_tests


def compare(experiments: Sequence[ExperimentScores]) -> pd.DataFrame:
    """Compare every pair of experiments.

    Returns:
        A row for each metric (WA, UA, F1; or CCC, r and RMSE of each dimension) and pair of experiments with the same
        metrics and test, with the columns

        - metric, first, second: the metric and the names of the experiments;
        - difference, low, high: the score of the second experiment minus that of the first, over all folds and averaged
          over seeds, and the 95% interval of this difference over speakers;
        - p, p_holm: the p value of the permutation test over speakers, and its correction for the number of pairs;
        - mcnemar, mcnemar_holm (in the rows of WA): the p value of McNemar's exact test, and its correction. This
          test compares the answers of one seed, the first that both experiments have (NaN if they share none). It
          assumes independent utterances, although utterances of one speaker are not independent.

    Raises:
        SoctkError: there are fewer than two experiments, or two of them have different test utterances.
    """
    if len(experiments) < 2:
        raise SoctkError(
            f"a comparison needs two experiments, not only {experiments[0].name}" if experiments else "no experiments",
            remedy="Give two experiments, or a directory with several.",
            where="--compare",
        )
    tables = []
    for same in _by_scale(experiments):
        for other in same[1:]:
            _check_same_utterances(same[0], other)
        tables += _compare_all(same)
    if not tables:
        raise SoctkError(
            "no two experiments predict the same classes or dimensions on the same test",
            remedy="Compare experiments with the same --target and the same tests.",
            where="--compare",
        )
    return pd.concat(tables, ignore_index=True)


def _by_scale(experiments: Sequence[ExperimentScores]) -> list[list[ExperimentScores]]:
    """Return the experiments with the same metrics and test together; those without a partner are left out."""
    together: dict[object, list[ExperimentScores]] = {}
    for experiment in experiments:
        same = (experiment.scale.parts, experiment.scale.compared, experiment.test)
        together.setdefault(same, []).append(experiment)
    return [same for same in together.values() if len(same) > 1]


def _compare_all(experiments: Sequence[ExperimentScores]) -> list[pd.DataFrame]:
    """Return the rows of each metric for experiments with the same metrics."""
    scale = experiments[0].scale
    has_answers = not experiments[0].predictions.dimensions
    by_utterance = _test_pairs([experiment.predictions for experiment in experiments]) if has_answers else []
    groups = {experiment.name: next(scales.groups(experiment.predictions)) for experiment in experiments}
    names = [scales.key(metric, part) for part in scale.parts for metric in scale.compared]
    return [
        _compare_by(name, {experiment: group.statistics[name] for experiment, group in groups.items()}, by_utterance)
        for name in names
    ]


def _compare_by(metric: str, statistics: Mapping[str, Statistic], by_utterance: Sequence[float]) -> pd.DataFrame:
    """Return the rows of one metric; `by_utterance` has McNemar's p value for each pair of experiments."""
    pairs = list(combinations(statistics, 2))
    p_values = permutation_tests([(statistics[first], statistics[second]) for first, second in pairs])
    rows = []
    for (first, second), p_value in zip(pairs, p_values, strict=True):
        difference = statistics[second].minus(statistics[first]).interval()
        names = {"metric": metric, "first": first, "second": second}
        bounds = {"difference": difference.value, "low": difference.low, "high": difference.high}
        rows.append(names | bounds | {"p": p_value})
    table = pd.DataFrame(rows).assign(mcnemar=by_utterance if metric == "WA" else np.nan)
    return table.assign(p_holm=_correct_known(table["p"]), mcnemar_holm=_correct_known(table["mcnemar"]))


def _correct_known(p_values: pd.Series) -> pd.Series:
    """Return the corrected p values; NaN stays NaN and does not count as a test."""
    known = p_values.dropna()
    return pd.Series(holm(known.to_numpy()), index=known.index).reindex(p_values.index)


def _check_same_utterances(first: ExperimentScores, second: ExperimentScores) -> None:
    one, other = first.predictions, second.predictions
    if one.emotions == other.emotions and one.utterances.equals(other.utterances):
        return
    different = set(one.utterances["utt"]) ^ set(other.utterances["utt"])
    what = (
        f"{plural(len(different), 'utterance belongs', 'utterances belong')} to only one of them"
        if different
        else "their labels, speakers or folds differ"
    )
    raise SoctkError(
        f"{first.name} and {second.name} have different test data: {what}",
        remedy="Compare experiments on the same folds of the same corpus.",
        where="--compare",
    )


def _test_pairs(predictions: Sequence[Predictions]) -> list[float]:
    """Return McNemar's p value of each pair for the first seed that both have; NaN if they share no seed."""
    correct = list(map(_mark_correct, predictions))
    p_values = []
    for one, other in combinations(correct, 2):
        shared = sorted(one.keys() & other.keys())
        p_values.append(mcnemar(one[shared[0]], other[shared[0]]) if shared else np.nan)
    return p_values


def _mark_correct(predictions: Predictions) -> dict[int, np.ndarray]:
    """Return for each seed whether each utterance is classified correctly, in the order of `predictions.utterances`."""
    table = predictions.table
    utterance = pd.Index(predictions.utterances["utt"]).get_indexer(pd.Index(table["utt"]))
    correct, seeds = (table["ref"] == table["hyp"]).to_numpy(), table["seed"].to_numpy()
    return {seed: correct[seeds == seed][utterance[seeds == seed].argsort()] for seed in predictions.seeds}
