"""Targets other than classes: ridge regression, the CCC loss, soft targets; compared with other implementations."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import ROOT
from sklearn.linear_model import LogisticRegression, Ridge

from soctk import config
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.schema import LinearConfig
from soctk.scoring.metrics import dimensional
from soctk.training import linear, target
from soctk.training.blocks import Block, gram
from soctk.training.classes import Classes
from soctk.training.coordinates import make_coordinates
from soctk.training.dimensions import Dimensions, concordance
from soctk.training.distribution import Distribution
from soctk.training.inputs import Descriptors
from soctk.training.loop import predict, train

FITTED = list(range(40))
CONFIG = LinearConfig(name="linear", C=[0.1, 1.0, 10.0], within_class_shrinkage=0.5)


def corpus(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return 60 descriptors and their values on two dimensions, of different units and far from 0."""
    generator = np.random.default_rng(0)
    descriptors = 5 + generator.normal(size=(60, size)).astype(np.float32)
    first = descriptors[:, 0] - descriptors[:, 1] + generator.normal(size=60)
    return descriptors, np.stack([4 + first, 100 + 20 * generator.normal(size=60)], axis=1)


@pytest.mark.parametrize("size", [5, 300], ids=["primal", "dual"])
def test_the_linear_head_is_the_ridge_regression_of_scikit_learn(size):
    descriptors, values = corpus(size)
    blocks, dimensions = [Block(descriptors, gram(descriptors))], Dimensions(("arousal", "valence"), values)
    head = torch.nn.Linear(size, 2)
    linear.fit(head, blocks, dimensions, FITTED, 10.0, CONFIG)
    # The variances of the standardised training descriptors sum to 1.
    centred = descriptors - descriptors[FITTED].mean(0)
    scale = centred[FITTED].std(0) * np.sqrt(size) if size < 60 else np.sqrt((centred[FITTED] ** 2).sum(1).mean())
    oracle = Ridge(alpha=1 / 10.0, tol=1e-10).fit((centred / scale)[FITTED], values[FITTED])
    expected = oracle.predict(centred / scale)
    with torch.no_grad():
        np.testing.assert_allclose(head(torch.from_numpy(descriptors)).numpy(), expected, rtol=2e-3, atol=2e-2)
    by_C = linear.predictions(make_coordinates(blocks, FITTED).values, dimensions, FITTED, CONFIG)
    np.testing.assert_allclose(by_C[2], expected, rtol=2e-3, atol=2e-2)


def test_the_strength_is_chosen_by_the_mean_ccc_of_held_out_utterances():
    descriptors, values = corpus(20)
    blocks, dimensions = [Block(descriptors, None)], Dimensions(("arousal", "valence"), values)
    halves = (FITTED[:20], FITTED[20:]), (FITTED[20:], FITTED[:20])
    inner = [
        (scored, linear.predictions(make_coordinates(blocks, fitted).values, dimensions, fitted, CONFIG))
        for fitted, scored in halves
    ]
    for record, C in zip(linear.scores(dimensions, inner, CONFIG.C), CONFIG.C, strict=True):
        i, held_out = CONFIG.C.index(C), np.zeros((40, 2))
        for scored, by_C in inner:
            held_out[scored] = by_C[i][scored]
        expected = [dimensional(values[FITTED, k], held_out[:, k])["CCC"] for k in range(2)]
        assert record["C"] == C
        assert record["valid_CCC"] == pytest.approx(np.mean(expected))
        assert record["valid_loss"] == pytest.approx(1 - np.mean(expected))


def test_copies_are_averaged_and_each_is_a_training_utterance():
    descriptors, values = corpus(20)
    both, dimensions = np.concatenate([descriptors, descriptors + 1]), Dimensions(("a", "b"), np.tile(values, (2, 1)))
    rows = [*FITTED, *(60 + i for i in FITTED)]
    head = torch.nn.Linear(20, 2)
    linear.fit(head, [Block(both, None)], dimensions, rows, 1.0, CONFIG)
    with torch.no_grad():
        expected = (head(torch.from_numpy(descriptors)) + head(torch.from_numpy(descriptors + 1))) / 2
    found = linear.predictions(make_coordinates([Block(both, None)], rows).values, dimensions, rows, CONFIG, copies=2)[
        1
    ]
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-3)


