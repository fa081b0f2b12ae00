"""The log-covariances of an experiment's test utterances, computed again from a model and the feature store."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from soctk import progress
from soctk.errors import SoctkError
from soctk.features.store import FeatureStore
from soctk.pooling.layers import SOC, Concatenation, Pooling, SOCFull, SOCNoLEM
from soctk.schema import Config
from soctk.scoring import choice
from soctk.scoring.predictions import Predictions
from soctk.scoring.recorded import encoders, used_layers
from soctk.scoring.runs import RunDirectory
from soctk.training.classifier import EmotionClassifier
from soctk.training.frame_norm import of_store
from soctk.training.inputs import Frames, describe

MOST_UTTERANCES = 800
# Fewer utterances are read if their descriptors would take more memory: 256 MB in float32.
MOST_NUMBERS = 1 << 26
_BATCH = 32  # utterances whose frames are in memory at a time


@dataclass(frozen=True)
class LogCovariances:
    """The log-covariances of some test utterances.

    Attributes:
        source: which utterances and frames were used, and by which model.
        utterances: one row per utterance: utt, spk, and ref (the index of the emotion).
        vectors: `(N, d(d+1)/2)`: the upper triangle of each d x d matrix, with sqrt(2) off the diagonal, so that inner
            products of vectors equal inner products of matrices.
    """

    source: str
    utterances: pd.DataFrame
    vectors: np.ndarray


def has_log_covariances(predictions: Predictions) -> bool:
    """Return whether the descriptors of an experiment contain log-covariances."""
    return not {"soc", "soc_full"}.isdisjoint(predictions.settings.get("pooling", {}))


def of_run(predictions: Predictions, store: Path | None = None) -> LogCovariances | None:
    """Return the log-covariances of test utterances, computed with the model of the first fold and seed.

    A pooling with trained parameters describes the test utterances of its own fold only, because the models of other
    folds have other axes. Other poolings describe the test utterances of all folds. Of several concatenated hidden
    states, the first is used; if each fold chose hidden states, the first of those of the first fold and seed. At most
    MOST_UTTERANCES utterances are described, drawn at random.

    Args:
        predictions: the predictions of an experiment that has log-covariances.
        store: the feature store; by default the one that the runs recorded.

    Returns:
        The log-covariances; None if the runs have no models, if the store that they recorded is missing, or if the
        experiment has several encoders.

    Raises:
        SoctkError: the store is damaged or is not the one of the experiment, or the model is damaged or has other
            settings.
    """
    path = store or predictions.made_from.get("features")
    run = RunDirectory(predictions.path, predictions.folds[0], predictions.seeds[0])
    if (
        len(encoders(predictions.settings)) > 1
        or path is None
        or not run.weights.is_file()
        or (store is None and not path.is_dir())
    ):
        return None
    features = FeatureStore.open(path)
    _check_store(predictions, features)
    model, layers = _model(predictions, features, run)
    pooling, weights = _second_order(model), model.layer_weights
    layers = layers[: None if weights is not None else 1]
    utterances = predictions.utterances
    if model.is_trained:
        utterances = utterances[utterances["fold"] == run.fold]
    most = max(1, min(MOST_UTTERANCES, MOST_NUMBERS // pooling.output_size))
    drawn = utterances.sample(min(len(utterances), most), random_state=0).sort_values("utt")

    def pool(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        one = frames[:, 0] if weights is None else torch.einsum("tld,l->td", frames, weights.softmax(0))
        one = model.projections[0](one) if model.projections else one
        return pooling.pool_concatenated(one, lengths)

    vectors = np.empty((len(drawn), pooling.output_size), dtype=np.float32)
    for start in progress.track(range(0, len(drawn), _BATCH), "log-covariances", "batch"):
        frames = Frames.of(features, drawn["utt"][start : start + _BATCH].tolist(), layers)
        frames = frames.layer_normalised(of_store(predictions.settings["frames"]["layer_norm"], features.settings))
        vectors[start : start + _BATCH] = describe(pool, frames).numpy()
    if isinstance(pooling, SOC):
        rows, columns = np.triu_indices(pooling.projection.out_features)
        vectors *= np.where(rows == columns, 1, np.sqrt(2)).astype(np.float32)
    states = f"hidden state {layers[0]}" if weights is None else "the weighted hidden states"
    model_name = f", by the model of fold {run.fold}, seed {run.seed}" if model.is_trained else ""
    return LogCovariances(
        source=f"{len(drawn)} of the {len(utterances)} test utterances{_of_folds(model, run)}, {states}{model_name}",
        utterances=drawn[["utt", "spk", "ref"]].reset_index(drop=True),
        vectors=vectors,
    )


def _of_folds(model: EmotionClassifier, run: RunDirectory) -> str:
    return f" of fold {run.fold}" if model.is_trained else ""


def _second_order(model: EmotionClassifier) -> SOC | SOCFull:
    """Return the first layer of the model that computes log-covariances."""
    pooling = cast(Pooling, model.poolings[0])
    layers = pooling.layers if isinstance(pooling, Concatenation) else [pooling]
    return next(x for x in layers if isinstance(x, (SOC, SOCFull)) and not isinstance(x, SOCNoLEM))


def _model(predictions: Predictions, features: FeatureStore, run: RunDirectory) -> tuple[EmotionClassifier, list[int]]:
    """Return the model of a run, and its hidden states.

    If the run chose hidden states or poolings, the model has all poolings on the chosen states; they have no weights.
    """
    settings = {key: predictions.settings[key] for key in Config.model_fields if key in predictions.settings}
    try:
        config = Config.model_validate(settings)
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        raise SoctkError(
            f"the settings were written by another version of soctk ({wrong})",
            remedy="Train the experiment again, or omit the picture of log-covariances (--no-descriptors).",
            where=predictions.path,
        ) from error
    layers = used_layers(predictions.settings)
    if config.is_choice:
        layers = choice.require(run).record.get("layers", layers)
    model = EmotionClassifier(features.settings["hidden_size"], len(layers), len(predictions.emotions), config)
    if config.is_choice:
        return model.eval(), layers
    try:
        model.load_state_dict(load_file(run.weights))
    except (RuntimeError, SafetensorError) as error:
        raise SoctkError(
            f"the model does not match the settings ({error})",
            remedy="Remove the run's directory and train it again.",
            where=run.weights,
        ) from error
    return model.eval(), layers


def _check_store(predictions: Predictions, features: FeatureStore) -> None:
    recorded = predictions.settings["features"].get("recordings")
    if recorded != features.checksum():
        raise SoctkError(
            f"{predictions.path} was not trained on this feature store",
            remedy="Give the store that the experiment was trained on (--feats), or train again.",
            where=features.path,
        )
