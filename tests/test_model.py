import pytest
import torch

from soctk import config
from soctk.errors import SoctkError
from soctk.model import EmotionClassifier


def test_layer_norm_takes_out_each_frames_mean_and_scale(conf):
    torch.manual_seed(0)
    frames, lengths = torch.randn(3, 7, 6), torch.tensor([7, 5, 2])
    scaled = frames * torch.rand(3, 7, 1).add(0.5) + torch.randn(3, 7, 1)
    for wanted in (True, False):
        model = EmotionClassifier(6, 2, config.load(conf, "mean", overrides=[f"frames.layer_norm={wanted}"])).eval()
        assert torch.allclose(model(frames, lengths), model(scaled, lengths), atol=1e-4) == wanted


def test_the_head_is_the_papers(conf):
    model = EmotionClassifier(6, 5, config.load(conf, "soc"))
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    assert shapes == {
        "pooling.projection.weight": (24, 6),
        "head.0.weight": (128, 300),
        "head.0.bias": (128,),
        "head.1.weight": (128,),
        "head.1.bias": (128,),
        "head.4.weight": (5, 128),
        "head.4.bias": (5,),
    }
    assert [type(layer).__name__ for layer in model.head] == ["Linear", "BatchNorm1d", "ReLU", "Dropout", "Linear"]
    assert model.head[3].p == 0.4


def test_a_linear_head_is_a_linear_layer_and_cannot_train_a_pooling(conf):
    model = EmotionClassifier(6, 5, config.load(conf, "mean+soc_full", "linear"))
    assert tuple(model.head.weight.shape) == (5, 6 + 21)
    with pytest.raises(SoctkError, match="the head linear is fitted to descriptors, and cannot train mean\\+soc\n"):
        EmotionClassifier(6, 5, config.load(conf, "mean+soc", "linear"))
