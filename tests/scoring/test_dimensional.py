"""Metrics of dimensions and distributions: hand-worked values, other implementations, intervals and tests."""

import math

import numpy as np
import pandas as pd
import pytest
from conftest import write_run
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, pearsonr
from sklearn.metrics import root_mean_squared_error

from soctk.errors import SoctkError
from soctk.reporting import figures, formats, page
from soctk.reporting.report import make
from soctk.scoring import metrics, prediction_file, score
from soctk.scoring.compare import compare
from soctk.scoring.dimensions import Moments, moments
from soctk.scoring.significance import permutation_tests


def test_ccc_equals_a_hand_worked_value():
    # Labels 1, 2, 3, 4 and predictions 2, 2, 4, 4: means 2.5 and 3, variances 1.25 and 1, covariance 1.
    scores = metrics.dimensional(np.array([1.0, 2, 3, 4]), np.array([2.0, 2, 4, 4]))
    assert scores["CCC"] == pytest.approx(2 * 1 / (1.25 + 1 + 0.25))
    assert scores["r"] == pytest.approx(1 / math.sqrt(1.25 * 1))
    assert scores["RMSE"] == pytest.approx(math.sqrt((1 + 0 + 1 + 0) / 4))


@pytest.mark.parametrize("offset", [0, 1e4])
def test_metrics_equal_those_of_scipy_and_scikit_learn(offset):
    generator = np.random.default_rng(0)
    labels = offset + generator.normal(3, 1, 200)
    predicted = 0.6 * labels + generator.normal(0.4 * offset + 1, 0.5, 200)
    scores = metrics.dimensional(labels, predicted)
    assert scores["r"] == pytest.approx(pearsonr(labels, predicted).statistic, abs=1e-9)
    assert scores["RMSE"] == pytest.approx(root_mean_squared_error(labels, predicted), rel=1e-9)
    # Lin's definition as 1 minus the expected squared difference over that of independent values
    independent = np.var(labels) + np.var(predicted) + (labels.mean() - predicted.mean()) ** 2
    assert scores["CCC"] == pytest.approx(1 - np.mean((labels - predicted) ** 2) / independent, abs=1e-9)


@given(st.floats(0.1, 10), st.floats(-100, 100), st.integers(0, 50))
def test_ccc_is_at_most_the_correlation_and_does_not_change_with_the_unit(scale, shift, seed):
    labels, predicted = np.random.default_rng(seed).normal(size=(2, 20))
    one = metrics.dimensional(labels, predicted)
    other = metrics.dimensional(scale * labels + shift, scale * predicted + shift)
    assert abs(one["CCC"]) <= abs(one["r"]) + 1e-12
    assert other["CCC"] == pytest.approx(one["CCC"], abs=1e-6)
    assert other["RMSE"] == pytest.approx(scale * one["RMSE"], rel=1e-6)
    assert metrics.dimensional(labels, labels)["CCC"] == pytest.approx(1)


def test_metrics_of_constant_values_are_not_defined():
    constant = metrics.dimensional(np.array([1.0, 2, 3]), np.full(3, 2.0))
    assert constant["CCC"] == 0
    assert math.isnan(constant["r"])
    assert constant["RMSE"] == pytest.approx(math.sqrt(2 / 3))
    assert math.isnan(metrics.dimensional(np.full(2, 0.1), np.full(2, 0.1))["CCC"])


def test_divergence_and_cross_entropy_equal_those_of_scipy():
    generator = np.random.default_rng(0)
    shares, posteriors = generator.dirichlet(np.ones(4), size=(2, 50))
    shares[:10] = np.eye(4)[generator.integers(0, 4, 10)]  # all annotators agree
    expected = [jensenshannon(p, q, base=2) ** 2 for p, q in zip(shares, posteriors, strict=True)]
    np.testing.assert_allclose(metrics.divergences(shares, posteriors), expected, atol=1e-12)
    expected = [entropy(p) + entropy(p, q) for p, q in zip(shares, posteriors, strict=True)]
    np.testing.assert_allclose(metrics.cross_entropies(shares, posteriors), expected, atol=1e-12)
    # By hand: (1, 0) and (0, 1) have nothing in common; (1, 0) and (1/2, 1/2): m = (3/4, 1/4),
    # (ln(4/3) + ln(2/3)/2 + ln(2)/2) / 2 = 0.2158 nats
    one = metrics.divergences(np.array([[1.0, 0], [1, 0]]), np.array([[0, 1.0], [0.5, 0.5]]))
    assert one == pytest.approx([1, (math.log(4 / 3) + math.log(2 / 3) / 2 + math.log(2) / 2) / 2 / math.log(2)])


