import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from soctk.errors import SoctkError
from soctk.schema import LinearConfig
from soctk.training import linear
from soctk.training.blocks import Block, gram
from soctk.training.classes import Classes
from soctk.training.coordinates import Dual, Primal, StandardisedValues, make_coordinates, weights_of
from soctk.training.linear import fit, scores
from soctk.training.within_class import WithinClass

TRAIN = list(range(40))
TEST = list(range(40, 60))
# A fit on utterances 0..19 scores 20..39, and a fit on 20..39 scores 0..19.
INNER = [(TRAIN[:20], TRAIN[20:]), (TRAIN[20:], TRAIN[:20])]


def classes(labels: np.ndarray, class_weight: str = "none") -> Classes:
    """Return the target of utterances with these classes."""
    return Classes("abcdefgh"[: labels.max() + 1], labels, class_weight)


def corpus(dimensions: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return 60 descriptors around the means of their classes, far from the origin, and their classes."""
    generator = np.random.default_rng(0)
    labels = np.arange(60) % classes
    means = generator.normal(size=(classes, dimensions))
    return (5 + means[labels] + 2 * generator.normal(size=(60, dimensions))).astype(np.float32), labels


def fitted(
    descriptors: list[np.ndarray],
    labels: np.ndarray,
    C: list[float],
    shrinkage: float = 0.5,
    class_weight: str = "none",
) -> tuple[nn.Linear, list[dict]]:
    blocks, target = [Block(block, gram(block)) for block in descriptors], classes(labels, class_weight)
    config = LinearConfig(name="linear", C=C, within_class_shrinkage=shrinkage)
    inner = [
        (scored, linear.predictions(make_coordinates(blocks, fit_on).values, target, fit_on, config))
        for fit_on, scored in INNER
    ]
    records = scores(target, inner, config.C)
    head = nn.Linear(sum(block.shape[1] for block in descriptors), len(target.names))
    fit(head, blocks, target, TRAIN, min(records, key=lambda record: record["valid_loss"])["C"], config)
    return head, records


def posteriors(head: nn.Linear, blocks: list[np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        return head(torch.from_numpy(np.concatenate(blocks, axis=1))).softmax(1).numpy()


def test_gram_returns_inner_products_of_centred_descriptors_but_none_for_short_descriptors():
    descriptors, _ = corpus(300)
    centred = descriptors.astype(np.float64) - descriptors.mean(0, dtype=np.float64)
    np.testing.assert_allclose(gram(descriptors), centred @ centred.T, atol=1e-2)
    assert gram(corpus(59)[0]) is None


@pytest.mark.parametrize("dimensions", [39, 40, 59, 60, 300])
def test_coordinates_keep_the_inner_products_of_the_standardised_descriptors(dimensions):
    (one, _), (other, _) = corpus(dimensions), corpus(7)
    values = make_coordinates([Block(one, gram(one)), Block(other, gram(other))], TRAIN).values
    assert values.shape[1] <= len(TRAIN) - 1
    expected = 0
    for block in (one, other):
        centred = (block - block[TRAIN].mean(0)).astype(np.float64)
        deviations = centred[TRAIN].std(0)
        if block.shape[1] >= 60:
            deviations = np.sqrt((deviations**2).mean())
        standardised = centred / deviations / np.sqrt(block.shape[1])
        expected = expected + standardised @ standardised.T
    np.testing.assert_allclose(values @ values[TRAIN].T, expected[:, TRAIN], atol=2e-4)


@pytest.mark.parametrize(("dimensions", "form"), [(32, Primal), (33, Dual), (100, Dual)])
def test_the_primal_form_is_used_if_descriptors_are_shorter_than_the_number_of_training_utterances(dimensions, form):
    (one, _), (other, _) = corpus(dimensions), corpus(7)  # 40 training utterances
    assert isinstance(make_coordinates([Block(one, gram(one)), Block(other, gram(other))], TRAIN), form)


@pytest.mark.parametrize("dimensions", [5, 50, 300], ids=["primal", "dual-of-values", "dual-of-products"])
def test_weights_on_descriptors_give_the_same_logits_as_weights_on_coordinates(dimensions):
    descriptors, _ = corpus(dimensions)
    block = Block(descriptors, gram(descriptors))
    coordinates = make_coordinates([block], TRAIN)
    on_values = np.random.default_rng(1).normal(size=(3, coordinates.values.shape[1]))
    [(weight, bias)] = weights_of([coordinates.parts(on_values)], [[block]])
    np.testing.assert_allclose(descriptors[TRAIN] @ weight.T + bias, coordinates.values[TRAIN] @ on_values.T, atol=2e-3)


def test_linearly_dependent_descriptors_have_as_many_coordinates_as_their_rank():
    descriptors, _ = corpus(4)
    wide = descriptors @ np.random.default_rng(1).normal(size=(4, 300)).astype(np.float32)
    values = make_coordinates([Block(wide, gram(wide))], TRAIN).values
    assert values.shape == (60, 4)
    between = torch.pdist(torch.tensor(wide[TRAIN]))
    ratios = torch.pdist(torch.tensor(values[TRAIN])) / between
    np.testing.assert_allclose(ratios, ratios.mean(), rtol=1e-3)


def whitened(values: np.ndarray, labels: np.ndarray, fit_on: list[int], shrinkage: float) -> np.ndarray:
    """Return centred values, whitened by the eigenvectors of their shrunk covariance within classes."""
    by_class = [values[fit_on][labels[fit_on] == label] for label in np.unique(labels)]
    within = sum(np.cov(rows.T, ddof=0) * len(rows) / len(fit_on) for rows in by_class)
    within = (1 - shrinkage) * within + shrinkage * np.trace(within) / len(within) * np.eye(len(within))
    spectrum, vectors = np.linalg.eigh(within)
    return (values - values[fit_on].mean(0)) @ vectors / np.sqrt(spectrum)


@pytest.mark.parametrize("dimensions", [5, 300], ids=["primal", "dual"])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("shrinkage", [0.3, 1.0])
def test_the_head_equals_logistic_regression_on_whitened_descriptors(dimensions, classes, shrinkage):
    descriptors, labels = corpus(dimensions, classes)
    head, _ = fitted([descriptors], labels, [0.1], shrinkage)
    if dimensions < 60:  # every dimension gets the same variance
        values = descriptors / descriptors[TRAIN].std(0)
    else:  # principal components, because there are fewer utterances than dimensions
        centred = descriptors - descriptors[TRAIN].mean(0)
        values = centred @ np.linalg.svd(centred[TRAIN].astype(np.float64))[2][: len(TRAIN) - 1].T
    white = whitened(values, labels, TRAIN, shrinkage)
    oracle = LogisticRegression(C=0.1, tol=1e-8, max_iter=10000).fit(white[TRAIN], labels[TRAIN])
    np.testing.assert_allclose(posteriors(head, [descriptors[TEST]]), oracle.predict_proba(white[TEST]), atol=5e-3)


@pytest.mark.parametrize("dimensions", [20, 300], ids=["primal", "dual"])
def test_the_fit_of_each_C_does_not_depend_on_the_other_values_of_C(dimensions):
    descriptors, labels = corpus(dimensions)
    blocks = [Block(descriptors, gram(descriptors))]

    def fit_for(*C):
        config = LinearConfig(name="linear", C=C, within_class_shrinkage=0.5)
        return np.exp(linear.predictions(make_coordinates(blocks, TRAIN).values, classes(labels), TRAIN, config))

    together = fit_for(0.01, 1.0, 0.1)
    for i, C in enumerate((0.01, 1.0, 0.1)):
        np.testing.assert_allclose(together[i], fit_for(C)[0], atol=1e-3)


@pytest.mark.parametrize("shrinkage", [0.5, 1.0])
def test_normalised_values_stay_in_float32(shrinkage):
    values = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    within = WithinClass(values, np.arange(20) % 4, shrinkage)
    assert within.normalise(values).dtype == np.float32
    assert StandardisedValues(values, range(20), None).values.dtype == np.float32


def test_with_one_utterance_per_class_within_class_normalisation_only_scales():
    values = np.array([[-1, 0], [1, 0], [0, 2], [0, -2]], dtype=np.float32)
    within = WithinClass(values, np.arange(4), 0.5)
    np.testing.assert_allclose(within.normalise(values), values / np.sqrt(0.5), rtol=1e-6)


def test_the_scale_of_a_block_does_not_change_the_posteriors():
    (narrow, labels), (wide, _) = corpus(5), corpus(300)
    one, _ = fitted([narrow, wide], labels, C=[3.0])
    other, _ = fitted([1000 * narrow, wide / 1000], labels, C=[3.0])
    np.testing.assert_allclose(
        posteriors(one, [narrow[TEST], wide[TEST]]),
        posteriors(other, [1000 * narrow[TEST], wide[TEST] / 1000]),
        atol=5e-3,
    )


def test_the_chosen_C_has_the_lowest_loss_on_held_out_utterances():
    descriptors, labels = corpus(15)
    candidates = [10.0, 1e-4, 0.1]
    head, records = fitted([descriptors], labels, candidates)
    assert [record["C"] for record in records] == sorted(candidates)
    best = min(records, key=lambda record: record["valid_loss"])["C"]
    alone, (record,) = fitted([descriptors], labels, [best])
    np.testing.assert_allclose(posteriors(head, [descriptors]), posteriors(alone, [descriptors]), atol=1e-6)

    # The expected scores: a fit on each half scores the other half.
    held_out = np.zeros((40, 3))
    for fit_on, score_on in INNER:
        values = whitened(descriptors / descriptors[fit_on].std(0), labels, fit_on, shrinkage=0.5)
        model = LogisticRegression(C=best, tol=1e-8, max_iter=10000).fit(values[fit_on], labels[fit_on])
        held_out[score_on] = model.predict_proba(values[score_on])
    right = held_out.argmax(1) == labels[TRAIN]
    assert record["valid_WA"] == pytest.approx(right.mean(), abs=1e-12)
    recalls = [right[labels[TRAIN] == label].mean() for label in range(3)]
    assert record["valid_UA"] == pytest.approx(np.mean(recalls), abs=1e-12)
    assert record["valid_loss"] == pytest.approx(-np.log(held_out[TRAIN, labels[TRAIN]]).mean(), rel=1e-3)


def test_a_class_without_training_utterances_is_never_chosen():
    descriptors, labels = corpus(20)
    labels[labels == 1] = 3  # classes 0, 2 and 3 of 4
    head, _ = fitted([descriptors], labels, [1.0])
    predicted = posteriors(head, [descriptors])
    assert not predicted[:, 1].any()
    np.testing.assert_allclose(predicted.sum(1), 1, rtol=1e-5)


def test_a_dimension_that_is_constant_over_the_training_utterances_gets_no_weight():
    descriptors, labels = corpus(20)
    descriptors[TRAIN, 3] = 7.0
    head, _ = fitted([descriptors], labels, [1.0])
    assert not head.weight[:, 3].any()
    assert head.bias.isfinite().all()


@pytest.mark.parametrize("dimensions", [5, 300])
def test_utterances_outside_the_training_set_do_not_change_the_fit(dimensions):
    descriptors, labels = corpus(dimensions)
    head, records = fitted([descriptors], labels, [0.1, 1.0])
    changed, changed_labels = descriptors.copy(), labels.copy()
    changed[TEST] = 100 * changed[TEST] + 1
    changed_labels[TEST] = 0
    other, other_records = fitted([changed], changed_labels, [0.1, 1.0])
    np.testing.assert_allclose(posteriors(head, [descriptors]), posteriors(other, [descriptors]), atol=1e-2)
    assert [r["valid_loss"] for r in records] == pytest.approx([r["valid_loss"] for r in other_records], abs=1e-3)


def test_a_constant_block_does_not_change_the_posteriors():
    _, labels = corpus(5)
    for dimensions in (5, 300):
        same = np.full((60, dimensions), 7.0, dtype=np.float32)
        informative, _ = corpus(20)
        head, _ = fitted([same, informative], labels, [1.0])
        alone, _ = fitted([informative], labels, [1.0])
        np.testing.assert_allclose(posteriors(head, [same, informative]), posteriors(alone, [informative]), atol=1e-3)


def test_a_single_class_is_an_error():
    descriptors, labels = corpus(20)
    with pytest.raises(SoctkError, match="all training utterances of the linear head have the same class"):
        fitted([descriptors], np.ones_like(labels), [1.0])


@pytest.mark.parametrize(
    ("values", "best", "expected"),
    [
        ([0.01, 0.1, 1], 0.1, []),
        ([0.01, 0.1, 1], 1, [3.16, 10]),
        ([0.01, 0.1, 1], 0.01, [0.001, 0.00316]),
        ([0.01, 0.1, 1, 3.16, 10], 3.16, []),
        ([0.01, 0.1, 1, 3.16, 10], 10, [31.6, 100]),
        ([0.01, 0.1, 1, 316, 1000], 1000, []),  # three decades above the given values
        ([1e-5, 0.01, 0.1, 1], 1e-5, []),
        ([0.056, 0.18], 0.18, [0.569, 1.8]),
    ],
)
def test_values_beyond_the_edge_with_the_lowest_loss(values, best, expected):
    config = LinearConfig(
        name="linear", C=[value for value in values if 0.01 <= value <= 1], within_class_shrinkage=0.5
    )
    records = [{"C": value, "valid_loss": abs(np.log(value / best))} for value in values]
    assert linear.beyond(records, config) == pytest.approx(expected)


def test_a_single_given_C_is_kept():
    config = LinearConfig(name="linear", C=[0.1], within_class_shrinkage=0.5)
    assert linear.beyond([{"C": 0.1, "valid_loss": 1.0}], config) == []


def test_fits_with_a_large_C_give_no_warnings_and_lower_the_loss_on_the_fitted_utterances():
    """float32 descriptors that separate the classes; scikit-learn warns that the line search found no lower loss."""
    descriptors, labels = corpus(300)
    values = make_coordinates([Block(descriptors, gram(descriptors))], TRAIN).values
    config = LinearConfig(name="linear", C=[1.0, 1e2, 1e4, 1e6], within_class_shrinkage=0.5)
    with warnings.catch_warnings(action="error"):
        predicted = linear.predictions(values, classes(labels), TRAIN, config)
    losses = -predicted[:, TRAIN, labels[TRAIN]].mean(1)
    assert (np.diff(losses) <= 1e-6).all()
