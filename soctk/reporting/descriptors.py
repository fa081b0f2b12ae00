"""The descriptors of an experiment's test utterances, computed again from its model and the feature store."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from soctk.errors import SoctkError
from soctk.features.store import FeatureStore
from soctk.pooling.layers import SOC, Concatenation, Pooling, SOCFull, SOCNoLEM
from soctk.schema import Config
from soctk.scoring.predictions import Predictions
from soctk.scoring.recorded import used_layers
from soctk.scoring.runs import RunDirectory
from soctk.training.classifier import EmotionClassifier
from soctk.training.inputs import Frames, describe

# Enough points for a figure. With more points, t-SNE takes minutes and the descriptors take much memory.
MOST_UTTERANCES = 800


@dataclass(frozen=True)
class Described:
    """The descriptors of some test utterances, computed by the model of one run.

    Attributes:
        fold: the fold of the run.
        seed: the seed of the run.
        utterances: one row per utterance: utt, spk, and ref (the index of the emotion).
        values: the descriptors `(N, P)`, in the order of the utterances.
        pooling: the pooling layer. With several concatenated hidden states, the layer of the first of them; its
            descriptor is the first part of each row of `values`.
    """

    fold: int
    seed: int
    utterances: pd.DataFrame
    values: np.ndarray
    pooling: Pooling

    def log_covariances(self) -> np.ndarray | None:
        """Return the log-covariances `(N, d, d)` that the descriptors contain; None if they contain none."""
        layers = cast(list[Pooling], self.pooling.layers if isinstance(self.pooling, Concatenation) else [self.pooling])
        start = 0
        for layer in layers:
            if isinstance(layer, (SOC, SOCFull)) and not isinstance(layer, SOCNoLEM):
                vectors = self.values[:, start : start + layer.output_size]
                return _symmetric(vectors, is_scaled=isinstance(layer, SOCFull))
            start += layer.output_size
        return None


def of_run(predictions: Predictions, store: Path | None = None) -> Described | None:
    """Return the descriptors of test utterances, computed by the model of the first fold and seed.

    A pooling with trained parameters describes the test utterances of its own fold only, because the models of other
    folds have other axes. Other poolings describe the test utterances of all folds. At most MOST_UTTERANCES utterances
    are described, drawn at random.

    Args:
        predictions: the predictions of the experiment.
        store: the feature store; by default the one that the runs recorded.

    Returns:
        The descriptors; None if the runs have no settings or models, or if the store that they recorded is missing.

    Raises:
        SoctkError: the experiment was trained on another store, the store lacks utterances, or a model is damaged or
            has other settings.
    """
    path = store or predictions.made_from.get("features")
    run = RunDirectory(predictions.path, predictions.folds[0], predictions.seeds[0])
    if path is None or not predictions.settings or not run.weights.is_file():
        return None
    if store is None and not path.is_dir():
        return None
    features = FeatureStore.open(path)
    _check_store(predictions, features)
    model = _model(predictions, features, run.weights)
    utterances = predictions.utterances
    if model.is_trained:
        utterances = utterances[utterances["fold"] == run.fold]
    utterances = utterances.sample(min(len(utterances), MOST_UTTERANCES), random_state=0).sort_values("utt")
    frames = Frames.of(features, utterances["utt"].tolist(), used_layers(predictions.settings))
    if predictions.settings["frames"]["layer_norm"]:
        frames = frames.layer_normalised()
    values = describe(model.describe, frames).numpy()
    described = utterances[["utt", "spk", "ref"]].reset_index(drop=True)
    pooling = model.poolings[0]
    assert isinstance(pooling, Pooling)
    return Described(run.fold, run.seed, described, values, pooling)


def _model(predictions: Predictions, features: FeatureStore, weights: Path) -> EmotionClassifier:
    settings = {key: predictions.settings[key] for key in Config.model_fields if key in predictions.settings}
    try:
        config = Config.model_validate(settings)
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        raise SoctkError(
            f"the settings were written by another version of soctk ({wrong})",
            remedy="Train the experiment again, or omit the pictures of descriptors (--no-descriptors).",
            where=predictions.path,
        ) from error
    layers = used_layers(predictions.settings)
    model = EmotionClassifier(features.settings["hidden_size"], len(layers), len(predictions.emotions), config)
    try:
        model.load_state_dict(load_file(weights))
    except (RuntimeError, SafetensorError) as error:
        raise SoctkError(
            f"the model does not match the settings ({error})",
            remedy="Remove the run's directory and train it again.",
            where=weights,
        ) from error
    return model.eval()


def _check_store(predictions: Predictions, features: FeatureStore) -> None:
    recorded = predictions.settings["features"].get("recordings")
    if recorded != features.checksum():
        raise SoctkError(
            f"{predictions.path} was not trained on this feature store",
            remedy="Give the store that the experiment was trained on (--feats), or train again.",
            where=features.path,
        )


def _symmetric(vectors: np.ndarray, is_scaled: bool) -> np.ndarray:
    """Return the symmetric matrices `(N, d, d)` with the upper triangles `(N, d(d+1)/2)`.

    If `is_scaled`, this inverts soctk.pooling.spd.tangent_vector, which multiplies entries off the diagonal by sqrt 2.
    Otherwise it inverts soctk.pooling.spd.upper_triangle.
    """
    size = int(np.sqrt(2 * vectors.shape[1]))
    rows, columns = np.triu_indices(size)
    values = np.where(rows == columns, 1, np.sqrt(0.5)) * vectors if is_scaled else vectors
    matrices = np.zeros((len(vectors), size, size), dtype=vectors.dtype)
    matrices[:, rows, columns] = values
    matrices[:, columns, rows] = values
    return matrices
