import pytest
import torch
from torch import nn

from soctk import config
from soctk.errors import SoctkError
from soctk.training import loop as training
from soctk.training.classifier import EmotionClassifier
from soctk.training.inputs import Descriptors, Frames
from soctk.training.loop import predict, train


@pytest.fixture
def settings(conf):
    return config.load(conf, "soc", overrides=["pooling.d=4", "train.batch_size=8", "train.lr=1e-2"])


@pytest.fixture
def frames():
    """24 utterances of 2 classes that differ in their covariance alone: the sign of one correlation."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(20, 40, (24,), generator=generator).tolist()
    utterances = []
    for i, length in enumerate(lengths):
        x = torch.randn(length, 6, generator=generator)
        x[:, 1] = 0.95 * (-1) ** i * x[:, 0] + 0.3 * x[:, 1]
        utterances.append(x)
    return Frames(torch.cat(utterances).half()[:, None], lengths), torch.tensor([0, 1] * 12)


def test_it_learns_what_only_the_covariance_tells(settings, frames):
    inputs, labels = frames
    torch.manual_seed(0)
    model = EmotionClassifier(6, 1, 2, settings)
    records = list(train(model, inputs, labels, range(16), range(16, 20), settings.train, seed=0))
    assert predict(model, inputs, range(20, 24)).argmax(-1).tolist() == [0, 1, 0, 1]
    assert records[-1]["train_loss"] < records[0]["train_loss"] / 4
    assert [record["epoch"] for record in records] == list(range(1, len(records) + 1))


def test_the_model_is_that_of_the_epoch_with_the_lowest_validation_loss(settings, frames):
    inputs, labels = frames
    torch.manual_seed(0)
    model = EmotionClassifier(6, 1, 2, settings)
    states, losses = [], []
    # Validation labels are the opposite of the training labels, so the loss soon rises.
    labels = torch.cat([labels[:16], 1 - labels[16:]])
    for record in train(model, inputs, labels, range(16), range(16, 24), settings.train, seed=0):
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        losses.append(record["valid_loss"])
    best = losses.index(min(losses))
    assert len(losses) == best + 1 + settings.train.patience
    for name, value in model.state_dict().items():
        assert torch.equal(value, states[best][name])


def test_the_same_seed_gives_the_same_model_and_another_seed_another(settings, frames):
    inputs, labels = frames
    losses = {}
    for run, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.manual_seed(0)
        model = EmotionClassifier(6, 1, 2, settings)
        records = train(model, inputs, labels, range(16), range(16, 20), settings.train, seed)
        losses[run] = [record["valid_loss"] for record in records]
    assert losses["a"] == losses["b"] != losses["c"]


@pytest.mark.parametrize(("count", "sizes"), [(16, [8, 8]), (17, [8, 9]), (18, [8, 8, 2]), (1, [1]), (5, [5])])
def test_no_batch_is_of_one_where_that_can_be(count, sizes):
    batches = list(training._batches(range(100, 100 + count), 8, torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in batches] == sizes
    assert sorted(i for batch in batches for i in batch) == list(range(100, 100 + count))


def test_the_learning_rate_rises_and_falls_by_hand():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = training._warmup_then_decay(optimizer, total=10, warmup=0.4)
    rates = []
    for _ in range(11):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0])


def test_a_loss_that_is_no_longer_finite_is_told(settings, frames):
    inputs, labels = frames
    descriptors = Descriptors([inputs.block[:24, 0].float() * float("inf")])
    model = nn.Linear(6, 2)
    with pytest.raises(SoctkError, match=r"the loss is no longer finite in epoch 1\nLower the learning rate"):
        list(train(model, descriptors, labels, range(16), range(16, 20), settings.train, seed=0))


def test_posteriors_do_not_depend_on_the_batch(settings, frames, monkeypatch):
    inputs, _ = frames
    torch.manual_seed(0)
    model = EmotionClassifier(6, 1, 2, settings)
    together = predict(model, inputs, range(24))
    torch.testing.assert_close(together.exp().sum(-1), torch.ones(24))
    monkeypatch.setattr(training, "EVAL_BATCH", 1)
    torch.testing.assert_close(predict(model, inputs, range(24)), together)


def test_validation_is_of_the_mean_over_copies_as_the_test_is(settings, frames):
    inputs, labels = frames
    torch.manual_seed(0)
    model = EmotionClassifier(6, 1, 2, settings)
    for record in train(model, inputs, labels, range(16), [16, 17, 20, 21], settings.train, seed=0, copies=2):
        of_first, of_second = (predict(model, inputs, pair).exp() for pair in ([16, 17], [20, 21]))
        mean = (of_first + of_second) / 2
        assert record["valid_loss"] == pytest.approx(-mean[[0, 1], [0, 1]].log().mean().item(), abs=1e-5)
