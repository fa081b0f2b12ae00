"""The descriptors of an experiment's test utterances, made anew from its models and the feature store."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from soctk.config import Config
from soctk.errors import SoctkError
from soctk.features.store import FeatureStore
from soctk.pooling.layers import SOC, Concatenation, Pooling, SOCFull, SOCNoLEM
from soctk.scoring.predictions import Predictions
from soctk.scoring.recorded import used_layers
from soctk.training.classifier import EmotionClassifier
from soctk.training.inputs import Frames, describe

# Enough to see by; t-SNE of more takes minutes, and their descriptors much memory.
MOST_UTTERANCES = 800


@dataclass(frozen=True)
class Described:
    """The descriptors of some utterances of one run.

    Attributes:
        fold: the fold whose model made them.
        seed: its seed.
        utterances: a row each: utt, spk, and ref as an index of the emotions.
        values: `(N, P)`, in the order of the utterances.
        pooling: the layer that made them; of several hidden states side by side, that of the first, whose numbers come
            first.
    """

    fold: int
    seed: int
    utterances: pd.DataFrame
    values: np.ndarray
    pooling: Pooling

    def log_covariances(self) -> np.ndarray | None:
        """Return the logarithms of covariances among the descriptors, `(N, d, d)`; None if there are none."""
        layers = self.pooling.layers if isinstance(self.pooling, Concatenation) else [self.pooling]
        start = 0
        for layer in layers:
            if isinstance(layer, (SOC, SOCFull)) and not isinstance(layer, SOCNoLEM):
                vectors = self.values[:, start : start + layer.output_size]
                return _symmetric(vectors, is_scaled=isinstance(layer, SOCFull))
            start += layer.output_size
        return None


def of_run(predictions: Predictions, store: Path | None = None) -> Described | None:
    """Return the descriptors of test utterances, made by the model of the first fold and seed.

    They are of that fold if the pooling is trained, since another fold's model would give them other axes, and else of
    all folds; no more than MOST_UTTERANCES, drawn at random.

    Args:
        predictions: of the experiment.
        store: its feature store; by default the one that its runs name.

    Returns:
        None if there is no store, or the runs have no settings or models.

    Raises:
        SoctkError: the store is not the one that the experiment was trained on, or lacks utterances; a model is damaged
            or of other settings.
    """
    path = store or predictions.made_from.get("features")
    fold, seed = predictions.folds[0], predictions.seeds[0]
    weights = predictions.path / f"fold{fold}" / f"seed{seed}" / "model.safetensors"
    is_at_hand = store or (path and path.is_dir())
    if not is_at_hand or not predictions.settings or not weights.is_file():
        return None
    features = FeatureStore.open(path)
    _check_is_its_store(predictions, features)
    model = _model(predictions, features, weights)
    utterances = predictions.utterances
    if model.is_trained:
        utterances = utterances[utterances["fold"] == fold]
    utterances = utterances.sample(min(len(utterances), MOST_UTTERANCES), random_state=0).sort_values("utt")
    frames = Frames.of(features, utterances["utt"].tolist(), used_layers(predictions.settings))
    if predictions.settings["frames"]["layer_norm"]:
        frames = frames.layer_normalised()
    values = describe(model.describe, frames).numpy()
    return Described(fold, seed, utterances[["utt", "spk", "ref"]].reset_index(drop=True), values, model.poolings[0])


def _model(predictions: Predictions, features: FeatureStore, weights: Path) -> EmotionClassifier:
    settings = {key: predictions.settings[key] for key in Config.model_fields if key in predictions.settings}
    try:
        config = Config.model_validate(settings)
    except ValidationError as error:
        missing = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        raise SoctkError(
            f"its settings are those of another version of soctk ({missing})",
            remedy="Train it again, or leave its descriptors out (--no-descriptors).",
            where=predictions.path,
        ) from error
    layers = used_layers(predictions.settings)
    model = EmotionClassifier(features.settings["hidden_size"], len(layers), len(predictions.emotions), config)
    try:
        model.load_state_dict(load_file(weights))
    except (RuntimeError, SafetensorError) as error:
        raise SoctkError(
            f"not a model of these settings ({error})",
            remedy="Remove the run's directory and train it again.",
            where=weights,
        ) from error
    return model.eval()


def _check_is_its_store(predictions: Predictions, features: FeatureStore) -> None:
    recorded = predictions.settings["features"].get("recordings")
    if recorded != features.checksum():
        raise SoctkError(
            "it is not the feature store that the experiment was trained on",
            remedy="Give the one that it was trained on (--feats), or train again.",
            where=features.path,
        )


def _symmetric(vectors: np.ndarray, is_scaled: bool) -> np.ndarray:
    """Return the symmetric matrices `(N, d, d)` whose upper triangles these are.

    The inverse of soctk.pooling.spd.tangent_vector, which scales by sqrt 2 off the diagonal, or of soctk.pooling.spd.upper_triangle.
    """
    size = int(np.sqrt(2 * vectors.shape[1]))
    rows, columns = np.triu_indices(size)
    values = np.where(rows == columns, 1, np.sqrt(0.5)) * vectors if is_scaled else vectors
    matrices = np.zeros((len(vectors), size, size), dtype=vectors.dtype)
    matrices[:, rows, columns] = values
    matrices[:, columns, rows] = values
    return matrices