def draw(speakers: int, seed: int = 0, noise: float = 0.5, each: int = 6, seeds: int = 1) -> pd.DataFrame:
    """Return a table of predictions in 3 folds, with a label and a prediction of arousal."""
    generator = np.random.default_rng(seed)
    names = [f"s{i:02}" for i in range(speakers) for _ in range(each)]
    labels = np.random.default_rng(99).normal(4, 1, len(names)) + np.repeat(np.arange(speakers) % 3, each)
    table = pd.DataFrame({"spk": names, "ref_arousal": labels})
    table["utt"] = [f"{name}-{i}" for i, name in enumerate(names)]
    table["fold"] = [1 + int(name[1:]) % 3 for name in names]
    runs = []
    for run in range(1, seeds + 1):
        offsets = np.repeat(generator.normal(0, 0.3, speakers), each)
        runs.append(table.assign(seed=run, hyp_arousal=labels + offsets + generator.normal(0, noise, len(names))))
    return pd.concat(runs, ignore_index=True)


def write(path, table: pd.DataFrame, config: str = "") -> None:
    """Write the runs of an experiment."""
    columns = ["utt", "spk", *(name for name in table if name.startswith(("ref_", "hyp_")))]
    for (fold, seed), rows in table.groupby(["fold", "seed"]):
        run = path / f"fold{fold}" / f"seed{seed}"
        run.mkdir(parents=True)
        prediction_file.write(run / "predictions.tsv", rows[columns])
        if config:
            (run / "config.yaml").write_text(config)


def sums_of(table: pd.DataFrame, metric: str) -> Moments:
    terms = metrics.moments(table["ref_arousal"].to_numpy(), table["hyp_arousal"].to_numpy())
    by_speaker = pd.DataFrame(terms).groupby(table["spk"].to_numpy()).sum().to_numpy()
    return Moments(by_speaker[None], metric)


@pytest.mark.parametrize("metric", metrics.DIMENSIONAL)
def test_the_interval_is_that_of_a_jackknife_over_speakers(metric):
    table = draw(9)
    transform = {"RMSE": math.log}.get(metric, math.atanh)

    def measure(rows) -> float:
        return transform(metrics.dimensional(rows["ref_arousal"].to_numpy(), rows["hyp_arousal"].to_numpy())[metric])

    whole = measure(table)
    changes = [measure(table[table["spk"] != name]) - whole for name in table["spk"].unique()]
    margin = 2.306004 * math.sqrt(8 / 9 * sum(change**2 for change in changes))  # t with 8 degrees of freedom
    back = {"RMSE": math.exp}.get(metric, math.tanh)
    expected = (back(whole), back(whole - margin), back(whole + margin))
    assert sums_of(table, metric).interval() == pytest.approx(expected, rel=1e-5)
    few = sums_of(draw(4), metric).interval()
    assert math.isnan(few.low) and math.isfinite(few.value)


@pytest.mark.parametrize("metric", metrics.DIMENSIONAL)
@pytest.mark.parametrize("is_difference", [False, True])
def test_intervals_contain_the_true_value_in_about_95_percent(metric, is_difference):
    """tests/bench/interval_coverage.py --dimensions has more systems; it prints 93 to 98% for 12 speakers."""
    generator = np.random.default_rng(0)

    def draw_systems(speakers: int) -> list[Moments]:
        speaker = np.repeat(np.arange(speakers), generator.poisson(20, speakers) + 2)
        labels = generator.normal(0, 0.4, speakers)[speaker] + generator.normal(size=len(speaker))
        found = []
        for _ in range(1 + is_difference):
            predicted = 0.5 * labels + generator.normal(0, 0.3, speakers)[speaker]
            predicted = predicted + generator.normal(0, 0.5, len(speaker))
            terms = metrics.moments(labels, predicted)
            sums = np.stack([np.bincount(speaker, term, speakers) for term in terms.T], axis=1)
            found.append(Moments(sums[None], metric))
        return found

    truth = 0.0 if is_difference else draw_systems(20_000)[0].value()
    covered = 0
    for _ in range(400):
        first, *others = draw_systems(12)
        interval = (first.minus(others[0]) if others else first).interval()
        covered += interval.low <= truth <= interval.high
    assert 0.915 <= covered / 400 <= 0.985


