"""The start: C and heads from training speakers alone; crossed heads have not seen the speaker that they classify."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import write_corpus
from encoders import settings, write_encoder
from torch import nn

from soctk.corpus import datadir, splits
from soctk.features.extract import Extraction, extract
from soctk.features.store import FeatureStore
from soctk.finetuning import start
from soctk.finetuning.augmentation import Augmenter
from soctk.finetuning.experiment import FineTuning
from soctk.finetuning.inputs import LayerInputs
from soctk.finetuning.model import smoothed
from soctk.finetuning.recordings import Waveforms
from soctk.scoring.runs import RunDirectory
from soctk.training import large, linear
from soctk.training.inputs import Features
from soctk.training.training_data import TrainingData

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["6 folds", "3 folds", "emobox"])
def started(request, tmp_path_factory):
    """The frozen descriptors of a corpus, and the start of the run that tests fold 2."""
    root = tmp_path_factory.mktemp("start")
    data = write_corpus(root)
    if request.param == "6 folds":
        folds = {speaker: int(speaker[-1]) + 1 for speaker in data.fold}
        datadir.write(root / "data", dataclasses.replace(data, fold=folds))
        data = datadir.read(root / "data")
    encoder = write_encoder(root / "whisper", "whisper")
    config = settings("lora", "mean+stats", "linear", "head.C=[0.01, 0.1, 1]")
    protocol = "emobox" if request.param == "emobox" else "soctk"
    config = config.model_copy(update={"protocol": protocol})
    extract(data, root / "feats", Extraction(str(encoder), (1, 2), "float32"))
    features = Features(FeatureStore.open(root / "feats"), data.utterances)
    inputs = TrainingData.load(config, data, features, False, 1)
    split = splits.split(data, 2, protocol, 1)
    [found] = start.fit(inputs, config.head, [(split, 1)], True, 1)
    return SimpleNamespace(
        data=data, config=config, inputs=inputs, split=split, start=found, encoder=encoder, path=root / "exp"
    )


def fitted(started, utterances) -> nn.Linear:
    head = nn.Linear(len(started.start.head.weight[0]), len(started.data.emotions))
    rows = started.inputs.rows(sorted(utterances))
    blocks = started.inputs.blocks.values()
    linear.fit(head, blocks, started.inputs.target, rows, started.start.C, started.config.head)
    return head


def assert_equal_heads(ours, head: nn.Linear) -> None:
    np.testing.assert_allclose(ours.weight, head.weight.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(ours.bias, head.bias.detach().numpy(), atol=1e-5)


def test_the_head_is_fitted_to_the_training_utterances_alone(started):
    assert_equal_heads(started.start.head, fitted(started, started.split.train))


def test_a_crossed_head_has_not_seen_the_speakers_of_its_part(started):
    found, speaker = started.start, started.data.speaker
    assert found.part.keys() == set(started.split.train)
    assert len(found.crossed) == len(set(found.part.values())) >= 2
    for number, head in enumerate(found.crossed):
        own = {speaker[utt] for utt, part in found.part.items() if part == number}
        others = [utt for utt in started.split.train if found.part[utt] != number]
        assert own.isdisjoint(speaker[utt] for utt in others)
        assert_equal_heads(head, fitted(started, others))


def test_a_large_corpus_has_heads_of_the_same_utterances(started):
    inputs = dataclasses.replace(started.inputs, is_large=True)
    [found] = start.fit(inputs, started.config.head, [(started.split, 1)], True, 1)
    assert (found.part, found.C) == (started.start.part, started.start.C)
    train = started.split.train
    lists = [train, *([utt for utt in train if found.part[utt] != number] for number in range(len(found.crossed)))]
    for head, utterances in zip([found.head, *found.crossed], lists, strict=True):
        weight, bias, _ = large.solve(inputs, found.candidate, started.config.head, utterances, found.C, 1)
        np.testing.assert_allclose(head.weight, weight, atol=1e-5)
        np.testing.assert_allclose(head.bias, bias, atol=1e-5)


def test_validation_utterances_have_no_influence(started):
    shuffled = dict(started.data.emotion)
    for utt in [*started.split.valid, *started.split.test]:
        shuffled[utt] = "calm"
    data = dataclasses.replace(started.data, emotion=shuffled)
    inputs = dataclasses.replace(started.inputs, data=data)
    [again] = start.fit(inputs, started.config.head, [(started.split, 1)], True, 1)
    assert again.C == started.start.C
    for one, other in zip([again.head, *again.crossed], [started.start.head, *started.start.crossed], strict=True):
        np.testing.assert_array_equal(one.weight, other.weight)


def test_the_training_loss_uses_the_crossed_heads(started):
    new = FineTuning.of(started.config, started.data, Extraction(str(started.encoder)), path=started.path)
    rows = Waveforms(new.recordings.utterances, 16000, "1", "none")
    inputs, data = LayerInputs(rows, "cpu"), new._rows()
    run = RunDirectory(started.path, 2, 1)
    model, _ = new._tuner(run, inputs, data, started.split, started.start, lambda _: None)
    assert not any(weight.requires_grad for weight in model.classifier.parameters())
    chosen = data.indices(started.split.train)[::3]
    with torch.no_grad():
        outputs = model.training_outputs(chosen, chosen, Augmenter(new.options, 1, 1, 1))
        clean = model.outputs(chosen)
    blocks = started.inputs.blocks.values()
    for row, ours, of_run in zip(chosen, outputs, clean, strict=True):
        descriptor = np.concatenate([block.array[row] for block in blocks])
        crossed = started.start.crossed[started.start.part[started.data.utterances[row]]]
        np.testing.assert_allclose(ours, crossed.weight @ descriptor + crossed.bias, atol=2e-3)
        head = started.start.head
        np.testing.assert_allclose(of_run, head.weight @ descriptor + head.bias, atol=2e-3)
    assert (outputs - clean).abs().max() > 0.01


@pytest.mark.parametrize("heads", ["train", "freeze"])
def test_a_class_without_training_utterances_gives_a_finite_smoothed_loss(started, heads):
    change = {"heads": heads, "label_smoothing": 0.1}
    config = started.config.model_copy(update={"finetune": started.config.finetune.model_copy(update=change)})
    new = FineTuning.of(config, started.data, Extraction(str(started.encoder)), path=started.path)
    inputs, data = LayerInputs(Waveforms(new.recordings.utterances, 16000, "1", "none"), "cpu"), new._rows()
    bias = np.array([-np.inf, *started.start.head.bias[1:]])
    lacking = dataclasses.replace(started.start, head=start.Head(started.start.head.weight, bias))
    model, _ = new._tuner(RunDirectory(started.path, 2, 1), inputs, data, started.split, lacking, lambda _: None)
    chosen = [row for row in data.indices(started.split.train) if started.inputs.target.labels[row] != 0][:8]
    outputs = model.training_outputs(chosen, chosen, Augmenter(new.options, 1, 1, 1))
    assert smoothed(data.target.loss(outputs, chosen), outputs, new.options).isfinite()


def test_a_class_that_a_part_lacks_gives_a_finite_loss():
    head = start.Head(np.zeros((2, 3)), np.array([0.0, -np.inf]))
    found = start.HeadStart(None, 1.0, head, [head], {})
    weight, bias = found.crossed_tensors("cpu")
    assert weight.shape == (1, 2, 3)
    assert bias.isfinite().all()
    assert bias[0, 1] <= -30
