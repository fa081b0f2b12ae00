"""Models that are trained together become the same as models trained alone, and as plain torch modules."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import nn
from torch.nn.functional import cross_entropy

from soctk import config
from soctk.training import batches, together
from soctk.training.classes import Classes
from soctk.training.classifier import EmotionClassifier
from soctk.training.dimensions import Dimensions
from soctk.training.distribution import Distribution
from soctk.training.frames import Frames
from soctk.training.inputs import Descriptors
from soctk.training.loop import Diverged, Learner, predict, train_for, train_together
from soctk.training.stack import Stack
from soctk.training.together import shares_projection

ROWS, WIDTH = 60, 6
LABELS = np.random.default_rng(0).integers(0, 3, ROWS)
# Training sets of different sizes: with batches of 8, the last batches have 8, 9, 3 and 5 rows.
FITTED = [list(range(40)), list(range(10, 43)), list(range(20, 55)), list(range(0, 42, 2))]
FITS = np.array([[row in fitted for fitted in FITTED] for row in range(ROWS)])
STRATA = batches.Strata(np.arange(ROWS) % 5, FITS)
VALID = [list(range(44, 60)), list(range(43, 60)), list(range(20)), list(range(43, 60))]


def settings(pooling="soc", *overrides):
    options = {"soc": ["pooling.d=3"], "soc_nolem": ["pooling.d=3"], "soc+mean": ["pooling.soc.d=3"]}.get(pooling, [])
    train = ["train.batch_size=8", "train.lr=1e-3", "train.epochs=6", "train.patience=2"]
    return config.load([ROOT / "conf"], pooling, overrides=[*options, *train, *overrides])


@pytest.fixture(scope="module")
def frames():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(4, 30, (ROWS,), generator=generator).tolist()
    return Frames(torch.randn(sum(lengths), 2, WIDTH, generator=generator), lengths)


def one_layer(frames):
    return Frames(frames.block[:, :1].contiguous(), frames.lengths)


def targets(kind, weight="none"):
    if kind == "dimensions":
        whole = Dimensions(["arousal", "valence", "dominance"], np.random.default_rng(1).normal(size=(ROWS, 3)))
    elif kind == "distribution":
        shares = np.random.default_rng(1).dirichlet([0.5] * 3, ROWS)
        whole = Distribution("abc", LABELS, shares, weight)
    else:
        whole = Classes("abc", LABELS, weight)
    return [whole.of_run(fitted, "cpu") for fitted in FITTED]


def learners(inputs, config, kind="classes", weight="none", layers=1, seeds=(1, 1, 1, 1)):
    made = []
    for fitted, valid, target, seed in zip(FITTED, VALID, targets(kind, weight), seeds, strict=True):
        torch.manual_seed(len(made))
        model = EmotionClassifier(WIDTH, layers, 3, config)
        model = model if isinstance(inputs, Frames) else model.head
        made.append(Learner(model, inputs, target, fitted, valid, config.train, seed, STRATA))
    return made


def results(learners, threads=1):
    """Return the records without seconds, and the outputs for all rows, of each learner."""
    records, finished = [[] for _ in learners], []
    for number, record, is_last in train_together(learners, threads=threads):
        record.pop("seconds")
        records[number].append(record)
        assert number not in finished
        finished.extend([number] * is_last)
    assert sorted(finished) == list(range(len(learners)))
    with torch.no_grad():
        outputs = [one.model.eval()(*one.inputs.batch(range(ROWS))).softmax(-1) for one in learners]
    return records, outputs


def assert_alike(one, other):
    for own, expected in zip(one[0], other[0], strict=True):
        assert [record["epoch"] for record in own] == [record["epoch"] for record in expected]
        for record, wanted in zip(own, expected, strict=True):
            assert record == pytest.approx(wanted, abs=1e-4)
    for own, expected in zip(one[1], other[1], strict=True):
        torch.testing.assert_close(own, expected, atol=1e-4, rtol=0)


CASES = {
    "soc": (settings(), 1),
    "soc-two-layers": (settings("soc", "frames.combine=concat"), 2),
    "soc-of-a-sum": (settings("soc"), 2),
    "soc+mean": (settings("soc+mean"), 1),
    "soc_nolem": (settings("soc_nolem"), 1),
    "asp": (settings("asp"), 1),
    "projection": (settings("stats", "frames.projection=4"), 1),
    "linear-head": (settings("soc", "head.hidden=0"), 1),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seeds", [(1, 1, 1, 1), (1, 2, 2, 3), (1, 2, 1, 2)], ids=["one-seed", "seeds", "mixed"])
def test_a_model_learns_the_same_alone_and_beside_others(frames, name, seeds):
    config, layers = CASES[name]
    inputs = frames if layers == 2 else one_layer(frames)
    beside = results(learners(inputs, config, layers=layers, seeds=seeds))
    alone = [results([one]) for one in learners(inputs, config, layers=layers, seeds=seeds)]
    assert_alike(beside, [[one[part][0] for one in alone] for part in (0, 1)])


@pytest.mark.parametrize("kind", ["classes", "distribution", "dimensions"])
@pytest.mark.parametrize("weight", ["none", "balanced"])
def test_each_target_is_learned_the_same_alone_and_beside_others(frames, kind, weight):
    if kind == "dimensions" and weight == "balanced":
        pytest.skip("dimensions have no classes")
    values = Descriptors([torch.randn(ROWS, 10, generator=torch.Generator().manual_seed(2))])
    config = settings("mean")

    def make():
        each = zip(targets(kind, weight), FITTED, VALID, strict=True)
        return [
            Learner(head(), values, target, fitted, valid, config.train, 1, STRATA) for target, fitted, valid in each
        ]

    beside = results(make())
    alone = [results([one]) for one in make()]
    assert_alike(beside, [[one[part][0] for one in alone] for part in (0, 1)])


def head(inputs=10, hidden=7, outputs=3, dropout=0.4, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, outputs)
    )


class GivenDropout(nn.Module):
    """Dropout by masks that are given before each batch."""

    def __init__(self, rate):
        super().__init__()
        self.rate, self.kept = rate, None

    def forward(self, inputs):
        return inputs * self.kept / (1 - self.rate)


def oracle(model, describe, fitted, train, seed, epochs, weight=None):
    """Train a model by modules and an optimizer of torch for some epochs; return its state."""
    model = copy.deepcopy(model)
    body = model.head if isinstance(model, EmotionClassifier) else model
    rate, hidden = body[3].p, body[0].out_features
    body[3] = dropout = GivenDropout(rate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=train.lr, weight_decay=train.weight_decay)
    total = len(batches.cut(len(fitted), train.batch_size)) * train.epochs
    warm = int(total * train.warmup)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: (step + 1) / warm if step < warm else (total - step) / max(1, total - warm)
    )
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for epoch in range(1, epochs + 1):
        rows = [row for row in batches.orders(STRATA, seed, [epoch])[0] if row in fitted]
        kept = torch.empty(len(rows), hidden, dtype=torch.bool).bernoulli_(1 - rate, generator=generator)
        for start, end in batches.cut(len(rows), train.batch_size):
            dropout.kept = kept[start:end]
            loss = cross_entropy(model(*describe(rows[start:end])), torch.tensor(LABELS[rows[start:end]]), weight)
            optimizer.zero_grad()
            loss.backward()
            if body[0].bias.dtype == torch.float32:  # rounding errors: the gradient before batch norm is 0
                body[0].bias.grad.zero_()
            nn.utils.clip_grad_norm_(model.parameters(), train.grad_clip)
            optimizer.step()
            schedule.step()
    return model.state_dict()


@pytest.mark.parametrize("clip", [0.05, 100.0])
@pytest.mark.parametrize("pooling", ["soc", "descriptors"])
def test_models_together_equal_modules_and_optimizers_of_torch(frames, pooling, clip):
    """The oracle has nn.BatchNorm1d, torch.optim.AdamW, clip_grad_norm_ and LambdaLR for each model."""
    config = settings("soc", f"train.grad_clip={clip}", "train.patience=100", "head.hidden=7", "train.warmup=0.3")
    inputs = one_layer(frames) if pooling == "soc" else Descriptors([torch.randn(ROWS, 6, dtype=torch.float64)])
    made = learners(inputs, config)
    if pooling == "descriptors":
        made = [replace(one, model=head(6).double()) for one in made]
    expected = [
        oracle(one.model, inputs.batch, one.fitted, config.train, one.seed, config.train.epochs) for one in made
    ]

    # The last epoch has the lowest loss of all, so that its weights are kept.
    class Falling(Classes):
        def scores(self, predictions, rows):
            self.calls = getattr(self, "calls", 0) + 1
            return {"valid_loss": 1 / self.calls, "valid_WA": 0.0, "valid_UA": 0.0}

    for one in made:
        one.target = Falling("abc", LABELS)
    _, outputs = results(made)
    for one, own, wanted in zip(made, outputs, expected, strict=True):
        if pooling == "descriptors":  # in float64
            for name, value in one.model.state_dict().items():
                torch.testing.assert_close(value, wanted[name], atol=1e-7, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
        one.model.load_state_dict(wanted)
        with torch.no_grad():
            torch.testing.assert_close(own, one.model(*inputs.batch(range(ROWS))).softmax(-1), atol=1e-4, rtol=0)


def test_dropout_keeps_its_share_and_differs_between_epochs_and_seeds():
    from soctk.training.loop import _Training

    values = Descriptors([torch.randn(ROWS, 10)])
    train, target = settings("mean").train, targets("classes")[0]
    made = [Learner(head(hidden=500), values, target, FITTED[0], VALID[0], train, seed) for seed in (1, 2)]
    training = _Training(made, threads=1)
    first, second = training._kept(), training._kept()
    for kept in (*first, *second):
        assert kept.float().mean() == pytest.approx(0.6, abs=0.02)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], second[0])
    alone = _Training(made[1:], threads=1)
    assert torch.equal(alone._kept()[0], first[1])


@pytest.mark.parametrize("counts", [(20, 10), (10, 20)])
def test_models_without_strata_have_orders_of_their_own_rows(counts):
    from soctk.training.loop import _Training

    values = Descriptors([torch.randn(ROWS, 10)])
    train, target = settings("mean").train, targets("classes")[0]
    made = [Learner(head(), values, target, range(count), [], train, seed=1) for count in counts]
    orders = _Training(made, threads=1)._orders(1)
    assert [sorted(order) for order in orders] == [list(range(count)) for count in counts]


def test_a_model_stops_alone_and_keeps_its_best_epoch(frames):
    """The validation labels of model 1 are wrong, so that its loss rises at once."""
    config = settings("soc", "train.epochs=30", "train.patience=3")
    made = learners(one_layer(frames), config)
    losses = {number: [] for number in range(4)}
    script = {0: [9.0 - epoch for epoch in range(30)], 1: [1.0] * 30, 2: [2, 1, 3, 3, 3, *[0] * 25], 3: [2.0] * 30}

    class Scripted(Classes):
        def scores(self, predictions, rows):
            loss = script[self.number][len(losses[self.number])]
            losses[self.number].append(loss)
            states[self.number].append({k: v.clone() for k, v in made[self.number].model.state_dict().items()})
            return {"valid_loss": float(loss), "valid_WA": 0.0, "valid_UA": 0.0}

    states = {number: [] for number in range(4)}
    for number, one in enumerate(made):
        one.target = Scripted("abc", LABELS)
        one.target.number = number
    results(made)
    assert [len(losses[number]) for number in range(4)] == [30, 4, 5, 4]
    for number, best in enumerate([29, 0, 1, 0]):
        for name, value in made[number].model.state_dict().items():
            assert torch.equal(value, states[number][best][name]), (number, name)


def test_the_number_of_threads_does_not_change_the_bits(frames):
    config = settings()
    one, three = (results(learners(one_layer(frames), config), threads) for threads in (1, 3))
    assert one[0] == three[0]
    assert all(map(torch.equal, one[1], three[1]))


def test_the_shared_projection_equals_the_layers_of_each_model(frames, monkeypatch):
    config = settings("soc", "frames.combine=concat")
    shared = results(learners(frames, config, layers=2))
    monkeypatch.setattr(together, "shares_projection", lambda model: False)
    assert_alike(shared, results(learners(frames, config, layers=2)))


def test_which_models_share_the_product_with_the_frames():
    shared = {
        name for name, (config, layers) in CASES.items() if shares_projection(EmotionClassifier(6, layers, 3, config))
    }
    assert shared == {"soc", "soc-two-layers", "linear-head"}


def test_parameters_are_views_of_the_stack_until_they_are_dropped():
    models = [head(seed=seed) for seed in range(3)]
    before = [copy.deepcopy(model.state_dict()) for model in models]
    stack = Stack(models)
    for model, wanted in zip(models, before, strict=True):
        assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())
    stack.parameters["0.weight"].data[1] = 7
    assert (models[1][0].weight == 7).all()
    stack.buffers["1.running_mean"][2] = 3
    assert (models[2][1].running_mean == 3).all()
    stack.keep([0, 2])
    stack.parameters["0.weight"].data[:] = 5
    assert (models[0][0].weight == 5).all()
    assert (models[1][0].weight == 7).all()
    assert (models[2][0].weight == 5).all()
    stack.keep([])
    assert [parameter.is_leaf and parameter.grad is None for parameter in models[2].parameters()]


@pytest.mark.parametrize("pooling", ["descriptors", "soc", "asp"])
def test_an_infinite_loss_of_one_model_is_an_error(frames, pooling):
    """With asp each model describes its own frames; poolings refuse frames that NaN weights have projected."""
    config = settings("mean" if pooling == "descriptors" else pooling)
    values = Descriptors([torch.randn(ROWS, WIDTH)]) if pooling == "descriptors" else one_layer(frames)
    made = learners(values, config)
    with torch.no_grad():
        (made[2].model.head if pooling != "descriptors" else made[2].model)[0].weight.fill_(math.inf)
    with pytest.raises(Diverged, match="the loss is infinite or NaN in epoch 1") as error:
        list(train_together(made))
    assert error.value.number == 2


def test_a_gradient_that_is_not_finite_leaves_the_weights_finite_and_is_reported(frames):
    from soctk.training.loop import _Training

    training = _Training(learners(one_layer(frames), settings()), threads=1)
    scale = torch.tensor([1, 1, math.nan, 1])[:, None, None]
    training._stack.parameters["head.0.weight"].register_hook(lambda gradient: gradient * scale)
    losses = training.epoch(1)
    assert [math.isfinite(loss) for loss in losses.values()] == [True, True, False, True]
    assert training._stack._values.isfinite().all()


def test_models_with_other_settings_of_the_loop_learn_the_same_alone_and_beside_others(frames):
    overrides = [
        ["train.lr=1e-2", "head.dropout=0", "train.epochs=20", "train.patience=1"],
        ["train.lr=1e-2", "train.epochs=8", "train.patience=100", "train.weight_decay=0.5"],
        ["train.grad_clip=0.01", "head.dropout=0.8"],
        ["train.warmup=0.5", "train.epochs=3", "train.patience=5"],
    ]
    configs = [settings("soc", *own) for own in overrides]

    def make():
        return [learners(one_layer(frames), own)[number] for number, own in enumerate(configs)]

    beside, alone = results(make()), [results([one]) for one in make()]
    assert_alike(beside, [[one[part][0] for one in alone] for part in (0, 1)])
    epochs = [len(records) for records in beside[0]]
    assert epochs[0] < 20  # its patience of 1 ends it
    assert epochs[1:2] + epochs[3:] == [8, 3]


def test_a_training_set_of_one_batch_and_a_row_has_no_batch_of_one(frames):
    config = settings()
    model = EmotionClassifier(WIDTH, 1, 3, config)
    train_for(model, one_layer(frames), Classes("abc", LABELS), range(9), config.train, 0, epochs=2)
    predicted = predict(model, one_layer(frames), Classes("abc", LABELS), range(ROWS))
    assert predicted.isfinite().all()
