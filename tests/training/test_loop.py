import copy

import numpy as np
import pytest
import torch
from torch import nn

from soctk import config
from soctk.errors import SoctkError
from soctk.training import loop
from soctk.training.classes import Classes
from soctk.training.classifier import EmotionClassifier
from soctk.training.frames import Frames
from soctk.training.inputs import Descriptors
from soctk.training.loop import predict, train, train_for
from soctk.training.stack import warmup_then_decay

CLASSES = Classes("ab", np.array([0, 1] * 12))


@pytest.fixture
def settings(conf):
    return config.load(conf, "soc", overrides=["pooling.d=4", "train.batch_size=8", "train.lr=1e-2"])


@pytest.fixture
def frames():
    """24 utterances of 2 classes that differ only in their covariance: in the sign of one correlation."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(20, 40, (24,), generator=generator).tolist()
    utterances = []
    for i, length in enumerate(lengths):
        x = torch.randn(length, 6, generator=generator)
        x[:, 1] = 0.95 * (-1) ** i * x[:, 0] + 0.3 * x[:, 1]
        utterances.append(x)
    return Frames(torch.cat(utterances).half()[:, None], lengths), np.array([0, 1] * 12)


def test_soc_learns_classes_that_differ_only_in_covariance(settings, frames):
    inputs, labels = frames
    torch.manual_seed(0)
    model = EmotionClassifier(6, 1, 2, settings)
    records = list(train(model, inputs, Classes("ab", labels), range(16), range(16, 20), settings.train, seed=0))
    assert predict(model, inputs, CLASSES, range(20, 24)).argmax(-1).tolist() == [0, 1, 0, 1]
    assert records[-1]["train_loss"] < records[0]["train_loss"] / 4
    assert [record["epoch"] for record in records] == list(range(1, len(records) + 1))


def test_the_model_keeps_the_epoch_with_the_lowest_validation_loss(settings, frames):
    inputs, labels = frames
    torch.manual_seed(0)
    model = EmotionClassifier(6, 1, 2, settings)
    states, losses = [], []
    # Validation labels are swapped, so the validation loss soon rises.
    labels = np.concatenate([labels[:16], 1 - labels[16:]])
    for record in train(model, inputs, Classes("ab", labels), range(16), range(16, 24), settings.train, seed=0):
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        losses.append(record["valid_loss"])
    best = losses.index(min(losses))
    assert len(losses) == best + 1 + settings.train.patience
    for name, value in model.state_dict().items():
        assert torch.equal(value, states[best][name])


def test_the_seed_determines_the_model(settings, frames):
    inputs, labels = frames
    losses, five_epochs = {}, settings.train.model_copy(update={"epochs": 5})
    for run, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.manual_seed(0)
        model = EmotionClassifier(6, 1, 2, settings)
        records = train(model, inputs, Classes("ab", labels), range(16), range(16, 20), five_epochs, seed)
        losses[run] = [record["valid_loss"] for record in records]
    assert losses["a"] == losses["b"] != losses["c"]


def test_the_learning_rate_rises_and_falls_linearly():
    rates = [warmup_then_decay(step, total=10, warmup=0.4) for step in range(11)]
    assert rates == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0])


def test_an_infinite_loss_is_an_error(settings, frames):
    inputs, labels = frames
    descriptors = Descriptors([inputs.block[:24, 0].float() * float("inf")])
    model = nn.Linear(6, 2)
    with pytest.raises(SoctkError, match=r"the loss is infinite or NaN in epoch 1\nLower the learning rate"):
        list(train(model, descriptors, Classes("ab", labels), range(16), range(16, 20), settings.train, seed=0))


def test_posteriors_do_not_depend_on_the_batch(settings, frames, monkeypatch):
    inputs, _ = frames
    torch.manual_seed(0)
    model = EmotionClassifier(6, 1, 2, settings)
    together = predict(model, inputs, CLASSES, range(24))
    torch.testing.assert_close(together.exp().sum(-1), torch.ones(24))
    monkeypatch.setattr(loop, "EVAL_BATCH", 1)
    torch.testing.assert_close(predict(model, inputs, CLASSES, range(24)), together)


def test_validation_scores_use_the_mean_of_the_posteriors_over_copies(settings, frames):
    inputs, labels = frames
    five_epochs = settings.train.model_copy(update={"epochs": 5})
    torch.manual_seed(0)
    model = EmotionClassifier(6, 1, 2, settings)
    for record in train(
        model, inputs, Classes("ab", labels), range(16), [16, 17, 20, 21], five_epochs, seed=0, copies=2
    ):
        first, second = (predict(model, inputs, CLASSES, pair).exp() for pair in ([16, 17], [20, 21]))
        mean = (first + second) / 2
        assert record["valid_loss"] == pytest.approx(-mean[[0, 1], [0, 1]].log().mean().item(), abs=1e-5)


def adamw(x: np.ndarray, labels: np.ndarray, weight: np.ndarray, rates: list[float], decay: float, clip: float):
    """Return the weights of a softmax regression after each step of AdamW with gradients clipped to the norm `clip`.

    After Loshchilov & Hutter (2019), algorithm 2, with beta = (0.9, 0.999) and epsilon = 1e-8, in float64.
    """
    first, second, steps = np.zeros_like(weight), np.zeros_like(weight), []
    for t, rate in enumerate(rates, start=1):
        scores = np.exp(x @ weight.T)
        gradient = (scores / scores.sum(1, keepdims=True) - np.eye(len(weight))[labels]).T @ x / len(x)
        gradient *= min(1, clip / np.sqrt((gradient**2).sum()))
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        update = first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        weight = weight - rate * decay * weight - rate * update
        steps.append(weight)
    return steps


@pytest.mark.parametrize("clip", [0.1, 1e9], ids=["clipped", "not-clipped"])
def test_three_steps_equal_a_numpy_adamw_with_gradient_clipping(settings, clip):
    options = {"batch_size": 16, "epochs": 3, "lr": 0.5, "weight_decay": 0.1, "warmup": 0, "grad_clip": clip}
    generator = np.random.default_rng(0)
    x, labels = generator.normal(size=(20, 4)).astype(np.float32), generator.integers(0, 3, 20)
    start = nn.Linear(4, 3, bias=False)
    weight = start.weight.detach().numpy().astype(np.float64)
    rates = [0.5, 0.5 * 2 / 3, 0.5 / 3]  # without warm-up, the rate decays linearly to 0
    expected = {limit: adamw(x[:16], labels[:16], weight, rates, 0.1, limit) for limit in (0.1, 1e9)}
    assert np.abs(expected[0.1][2] - expected[1e9][2]).max() > 0.01  # clipping matters here
    train_config = settings.train.model_copy(update=options)
    inputs, classes = Descriptors([torch.from_numpy(x)]), Classes("abc", labels)
    for epochs in (1, 2, 3):
        model = copy.deepcopy(start)
        train_for(model, inputs, classes, range(16), train_config, 0, epochs)
        np.testing.assert_allclose(model.weight.detach().numpy(), expected[clip][epochs - 1], atol=1e-4)


def test_validation_scores_are_fractions_and_ignore_classes_without_utterances(settings):
    logits = torch.tensor([[5.0, 0, 0], [0, 5.0, 0], [0, 0, 5.0], [5.0, 0, 0]])
    labels = np.array([0, 0, 0, 1])  # class 2 does not occur, but one utterance is classified as class 2
    one_epoch = settings.train.model_copy(update={"epochs": 1, "batch_size": 4, "lr": 1e-9})
    model = nn.Linear(3, 3, bias=False)
    torch.nn.init.eye_(model.weight)
    (record,) = train(model, Descriptors([logits]), Classes("abc", labels), range(4), range(4), one_epoch, seed=0)
    assert record["valid_WA"] == pytest.approx(1 / 4, abs=1e-12)
    assert record["valid_UA"] == pytest.approx((1 / 3 + 0) / 2, abs=1e-12)
