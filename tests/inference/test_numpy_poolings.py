"""Pooling and head in numpy give the results of the torch layers, and refuse what these refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT
from random_models import random_bundle

from soctk import config
from soctk.errors import SoctkError
from soctk.inference import torch_runtime
from soctk.inference.onnx import classifier, poolings
from soctk.inference.onnx.classifier import NumpyClassifier
from soctk.pooling import POOLINGS, create

SIZE = 12
OPTIONS = {
    "mean": [{}],
    "stats": [{"eps": 1e-10}, {"eps": 0.5}],
    "asp": [{"hidden": 7, "eps": 1e-10}],
    "soc": [
        {"d": 5, "eps": 1e-5, "shrinkage": 0.0, "normalisation": "trace"},
        {"d": 5, "eps": 1e-3, "shrinkage": 0.4, "normalisation": "none"},
        {"d": 1, "eps": 1e-3, "shrinkage": 1.0, "normalisation": "mean"},
    ],
    "soc_nolem": [
        {"d": 5, "eps": 1e-5, "shrinkage": 0.3, "normalisation": "trace"},
        {"d": 5, "eps": 1e-2, "shrinkage": 0.0, "normalisation": "none"},
    ],
    "soc_full": [
        {"d": 0, "eps": 1e-8, "shrinkage": 0.7, "normalisation": "mean"},
        {"d": 4, "eps": 1e-3, "shrinkage": 0.2, "normalisation": "trace"},
        {"d": 20, "eps": 1e-3, "shrinkage": 0.2, "normalisation": "none"},
    ],
    "corr": [{"eps": 1e-10}, {"eps": 500.0}],
}


def test_each_pooling_has_a_numpy_form():
    assert poolings.POOLINGS.keys() == POOLINGS.keys() == OPTIONS.keys()


@pytest.mark.parametrize("count", [1, 2, 9, 12, 40], ids=lambda count: f"{count} frames")
@pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name, several in OPTIONS.items() for options in several], ids=str
)
def test_a_pooling_has_the_descriptors_of_the_torch_layer(name, options, count):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = create(name, SIZE, {name: options}).double()
    frames = 3 + np.random.default_rng(1).standard_normal((count, SIZE)) * np.arange(1, SIZE + 1)
    expected = layer(torch.from_numpy(frames)[None], torch.tensor([count]))[0].detach().numpy()
    form = poolings.POOLINGS[name].model_validate(options)
    weights = {key: value.numpy() for key, value in layer.state_dict().items()}
    assert form.shapes(SIZE) == {key: value.shape for key, value in weights.items()}
    found = form.pool(frames, weights)
    assert found.shape == (form.output_size(SIZE),) == (layer.output_size,)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "settings",
    [
        ("mean", "linear"),
        ("mean+soc_full", "linear"),
        ("soc", "mlp"),
        ("asp+soc_nolem", "mlp", "frames.combine=concat"),
        ("stats", "mlp", "frames.combine=sum", "head.hidden=0"),
        ("soc+mean", "mlp", "frames.projection=6", "frames.combine=concat"),
        ("mean", "mlp", "frames.projection=6", "frames.combine=sum"),
    ],
)
@pytest.mark.parametrize("layers", [1, 3])
def test_a_classifier_has_the_logits_of_the_torch_classifier(settings, layers):
    bundle = random_bundle(*settings)
    encoder = bundle.settings.encoder.model_copy(update={"hidden_size": SIZE, "layers": list(range(layers))})
    bundle = with_random_weights(replace(bundle, settings=bundle.settings.model_copy(update={"encoder": encoder})))
    frames = np.random.default_rng(2).standard_normal((30, layers, SIZE)).astype(np.float32)
    model = torch_runtime.classifier(bundle)
    with torch.inference_mode():
        descriptor = model.describe(torch.from_numpy(frames), torch.tensor([30]))
        logits = model.head(descriptor)
    ours = NumpyClassifier(bundle)
    np.testing.assert_allclose(ours.describe(frames), descriptor[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.logits(descriptor.numpy()), logits, rtol=1e-4, atol=1e-5)


def with_random_weights(bundle):
    """Return the bundle with weights of its settings, all of them random: also those that are 0 or 1 at first."""
    made = torch_runtime._new_classifier(bundle).to_empty(device="cpu")
    random = np.random.default_rng(3)
    weights = {
        name: np.array(1) if weight.ndim == 0 else random.uniform(0.1, 1, weight.shape).astype(np.float32)
        for name, weight in made.state_dict().items()
    }
    return replace(bundle, weights=weights)


def test_a_class_that_was_not_trained_has_the_logit_minus_infinity():
    bundle = random_bundle()
    bundle.weights["head.bias"][1] = -np.inf
    logits = NumpyClassifier(bundle).logits(np.ones((2, 240), dtype=np.float32))
    assert np.isneginf(logits[:, 1]).all()
    assert np.isfinite(logits[:, [0, 2]]).all()


def test_a_model_of_dimensions_has_an_output_for_each():
    bundle = random_bundle()
    experiment = bundle.settings.experiment.model_copy(update={"target": "arousal+valence"})
    settings = bundle.settings.model_copy(update={"experiment": experiment, "emotions": []})
    weights = {"head.weight": np.ones((2, 240), dtype=np.float32), "head.bias": np.zeros(2, dtype=np.float32)}
    model = NumpyClassifier(replace(bundle, settings=settings, weights=weights))
    np.testing.assert_array_equal(model.logits(np.ones((1, 240), dtype=np.float32)), [[240, 240]])


def test_weights_of_layers_may_be_large():
    bundle = random_bundle("mean", "mlp", "frames.combine=sum", layers=[0, 1])
    weights = {**bundle.weights, "layer_weights": np.array([1000, 1001], dtype=np.float32)}
    frames = np.ones((5, 2, 240), dtype=np.float32) * np.array([[[1], [2]]], dtype=np.float32)
    found = NumpyClassifier(replace(bundle, weights=weights)).describe(frames)
    np.testing.assert_allclose(found, (1 + 2 * np.e) / (1 + np.e), rtol=1e-6)


def test_frames_that_overflow_are_refused():
    with pytest.raises(ValueError, match="the frames are too large to square"):
        frames = np.full((3, 1, 240), 1e30, dtype=np.float32) * np.arange(3, dtype=np.float32)[:, None, None]
        NumpyClassifier(random_bundle("soc_nolem", "mlp", "pooling.normalisation=none")).describe(frames)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 0}, "pooling: eps"),
        ({"normalisation": "max"}, "pooling: normalisation"),
        ({"shrinkage": 1.5}, "pooling: shrinkage"),
        ({"other": 1}, "pooling: other"),
        ({"d": 10**6}, "its weights are not those of the model in config.yaml"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    bundle = random_bundle("soc", "mlp")
    pooling = {"soc": {**bundle.settings.experiment.pooling["soc"], **options}}
    experiment = bundle.settings.experiment.model_copy(update={"pooling": pooling})
    changed = replace(bundle, settings=bundle.settings.model_copy(update={"experiment": experiment}))
    with pytest.raises(SoctkError, match=message):
        NumpyClassifier(changed)
    with pytest.raises(SoctkError):
        torch_runtime.classifier(changed)


def test_a_pooling_without_a_numpy_form_is_refused(monkeypatch):
    monkeypatch.delitem(poolings.POOLINGS, "asp")
    with pytest.raises(SoctkError) as error:
        classifier.require_numpy_form(config.load([ROOT / "conf"], "mean+asp", "mlp"))
    assert str(error.value) == (
        "--onnx: the pooling asp has no numpy form, so the model cannot run without torch\n"
        "Poolings with one: mean, stats, soc, soc_nolem, soc_full, corr."
    )
