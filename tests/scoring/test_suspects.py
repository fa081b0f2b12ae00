import numpy as np
import pytest
from conftest import write_run

from soctk.scoring import score, suspects

LABELS = np.array([0, 0, 0, 1, 1, 2])
POSTERIORS = np.array(
    [
        [0.8, 0.1, 0.1],  # self-confidences of class 0: 0.8, 0.6, 0.1, so its threshold is 0.5
        [0.6, 0.3, 0.1],
        [0.1, 0.8, 0.1],  # class 1 (threshold 0.65): suspect
        [0.2, 0.7, 0.1],
        [0.3, 0.6, 0.1],  # below the thresholds of all classes
        [0.52, 0.1, 0.38],  # both class 0 (0.5) and class 2 (0.38) reach their thresholds; class 0 is higher: suspect
    ]
)


def test_thresholds_equal_hand_worked_ones():
    assert suspects.thresholds(LABELS, POSTERIORS) == pytest.approx([0.5, 0.65, 0.38])


def test_the_threshold_of_a_class_without_labels_is_never_reached():
    assert suspects.thresholds(np.array([0, 0]), np.array([[0.5, 0.5], [0.7, 0.3]])) == pytest.approx([0.6, np.inf])


def test_the_confident_class_is_the_highest_that_reaches_its_threshold():
    assert suspects.find_confident(LABELS, POSTERIORS).tolist() == [0, 0, 1, 1, -1, 0]
    # The highest posterior, of class 0 (threshold 0.8), does not reach it, but class 1 (threshold 0.3) does.
    posteriors = np.array([[0.95, 0.05], [0.65, 0.35], [0.75, 0.25], [0.65, 0.35]])
    assert suspects.find_confident(np.array([0, 0, 1, 1]), posteriors).tolist() == [0, 1, -1, 1]


def write_posteriors(path, labels, posteriors) -> None:
    path.mkdir(parents=True)
    lines = [
        "\t".join([f"s{i % 7}-{i:04}", f"s{i % 7}", "abc"[label], "abc"[row.argmax()], *(f"{p:.6f}" for p in row)])
        for i, (label, row) in enumerate(zip(labels, posteriors, strict=True))
    ]
    (path / "predictions.tsv").write_text("\n".join(["utt\tspk\tref\thyp\ta\tb\tc", *lines]) + "\n")


def test_posteriors_are_averaged_over_seeds_and_the_lowest_comes_first(tmp_path):
    other = np.where(np.arange(6)[:, None] == 1, [[0.1, 0.8, 0.1]], POSTERIORS)  # utterance 1: 0.6 and 0.1, mean 0.35
    write_posteriors(tmp_path / "m" / "fold1" / "seed1", LABELS, POSTERIORS)
    write_posteriors(tmp_path / "m" / "fold1" / "seed2", LABELS, other)
    (experiment,) = score.score([tmp_path])
    table = experiment.suspects.table
    assert table["utt"].tolist()[:3] == ["s2-0002", "s1-0001", "s5-0005"]
    assert table["label_posterior"].tolist()[:2] == pytest.approx([0.1, 0.35])
    row = table.iloc[0]
    assert (row["spk"], row["fold"], row["label"], row["predicted"], row["is_suspect"]) == ("s2", 1, "a", "b", True)
    assert row["predicted_posterior"] == pytest.approx(0.8)


def test_suspects_are_outside_of_the_diagonal_of_the_confident_joint(tmp_path):
    write_posteriors(tmp_path / "m" / "fold1" / "seed1", LABELS, POSTERIORS)
    (experiment,) = score.score([tmp_path])
    table = experiment.suspects.table
    assert sorted(table["utt"][table["is_suspect"]]) == ["s2-0002", "s5-0005"]
    assert experiment.suspects.count == 2


def test_labels_that_were_changed_rank_first():
    """A classifier of three Gaussian classes in 4 dimensions, 98% right; 5% of the labels are changed.

    At least 40 of the 50 lowest were changed, and at least 35 of the 50 are among the suspects.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    generator = np.random.default_rng(0)
    true = generator.integers(0, 3, 1000)
    inputs = 3.2 * np.eye(4)[true] + generator.normal(size=(1000, 4))
    changed = generator.choice(1000, 50, replace=False)
    labels = true.copy()
    labels[changed] = (true[changed] + generator.integers(1, 3, 50)) % 3
    posteriors = cross_val_predict(LogisticRegression(), inputs, labels, cv=5, method="predict_proba")
    order = posteriors[np.arange(1000), labels].argsort()[:50]
    assert len(np.intersect1d(order, changed)) >= 40
    confident = suspects.find_confident(labels, posteriors)
    assert len(np.intersect1d(np.flatnonzero((confident >= 0) & (confident != labels)), changed)) >= 35


@pytest.mark.parametrize("pairs", ["aa ba", "aa bb"])
def test_few_utterances_have_suspects_too(tmp_path, pairs):
    write_run(tmp_path / "m" / "fold1" / "seed1", pairs, ["s-1", "s-2"], "ab")
    (experiment,) = score.score([tmp_path])
    assert len(experiment.suspects.table) == 2
