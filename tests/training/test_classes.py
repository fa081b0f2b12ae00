"""Class weights of both heads, compared with scikit-learn's and PyTorch's."""

import numpy as np
import pytest
import torch
from conftest import ROOT
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from soctk import config
from soctk.schema import LinearConfig
from soctk.training import linear
from soctk.training.blocks import Block, gram
from soctk.training.classes import Classes
from soctk.training.coordinates import make_coordinates
from soctk.training.inputs import Descriptors
from soctk.training.loop import train

LABELS = np.array([0] * 30 + [1] * 9 + [2] * 3)
ROWS = np.arange(len(LABELS))


def descriptors(dimensions: int) -> np.ndarray:
    """Return descriptors around the means of their classes, which overlap."""
    generator = np.random.default_rng(0)
    return (generator.normal(size=(3, dimensions))[LABELS] + 2 * generator.normal(size=(42, dimensions))).astype("f4")


@pytest.mark.parametrize("class_weight", ["none", "balanced"])
@pytest.mark.parametrize("dimensions", [4, 60], ids=["primal", "dual"])
def test_the_linear_head_is_the_logistic_regression_of_scikit_learn_with_the_same_class_weight(
    dimensions, class_weight
):
    values = descriptors(dimensions)
    target = Classes("abc", LABELS, class_weight)
    settings = LinearConfig(name="linear", C=[0.3], within_class_shrinkage=1, class_weight=class_weight)
    head = torch.nn.Linear(dimensions, 3)
    linear.fit(head, [Block(values, gram(values))], target, ROWS, 0.3, settings)
    # Without whitening, the inputs of the regression are the centred descriptors with a mean variance within classes
    # of 1: over the dimensions, each with variance 1 / dimensions (primal), or over the 41 coordinates (dual).
    inputs = values - values.mean(0)
    inputs = inputs / (inputs.std(0) if dimensions < len(LABELS) else 1)
    by_class = [inputs[:30], inputs[30:39], inputs[39:]]
    residuals = np.concatenate([own - own.mean(0) for own in by_class])
    inputs = inputs / np.sqrt(residuals.var(0).sum() / min(dimensions, len(LABELS) - 1))
    weight = None if class_weight == "none" else class_weight
    oracle = LogisticRegression(C=0.3, class_weight=weight, tol=1e-8, max_iter=10000).fit(inputs, LABELS)
    with torch.no_grad():
        posteriors = head(torch.from_numpy(values)).softmax(1).numpy()
    np.testing.assert_allclose(posteriors, oracle.predict_proba(inputs), atol=2e-3)


def test_balanced_weights_raise_the_posterior_of_rare_classes():
    values = descriptors(4)
    settings = LinearConfig(name="linear", C=[0.3], within_class_shrinkage=1)
    inputs = make_coordinates([Block(values, None)], ROWS).values
    by_weight = {
        class_weight: np.exp(linear.predictions(inputs, Classes("abc", LABELS, class_weight), ROWS, settings)[0])
        for class_weight in ("none", "balanced")
    }
    assert by_weight["none"].mean(0)[2] < 0.15
    np.testing.assert_allclose(
        by_weight["none"].mean(0), np.bincount(LABELS) / 42, atol=1e-3
    )  # calibrated in the large
    weights = compute_sample_weight("balanced", LABELS)
    np.testing.assert_allclose(np.average(by_weight["balanced"], axis=0, weights=weights), 1 / 3, atol=1e-3)


@pytest.mark.parametrize("class_weight", ["none", "balanced"])
def test_the_validation_loss_has_the_weights_of_the_validation_classes(class_weight):
    generator = np.random.default_rng(1)
    posteriors = generator.dirichlet(np.ones(3), size=42)
    rows = np.r_[0:20, 30:33, 39]  # 20, 3 and 1 utterances
    weights = compute_sample_weight("balanced" if class_weight == "balanced" else None, LABELS[rows])
    expected = log_loss(LABELS[rows], posteriors[rows], sample_weight=weights, labels=[0, 1, 2])
    scores = Classes("abc", LABELS, class_weight).scores(np.log(posteriors[rows]), rows)
    assert scores["valid_loss"] == pytest.approx(expected, rel=1e-6)
    if class_weight == "balanced":  # the mean over classes of the mean loss in each class
        losses = -np.log(posteriors[np.arange(42), LABELS])
        by_class = [losses[rows][LABELS[rows] == label].mean() for label in range(3)]
        assert scores["valid_loss"] == pytest.approx(np.mean(by_class), rel=1e-6)


def test_the_mlp_is_trained_on_the_weighted_cross_entropy_of_the_training_classes():
    fitted = np.r_[0:25, 30:36]  # class 2 does not occur
    values = torch.from_numpy(descriptors(5))
    model = torch.nn.Linear(5, 3)
    batch = np.r_[0:3, 30:32].tolist()
    target = Classes("abc", LABELS, "balanced").of_run(fitted, "cpu")
    weight = torch.ones(3)
    weight[:2] = torch.tensor(compute_class_weight("balanced", classes=np.arange(2), y=LABELS[fitted])).float()
    expected = torch.nn.CrossEntropyLoss(weight)(model(values[batch]), torch.from_numpy(LABELS[batch]))
    torch.testing.assert_close(target.loss(model(values[batch]), batch), expected)


def test_the_mlp_with_balanced_weights_finds_a_rare_class():
    settings = config.load([ROOT / "conf"], "mean", overrides=["train.lr=0.02", "train.epochs=60"]).train
    recalls = {}
    for class_weight in ("none", "balanced"):
        torch.manual_seed(0)
        model, target = torch.nn.Linear(4, 3), Classes("abc", LABELS, class_weight).of_run(ROWS, "cpu")
        list(train(model, Descriptors([torch.from_numpy(descriptors(4))]), target, ROWS, ROWS, settings, seed=1))
        found = model(torch.from_numpy(descriptors(4))).argmax(1).numpy()
        recalls[class_weight] = (found == LABELS)[LABELS == 2].mean()
    assert recalls["balanced"] > recalls["none"]


def test_settings_name_the_class_weights():
    for head in ("linear", "mlp"):
        assert config.load([ROOT / "conf"], "mean", head).head.class_weight == "none"
        balanced = config.load([ROOT / "conf"], "mean", head, overrides=["head.class_weight=balanced"])
        assert balanced.head.class_weight == "balanced"
        assert balanced.recorded()["head"]["class_weight"] == "balanced"
        assert "class_weight" not in config.load([ROOT / "conf"], "mean", head).recorded()["head"]
