"""Logistic regression in parts, against scikit-learn's on the same inputs."""

import numpy as np
import pytest
import torch

from soctk.errors import SoctkError
from soctk.training import logistic
from soctk.training.logistic import LogisticSolver
from soctk.training.logistic_parts import LogisticInParts

COUNT, SIZE = 400, 30


def inputs(num_classes: int):
    """Return inputs of overlapping classes, their labels, and inputs of a test in two copies."""
    generator = np.random.default_rng(0)
    values = (generator.standard_normal((COUNT, SIZE)) * np.logspace(0, -1, SIZE)).astype(np.float32)
    values[:, 5] = 0
    labels = (values @ generator.standard_normal((SIZE, num_classes))).argmax(1)
    labels = np.where(generator.random(COUNT) < 0.3, generator.integers(0, num_classes, COUNT), labels)
    return values, labels, generator.standard_normal((2, 50, SIZE)).astype(np.float32)


def in_parts(values, labels, shares, shrinkage=0.5):
    parts = list(torch.from_numpy(values).split(150))
    return LogisticInParts(parts, torch.from_numpy(labels), torch.from_numpy(shares), shrinkage)


@pytest.mark.parametrize("shrinkage", [0.5, 1.0])
@pytest.mark.parametrize("kind", ["none", "weights", "distributions", "weighted distributions"])
@pytest.mark.parametrize("num_classes", [2, 4])
def test_models_equal_those_of_scikit_learn(num_classes, kind, shrinkage):
    values, labels, tested = inputs(num_classes)
    shares = np.eye(num_classes)[labels]
    distributions = 0.7 * shares + 0.3 / num_classes
    weights = {
        "none": None,
        "weights": 1 + labels / 2,
        "distributions": distributions,
        # the largest is often not that of the label
        "weighted distributions": (0.4 * shares + 0.6 / num_classes) * np.linspace(0.4, 2, num_classes),
    }[kind]
    expected = LogisticSolver(values, labels, num_classes, shrinkage, weights)
    if kind == "weights":
        shares *= weights[:, None]
    solver = in_parts(values, labels, weights if "distributions" in kind else shares, shrinkage)
    for C in (0.01, 0.1):
        expected.fit(C)
        solver.fit(C)
        np.testing.assert_allclose(np.exp(solver.predict(tested)), np.exp(expected.predict(tested)), atol=2e-3)
        (weight, bias), (other_weight, other_bias) = solver.weights(), expected.weights()
        np.testing.assert_allclose(weight, other_weight, atol=8e-3 * np.abs(other_weight).max())
        np.testing.assert_allclose(bias, other_bias, atol=2e-3)


def test_a_class_without_training_utterances_is_never_chosen():
    values, labels, tested = inputs(3)
    labels = np.array([0, 1, 3])[labels]
    solver = in_parts(values, labels, np.eye(4)[labels])
    solver.fit(0.1)
    assert (solver.predict(tested)[:, 2] == -np.inf).all()
    assert solver.weights()[1][2] == -np.inf


def test_one_class_has_the_posterior_1_and_no_weights():
    values, _, tested = inputs(3)
    labels = np.ones(COUNT, dtype=int)
    solver = in_parts(values, labels, np.eye(3)[labels])
    solver.fit(0.1)
    np.testing.assert_array_equal(np.exp(solver.predict(tested)), np.tile([0.0, 1.0, 0.0], (50, 1)))
    with pytest.raises(SoctkError, match="all training utterances of the linear head have the same class"):
        solver.weights()


def test_large_inputs_are_fitted_on_the_gpu(monkeypatch):
    values, labels, _ = inputs(3)
    made = []
    monkeypatch.setattr(logistic, "LogisticInParts", lambda parts, labels, shares, shrinkage: made.append(shares))
    monkeypatch.setattr(logistic, "_LARGE", values.size)
    logistic.solver(values, labels, 3, 0.5, 1 + labels / 2, "meta")
    assert [shares.device.type for shares in made] == ["meta"]
    assert isinstance(logistic.solver(values, labels, 3, 0.5), LogisticSolver)
    assert isinstance(logistic.solver(values[1:], labels[1:], 3, 0.5, None, "meta"), LogisticSolver)
