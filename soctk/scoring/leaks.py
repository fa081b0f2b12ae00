"""A comparison of the test recordings of an experiment with its training recordings, by their digests."""

from soctk.corpus import duplicates
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.scoring.predictions import Predictions

_NOT_COMPARED = "recordings were not compared across training and test:"


def check(predictions: Predictions, data: DataDir) -> str:
    """Compare the recordings of an experiment as soctk-train does (soctk.corpus.duplicates.check_splits).

    The digests are in the feature store that the runs recorded. Scoring does not need the store: if it is missing or
    has changed since training, nothing is compared. soctk-train has compared the recordings before it trained.

    Args:
        predictions: the predictions of the experiment.
        data: its corpus.

    Returns:
        A sentence for the reader of the scores: that duplicates are allowed, or that nothing could be compared. Empty
        if nothing is shared, or if the runs recorded no feature store.

    Raises:
        SoctkError: training, validation and test utterances share recordings.
    """
    path = predictions.made_from.get("features")
    if path is None or "protocol" not in predictions.settings:
        return ""
    from soctk.features.store import FeatureStore  # imports torch, which scoring without a store does not need

    try:
        store = FeatureStore.open(path)
        is_same = store.checksum() == predictions.settings.get("features", {}).get("recordings")
    except (SoctkError, OSError):
        return f"{_NOT_COMPARED} the feature store of the runs cannot be read."
    if not is_same:
        return f"{_NOT_COMPARED} the feature store of the runs has changed since training."
    try:
        allowed = duplicates.check_splits(
            data, store.recordings, predictions.settings["protocol"], predictions.folds, predictions.seeds
        )
    except SoctkError as error:
        raise SoctkError(error.what, remedy=f"{error.remedy} Then train again.", where=predictions.path) from error
    return f"{duplicates.describe_allowed(allowed)}." if allowed else ""
