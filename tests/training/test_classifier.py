import pytest
import torch

from soctk import config
from soctk.errors import SoctkError
from soctk.training import settings
from soctk.training.classifier import EmotionClassifier


def test_the_mlp_head_has_the_layers_of_the_soc_paper(conf):
    model = EmotionClassifier(6, 1, 5, config.load(conf, "soc"))
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    assert shapes == {
        "poolings.0.projection.weight": (24, 6),
        "head.0.weight": (128, 300),
        "head.0.bias": (128,),
        "head.1.weight": (128,),
        "head.1.bias": (128,),
        "head.4.weight": (5, 128),
        "head.4.bias": (5,),
    }
    assert [type(layer).__name__ for layer in model.head] == ["Linear", "BatchNorm1d", "ReLU", "Dropout", "Linear"]
    assert model.head[3].p == 0.4


def test_the_linear_head_is_one_linear_layer_and_refuses_a_trained_pooling(conf):
    model = EmotionClassifier(6, 1, 5, config.load(conf, "mean+soc_full", "linear"))
    assert tuple(model.head.weight.shape) == (5, 6 + 21)
    with pytest.raises(SoctkError, match="the head linear cannot train the pooling mean\\+soc\n"):
        EmotionClassifier(6, 1, 5, config.load(conf, "mean+soc", "linear"))


def test_combine_sum_pools_a_learned_weighted_sum_of_hidden_states(conf):
    model = EmotionClassifier(6, 3, 2, config.load(conf, "mean")).eval()
    frames, lengths = torch.randn(12, 3, 6), torch.tensor([7, 5])
    assert torch.allclose(model.describe(frames, lengths)[0], frames[:7].mean((0, 1)), atol=1e-6)
    model.layer_weights.data = torch.tensor([0.5, 0.3, 0.2]).log()
    expected = 0.5 * frames[7:, 0] + 0.3 * frames[7:, 1] + 0.2 * frames[7:, 2]
    assert torch.allclose(model.describe(frames, lengths)[1], expected.mean(0), atol=1e-6)
    model(frames, lengths).square().sum().backward()
    assert model.layer_weights.grad.abs().min() > 0


def test_combine_concat_gives_each_hidden_state_its_own_pooling_and_descriptor(conf):
    concat = config.load(conf, "mean+soc", overrides=["frames.combine=concat", "pooling.soc.d=2"])
    model = EmotionClassifier(6, 3, 2, concat).eval()
    frames, lengths = torch.randn(12, 3, 6), torch.tensor([7, 5])
    descriptors = model.describe(frames, lengths)
    assert descriptors.shape == (2, 3 * (6 + 3))
    weights = {tuple(pool.layers[1].projection.weight.flatten().tolist()) for pool in model.poolings}
    assert len(weights) == 3
    assert torch.allclose(descriptors[1, 9:15], frames[7:, 1].mean(0), atol=1e-6)


def test_the_linear_head_refuses_trained_weights_of_hidden_states(conf):
    with pytest.raises(SoctkError, match=r"cannot train the weights of the layers\n.*--combine concat"):
        EmotionClassifier(6, 3, 5, config.load(conf, "mean", "linear", overrides=["frames.combine=sum"]))
    concat = config.load(conf, "mean", "linear", overrides=["frames.combine=concat"])
    assert tuple(EmotionClassifier(6, 3, 5, concat).head.weight.shape) == (5, 18)


def test_the_preset_emobox_is_the_model_and_the_training_of_emobox():
    """Its SuperbBaseModel: Linear-ReLU on each frame, the mean over time, Linear; without batch norm and dropout."""
    emobox = settings.resolve(preset="emobox", protocol="emobox")
    model = EmotionClassifier(6, 1, 5, emobox).train()
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    assert shapes == {
        "projections.0.0.weight": (128, 6),
        "projections.0.0.bias": (128,),
        "head.weight": (5, 128),
        "head.bias": (5,),
    }
    frames = torch.randn(12, 1, 6)
    weight, bias = (value.detach().numpy() for value in model.projections[0][0].parameters())
    hidden = (frames[7:, 0].numpy() @ weight.T + bias).clip(min=0).mean(axis=0)
    logits = hidden @ model.head.weight.detach().numpy().T + model.head.bias.detach().numpy()
    assert model(frames, torch.tensor([7, 5]))[1].tolist() == pytest.approx(logits.tolist(), abs=1e-5)
    assert (emobox.frames.layer_norm, emobox.train.weight_decay, emobox.train.lr) == ("utterance", 0, 1e-4)
    assert emobox.train.patience == emobox.train.epochs == 100


def test_each_hidden_state_has_its_own_projection(conf):
    both = config.load(conf, "stats", overrides=["frames.combine=concat", "frames.projection=4"])
    model = EmotionClassifier(6, 2, 3, both).eval()
    frames, lengths = torch.randn(12, 2, 6), torch.tensor([7, 5])
    second = model.projections[1](frames[:7, 1])
    assert torch.allclose(model.describe(frames, lengths)[0, 8:12], second.mean(0), atol=1e-6)
    with pytest.raises(SoctkError, match=r"the head linear cannot train the projection\n.*--set frames.projection=0"):
        EmotionClassifier(6, 1, 3, config.load(conf, "mean", "linear", overrides=["frames.projection=4"]))
