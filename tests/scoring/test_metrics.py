import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, recall_score

from soctk.scoring import metrics

EMOTIONS = ("a", "b", "c")


def codes(letters: str) -> np.ndarray:
    return np.array([EMOTIONS.index(letter) for letter in letters])


def test_accuracies_equal_hand_worked_ones():
    # 6 of class a: 4 classified as a, 2 as b; 2 of class b: 1 as b, 1 as a
    result = metrics.accuracies(codes("aaaaaabb"), codes("aaaabbba"))
    assert result["WA"] == pytest.approx(100 * 5 / 8)
    assert result["UA"] == pytest.approx(100 * (4 / 6 + 1 / 2) / 2)
    # F1 of a: precision 4/5, recall 4/6; of b: precision 1/3, recall 1/2
    assert result["F1"] == pytest.approx(100 * (8 / 11 + 2 / 5) / 2)


def test_a_class_without_references_adds_errors_but_is_left_out_of_the_means():
    result = metrics.accuracies(codes("aab"), codes("acb"))
    assert result == pytest.approx({"WA": 100 * 2 / 3, "UA": 75.0, "F1": 100 * (2 / 3 + 1) / 2})


def test_per_class_scores_and_confusion_equal_hand_worked_ones():
    reference, hypothesis = codes("aaaaaabb"), codes("aaaabbba")
    table = metrics.per_class(reference, hypothesis, EMOTIONS)
    assert table.loc["a"].tolist() == pytest.approx([80, 100 * 4 / 6, 100 * 8 / 11, 6])
    assert table.loc["b"].tolist() == pytest.approx([100 / 3, 50, 40, 2])
    assert table.loc["c"].tolist() == [0, 0, 0, 0]
    assert metrics.confusion(reference, hypothesis, EMOTIONS).to_numpy().tolist() == [[4, 2, 0], [1, 1, 0], [0, 0, 0]]


def test_log_loss_equals_a_hand_worked_one():
    posteriors = np.array([[0.5, 0.25, 0.25], [0.2, 0.8, 0.0], [0.0, 1.0, 0.0]])
    # ln 2, ln 5, and -ln 5e-7: a posterior of 0 counts as half of the sixth decimal
    expected = [0.693147, 1.609438, 14.508658]
    assert metrics.log_losses(codes("aaa"), posteriors) == pytest.approx(expected, abs=1e-6)
    assert metrics.probabilistic(codes("aaa"), posteriors)["log_loss"] == pytest.approx(np.mean(expected), abs=1e-6)


def test_calibration_error_equals_a_hand_worked_one():
    # Bins of width 1/15: 0.62 (correct) and 0.64 (wrong) share a bin; 0.9 (correct) and 1.0 (wrong) are alone.
    posteriors = np.array([[0.62, 0.38], [0.36, 0.64], [0.9, 0.1], [0.0, 1.0]])
    reference = np.array([0, 0, 0, 0])
    expected = (2 * abs(1 / 2 - 0.63) + abs(1 - 0.9) + abs(0 - 1)) / 4
    assert metrics.calibration_error(reference, posteriors) == pytest.approx(100 * expected)


def test_calibration_error_uses_15_bins():
    # With 15 bins 0.62 (wrong) and 0.65 (correct) share the bin from 9/15 = 0.6 to 10/15 = 0.667. With 14 bins the edge
    # 9/14 = 0.643 separates them, with 16 bins the edge 10/16 = 0.625; then the error is (0.62 + 0.35) / 2 = 48.5%.
    posteriors = np.array([[0.62, 0.38], [0.65, 0.35]])
    expected = abs(1 / 2 - (0.62 + 0.65) / 2)
    assert metrics.calibration_error(np.array([1, 0]), posteriors) == pytest.approx(100 * expected)


def test_rounding_above_1_does_not_remove_an_answer_from_the_calibration_error():
    posteriors = np.array([[1 + 1e-12, 0.0], [1.0, 0.0]])
    assert metrics.calibration_error(np.array([1, 1]), posteriors) == pytest.approx(100)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_accuracies_equal_scikit_learns_metrics(answers):
    reference, hypothesis = map(np.array, zip(*answers, strict=True))
    options = {"labels": np.unique(reference), "average": "macro", "zero_division": 0}
    assert metrics.accuracies(reference, hypothesis) == pytest.approx(
        {
            "WA": 100 * accuracy_score(reference, hypothesis),
            "UA": 100 * recall_score(reference, hypothesis, **options),
            "F1": 100 * f1_score(reference, hypothesis, **options),
        }
    )


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_correct_answers_score_100(reference):
    classes = np.array(reference)
    assert metrics.accuracies(classes, classes) == pytest.approx({"WA": 100, "UA": 100, "F1": 100})


def test_posteriors_equal_to_the_accuracy_have_no_calibration_error():
    posteriors = np.tile([0.75, 0.25], (4, 1))
    assert metrics.calibration_error(np.array([0, 0, 0, 1]), posteriors) == pytest.approx(0)