def test_the_permutation_test_exchanges_the_results_of_speakers():
    one, other = draw(5, seed=1), draw(5, seed=2, noise=1.5)
    observed = sums_of(one, "CCC").value() - sums_of(other, "CCC").value()
    as_large = 0
    for code in range(2**5):
        is_exchanged = (code // 2 ** one["spk"].str[1:].astype(int)) % 2 == 1
        first, second = one.copy(), other.copy()
        first.loc[is_exchanged, "hyp_arousal"] = other["hyp_arousal"]
        second.loc[is_exchanged, "hyp_arousal"] = one["hyp_arousal"]
        difference = sums_of(first, "CCC").value() - sums_of(second, "CCC").value()
        as_large += abs(difference) >= abs(observed) - 1e-9
    assert permutation_tests([(sums_of(one, "CCC"), sums_of(other, "CCC"))]) == pytest.approx([as_large / 32])


def test_scores_come_from_predictions_alone(tmp_path):
    table = draw(6, seeds=2)
    write(tmp_path / "exp", table)
    (scores,) = score.score([tmp_path])
    assert scores.scale.columns == ("CCC_arousal", "r_arousal", "RMSE_arousal")
    by_seed = [
        metrics.dimensional(r["ref_arousal"].to_numpy(), r["hyp_arousal"].to_numpy()) for _, r in table.groupby("seed")
    ]
    for metric in metrics.DIMENSIONAL:
        expected = np.mean([values[metric] for values in by_seed])
        assert scores.pooled[f"{metric}_arousal"].value == pytest.approx(expected, abs=1e-5)
    of_fold = table[(table["fold"] == 2) & (table["seed"] == 1)]
    expected = metrics.dimensional(of_fold["ref_arousal"].to_numpy(), of_fold["hyp_arousal"].to_numpy())["CCC"]
    assert scores.runs.set_index(["fold", "seed"]).loc[(2, 1), "CCC_arousal"] == pytest.approx(expected, abs=1e-5)
    speaker = next(group for group in scores.subgroups if group.attribute == "speaker" and group.value == "s03")
    assert (speaker.utterances, speaker.speakers) == (6, 1)
    own = table[table["spk"] == "s03"].groupby("seed")
    expected = np.mean(
        [metrics.dimensional(r["ref_arousal"].to_numpy(), r["hyp_arousal"].to_numpy())["r"] for _, r in own]
    )
    assert speaker.scores["r_arousal"].value == pytest.approx(expected, abs=1e-4)
    assert next(moments(scores.predictions, "arousal")).shape == (2, 6, 6)


def test_experiments_of_dimensions_and_of_classes_have_their_own_tables_and_comparisons(tmp_path):
    write(tmp_path / "good", draw(6, seed=1, noise=0.2))
    write(tmp_path / "bad", draw(6, seed=2, noise=2))
    for name in ("one", "two"):
        for fold in (1, 2):
            write_run(tmp_path / name / f"fold{fold}" / "seed1", "aa ab bb", [f"f{fold}{i}-x" for i in range(3)])
    report = make([tmp_path], "soctk-score", is_compared=True)
    table = report.comparison.set_index(["metric", "first", "second"])
    assert set(table.index.get_level_values("metric")) == {"WA", "UA", "F1", "CCC_arousal", "r_arousal", "RMSE_arousal"}
    row = table.loc[("CCC_arousal", "bad", "good")]
    bad, good = (next(e for e in report.experiments if e.name == name) for name in ("bad", "good"))
    assert row["difference"] == pytest.approx(good.pooled["CCC_arousal"].value - bad.pooled["CCC_arousal"].value)
    assert row["low"] > 0 and row["p"] == pytest.approx(2 / 64)
    text = formats.as_markdown(report)
    assert "| all utterances" in text and "| good: arousal" in text and "CCC of arousal" in text
    assert "CCC is the concordance correlation coefficient" in text and "WA is the accuracy" in text
    for style in formats.FORMATS.values():
        assert style(report)
    page.write(tmp_path / "report.html", report, figures.pictures(report.experiments, None, False))
    html = (tmp_path / "report.html").read_text()
    assert "predicted over labelled values" in html
    assert "<dt>Arousal</dt>" in html
    assert {picture.name for picture in figures.pictures(report.experiments, None, False)} >= {
        "CCC",
        "WA",
        "good-predicted",
    }


def test_a_comparison_needs_two_experiments_of_a_kind(tmp_path):
    write(tmp_path / "a", draw(6))
    for fold in (1, 2):
        write_run(tmp_path / "b" / f"fold{fold}" / "seed1", "aa ab bb", [f"f{fold}{i}-x" for i in range(3)])
    with pytest.raises(SoctkError, match="no two experiments predict the same"):
        compare(score.score([tmp_path]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("utt\tspk\tref_arousal\thyp_arousal\nu\ts\t1\tx\n", "a value is not a number"),
        ("utt\tspk\tref_arousal\thyp_arousal\nu\ts\t1\tnan\n", "utterance u: a value is not finite"),
        ("utt\tspk\tref_arousal\nu\ts\t1\n", "the columns are not utt, spk, ref, hyp and the emotions"),
        ("utt\tspk\tref_joy\thyp_joy\nu\ts\t1\t1\n", "the columns are not utt, spk, ref, hyp and the emotions"),
        ("utt\tspk\tref_arousal\thyp_arousal\nu\ts\t1\t1\nu\ts\t1\t1\n", "1 utterance"),
        ("utt\tspk\tref\thyp\tdist\ta\tb\nu\ts\ta\ta\t1\t1\t0\n", "dist does not have 2 probabilities"),
        (
            "utt\tspk\tref\thyp\tdist\ta\tb\nu\ts\ta\ta\t0.9,0.9\t1\t0\n",
            "utterance u: the probabilities in dist are not",
        ),
        ("utt\tspk\tref\thyp\tdist\ta\tb\nu\ts\ta\ta\t1,x\t1\t0\n", "a probability in dist is not a number"),
    ],
)
def test_malformed_predictions_of_dimensions_and_distributions_are_refused(tmp_path, content, message):
    (tmp_path / "predictions.tsv").write_text(content)
    with pytest.raises(SoctkError) as error:
        prediction_file.read_run(tmp_path / "predictions.tsv")
    assert message in str(error.value)


def test_distributions_are_scored_beside_the_majority(tmp_path):
    generator = np.random.default_rng(0)
    shares, posteriors = generator.dirichlet(np.ones(3), size=(2, 36))
    names = "abc"
    for fold in (1, 2, 3):
        rows = range(12 * (fold - 1), 12 * fold)
        table = pd.DataFrame(
            {
                "utt": [f"s{i // 6}-{i}" for i in rows],
                "spk": [f"s{i // 6}" for i in rows],
                "ref": [names[shares[i].argmax()] for i in rows],
                "hyp": [names[posteriors[i].argmax()] for i in rows],
                "dist": [",".join(f"{share:.9f}" for share in shares[i]) for i in rows],
            }
        )
        for k, name in enumerate(names):
            table[name] = [f"{posteriors[i, k]:.9f}" for i in rows]
        run = tmp_path / "exp" / f"fold{fold}" / "seed1"
        run.mkdir(parents=True)
        prediction_file.write(run / "predictions.tsv", table)
    report = make([tmp_path / "exp"], "soctk-score")
    pooled = report.experiments[0].pooled
    expected = np.mean([jensenshannon(p, q, base=2) ** 2 for p, q in zip(shares, posteriors, strict=True)])
    assert pooled["JSD"].value == pytest.approx(expected, abs=1e-6)
    assert pooled["JSD"].low < expected < pooled["JSD"].high
    expected = np.mean([entropy(p) + entropy(p, q) for p, q in zip(shares, posteriors, strict=True)])
    assert pooled["cross_entropy"].value == pytest.approx(expected, abs=1e-6)
    assert pooled["WA"].value == pytest.approx(100 * (shares.argmax(1) == posteriors.argmax(1)).mean())
    lines = [line.split() for line in formats.as_text(report).splitlines()]
    row = lines.index(["experiment", "runs", "cross-entropy", "JSD"]) + 2
    assert lines[row] == ["exp", "3", "x", "1", f"{pooled['cross_entropy'].value:.2f}", f"{pooled['JSD'].value:.2f}"]
    text = formats.as_markdown(report)
    assert "cross-entropy [95%]" in text and "Jensen-Shannon divergence" in text
