import numpy as np
import pytest

from soctk.scoring import metrics

EMOTIONS = ("a", "b", "c")


def codes(letters: str) -> np.ndarray:
    return np.array([EMOTIONS.index(letter) for letter in letters])


def test_accuracies_by_hand():
    # 6 of a (4 right, 2 taken for b), 2 of b (1 right, 1 taken for a)
    result = metrics.accuracies(codes("aaaaaabb"), codes("aaaabbba"))
    assert result["WA"] == pytest.approx(100 * 5 / 8)
    assert result["UA"] == pytest.approx(100 * (4 / 6 + 1 / 2) / 2)
    # F1 of a: precision 4/5, recall 4/6; of b: precision 1/3, recall 1/2
    assert result["F1"] == pytest.approx(100 * (8 / 11 + 2 / 5) / 2)


def test_a_class_that_is_only_ever_predicted_counts_as_errors_and_not_as_a_class():
    result = metrics.accuracies(codes("aab"), codes("acb"))
    assert result == pytest.approx({"WA": 100 * 2 / 3, "UA": 75.0, "F1": 100 * (2 / 3 + 1) / 2})


def test_per_class_and_confusion_by_hand():
    reference, hypothesis = codes("aaaaaabb"), codes("aaaabbba")
    table = metrics.per_class(reference, hypothesis, EMOTIONS)
    assert table.loc["a"].tolist() == pytest.approx([80, 100 * 4 / 6, 100 * 8 / 11, 6])
    assert table.loc["b"].tolist() == pytest.approx([100 / 3, 50, 40, 2])
    assert table.loc["c"].tolist() == [0, 0, 0, 0]
    assert metrics.confusion(reference, hypothesis, EMOTIONS).to_numpy().tolist() == [[4, 2, 0], [1, 1, 0], [0, 0, 0]]


def test_log_loss_by_hand():
    posteriors = np.array([[0.5, 0.25, 0.25], [0.2, 0.8, 0.0], [0.0, 1.0, 0.0]])
    # ln 2, ln 5, and a posterior of 0 at half of the last decimal that is written
    expected = [0.693147, 1.609438, 14.508658]
    assert metrics.log_losses(codes("aaa"), posteriors) == pytest.approx(expected, abs=1e-6)
    assert metrics.probabilistic(codes("aaa"), posteriors)["log_loss"] == pytest.approx(np.mean(expected), abs=1e-6)


def test_calibration_error_by_hand():
    # Bins of 1/15: 0.62 and 0.64 share (0.6, 0.667), one of the two right; 0.9 and 1.0 are alone, right and wrong.
    posteriors = np.array([[0.62, 0.38], [0.36, 0.64], [0.9, 0.1], [0.0, 1.0]])
    reference = np.array([0, 0, 0, 0])
    expected = (2 * abs(1 / 2 - 0.63) + abs(1 - 0.9) + abs(0 - 1)) / 4
    assert metrics.calibration_error(reference, posteriors) == pytest.approx(100 * expected)


def test_what_is_as_sure_as_it_is_right_has_no_calibration_error():
    posteriors = np.tile([0.75, 0.25], (4, 1))
    assert metrics.calibration_error(np.array([0, 0, 0, 1]), posteriors) == pytest.approx(0)