def test_the_ccc_loss_is_one_minus_the_mean_of_the_metric():
    generator = np.random.default_rng(0)
    outputs, labels = generator.normal(size=(2, 30, 2))
    found = concordance(torch.from_numpy(outputs), torch.from_numpy(labels)).numpy()
    expected = [dimensional(labels[:, k], outputs[:, k])["CCC"] for k in range(2)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    values = torch.full((4, 2), 0.5, requires_grad=True)
    concordance(values, torch.full((4, 2), 0.5)).sum().backward()  # a batch of equal labels and outputs
    assert torch.isfinite(values.grad).all()


def test_the_mlp_learns_dimensions_of_any_unit_and_its_outputs_have_that_unit():
    descriptors, values = corpus(5)
    values[:, 1] = 1000 + 500 * descriptors[:, 2]
    settings = config.load([ROOT / "conf"], "mean", overrides=["train.lr=0.02", "train.epochs=150"]).train
    dimensions, inputs = Dimensions(("arousal", "valence"), values), Descriptors([torch.from_numpy(descriptors)])
    torch.manual_seed(0)
    model, of_run = torch.nn.Linear(5, 2), dimensions.of_run(FITTED, "cpu")
    records = list(train(model, inputs, of_run, FITTED, FITTED, settings, seed=1))
    assert max(record["valid_CCC"] for record in records) > 0.7
    standardised = predict(model, inputs, of_run, range(60)).numpy()
    of_run.finish(model)
    found = predict(model, inputs, of_run, range(60)).numpy()
    np.testing.assert_allclose(found, standardised * values[FITTED].std(0) + values[FITTED].mean(0), rtol=1e-3)
    assert dimensional(values[40:, 1], found[40:, 1])["CCC"] > 0.8
    assert dimensional(values[FITTED, 1], found[FITTED, 1])["RMSE"] < 0.6 * values[FITTED, 1].std()


@pytest.mark.parametrize("class_weight", ["none", "balanced"])
def test_distributions_of_one_class_train_the_linear_head_like_classes(class_weight):
    descriptors, _ = corpus(20)
    labels = np.array([0] * 25 + [1] * 10 + [2] * 25)
    inputs, names = make_coordinates([Block(descriptors, None)], FITTED).values, "abc"
    one = linear.predictions(inputs, Classes(names, labels, class_weight), FITTED, CONFIG)
    other = linear.predictions(inputs, Distribution(names, labels, np.eye(3)[labels], class_weight), FITTED, CONFIG)
    np.testing.assert_allclose(np.exp(one), np.exp(other), atol=1e-3)


def test_soft_targets_of_the_linear_head_are_weighted_copies():
    descriptors, _ = corpus(5)
    shares = np.random.default_rng(1).dirichlet(np.full(3, 0.5), size=60)
    shares[:10] = np.eye(3)[0]  # copies without weight are left out
    settings = LinearConfig(name="linear", C=[0.5], within_class_shrinkage=1)
    distribution = Distribution("abc", shares.argmax(1), shares)
    inputs = make_coordinates([Block(descriptors, None)], FITTED).values
    posteriors = np.exp(linear.predictions(inputs, distribution, FITTED, settings)[0])
    # The oracle minimises the soft cross-entropy itself, on the same standardised and scaled inputs, by L-BFGS.
    values = descriptors[FITTED] / descriptors[FITTED].std(0)
    values = values - values.mean(0)
    residuals = values.copy()
    majority = shares[FITTED].argmax(1)
    for label in np.unique(majority):
        residuals[majority == label] -= values[majority == label].mean(0)
    inputs = torch.tensor(values / np.sqrt(residuals.var(0).sum() / 5), dtype=torch.float64)
    weight, bias = torch.zeros(3, 5, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    optimizer = torch.optim.LBFGS(parameters, max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")
    soft = torch.tensor(shares[FITTED])

    def closure():
        optimizer.zero_grad()
        log_posteriors = (inputs @ weight.T + bias).log_softmax(1)
        loss = -0.5 * (soft * log_posteriors).sum() + 0.5 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    expected = (inputs @ weight.T + bias).softmax(1).detach().numpy()
    np.testing.assert_allclose(posteriors[FITTED], expected, atol=2e-3)
    hard = LogisticRegression(C=0.5).fit(inputs.numpy(), majority)
    assert np.abs(hard.predict_proba(inputs.numpy()) - expected).max() > 0.05  # soft targets matter here


@pytest.mark.parametrize("class_weight", ["none", "balanced"])
def test_soft_targets_of_the_mlp_are_the_cross_entropy_of_pytorch(class_weight):
    generator = np.random.default_rng(2)
    shares, logits = generator.dirichlet(np.ones(3), size=12), generator.normal(size=(4, 3))
    distribution = Distribution("abc", shares.argmax(1), shares, class_weight).of_run(range(12), "cpu")
    masses = shares.sum(0)
    weight = None if class_weight == "none" else torch.tensor(12 / (3 * masses)).float()
    expected = torch.nn.CrossEntropyLoss(weight)(torch.tensor(logits).float(), torch.tensor(shares[4:8]).float())
    torch.testing.assert_close(distribution.loss(torch.tensor(logits).float(), [4, 5, 6, 7]), expected)
    scores = distribution.scores(np.log(shares), range(12))
    assert scores["valid_WA"] == 1
    terms = -(shares * np.log(shares)) * (1 if weight is None else weight.numpy())
    assert scores["valid_loss"] == pytest.approx(terms.sum(1).mean(), rel=1e-5)


@pytest.fixture(scope="module")
def settings():
    return config.load([ROOT / "conf"], "mean", "linear", target="arousal+valence")


def test_the_target_has_the_labels_of_the_corpus(settings):
    utterances = ["s-1", "s-2"]
    columns = {key: {} for key in ("wav", "seconds", "gender", "fold")}
    data = DataDir(
        **columns,
        speaker=dict.fromkeys(utterances, "s"),
        emotion={"s-1": "a", "s-2": "b"},
        emotions=("a", "b"),
        dimensions={"valence": {"s-1": 1.0, "s-2": 2.0}, "arousal": {"s-1": 3.0, "s-2": 3.0}},
    )
    made = target.make(settings, data, copies=2)
    assert made.names == ("arousal", "valence")
    np.testing.assert_array_equal(made._values, [[3, 1], [3, 2], [3, 1], [3, 2]])
    with pytest.raises(
        SoctkError, match="the training utterances of fold 2 all have the same arousal, 3\nLeave arousal"
    ):
        made.check([0, 1], 2)
    assert isinstance(target.make(config.load([ROOT / "conf"], "mean", "linear"), data), Classes)
    soft = config.load([ROOT / "conf"], "mean", "linear", target="distribution")
    with pytest.raises(SoctkError) as error:
        target.make(soft, data)
    assert "it has no utt2dist, so --target distribution has no labels" in str(error.value)
    assert "Choose another --target: emotion, valence, arousal; dimensions can be joined by +." in str(error.value)
    both = dataclasses.replace(data, distribution={"s-1": (0.7, 0.3), "s-2": (0.0, 1.0)})
    np.testing.assert_array_equal(target.make(soft, both).shares, [[0.7, 0.3], [0, 1]])


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        (
            "joy",
            [],
            "--target joy: unknown target 'joy'\nChoose emotion, distribution, or one or several of arousal, v",
        ),
        ("arousal+arousal", [], "a dimension is named twice"),
        ("arousal", ["head.class_weight=balanced"], "this setting is for classes, and dimensions have none"),
        (
            "arousal",
            ["head.within_class_shrinkage=0.3"],
            "--set head.within_class_shrinkage=0.3: this setting is for c",
        ),
    ],
)
def test_wrong_targets_are_refused(name, overrides, message):
    with pytest.raises(SoctkError) as error:
        config.load([ROOT / "conf"], "mean", "linear", overrides=overrides, target=name)
    assert message in str(error.value)
    assert (
        config.load([ROOT / "conf"], "mean", "linear").recorded().get("target") is None
    )  # as before there were targets
