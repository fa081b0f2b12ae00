"""Checks that a head can learn from the inputs: there are frames to pool, and the inputs of a fold differ."""

from collections.abc import Collection, Sequence

import numpy as np

from soctk.errors import SoctkError
from soctk.training.training_data import TrainingData

# Differences up to this fraction of the largest number of two descriptors are rounding errors of float32.
_ROUNDING = 1e-6


def check_poolings(names: Collection[str]) -> None:
    """Check the names of the pooling layers for features with one frame for each utterance, such as eGeMAPS.

    Raises:
        SoctkError: there is a pooling layer other than the mean, which is the frame itself.
    """
    if others := [name for name in names if name != "mean"]:
        raise SoctkError(
            f"these features have one frame for each utterance, and {', '.join(others)} needs several",
            remedy="Choose --pooling mean.",
            where="--pooling",
        )


def several_encoders() -> SoctkError:
    """Return the error for several encoders side by side and a model that trains parameters before the head."""
    return SoctkError(
        "the frames of several encoders have different widths and rates, so only descriptors can be concatenated, "
        "from poolings that have no trained parameters",
        remedy="Choose poolings without trained parameters, such as mean+soc_full, and --combine concat.",
        where="--pooling",
    )


def check_inputs(inputs: TrainingData, fold: int, seed: int, fitted: Sequence[int]) -> None:
    """Check that the inputs of the training utterances differ: descriptors, or the frames of a trained pooling.

    Args:
        inputs: the inputs of the experiment.
        fold: the fold under test.
        seed: the seed of the run.
        fitted: the rows of the training utterances.

    Raises:
        SoctkError: all inputs are equal; or, with re-centring, all inputs of each speaker.
    """
    recentring = inputs.recentring(seed)
    if recentring is None:
        if _differ(inputs, fitted, np.zeros(1 + max(fitted), dtype=int)):
            return
        what = "frames" if inputs.frames is not None else "descriptors"
        raise SoctkError(
            f"all training {what} of fold {fold} are equal",
            remedy=f"Are the recordings silent? Channel {inputs.data.channel} is used (soctk-import --channel). "
            "soctk-check lists silent recordings. After a correction, extract the features again.",
            where=inputs.data.path,
        )
    trained = np.isin(recentring.speakers, recentring.speakers[list(fitted)])
    if _differ(inputs, np.flatnonzero(trained).tolist(), recentring.speakers):
        return
    raise SoctkError(
        f"all training descriptors of fold {fold} are equal after re-centring: each speaker has only one utterance, or "
        "equal utterances",
        remedy="Re-centring subtracts the mean of the speaker: with one utterance, this is the utterance itself. "
        "Correct the speakers of the data directory, or leave --recentre out. soctk-check lists silent recordings.",
        where="--recentre",
    )


def _differ(inputs: TrainingData, rows: Sequence[int], group: np.ndarray) -> bool:
    """Return whether the inputs of two rows of one group differ; the first pair that does ends the search."""
    first: dict[int, int] = {}
    return any(_are_different(inputs, first.setdefault(group[row], row), row) for row in rows)


def _are_different(inputs: TrainingData, one: int, other: int) -> bool:
    if inputs.frames is not None:
        frames, _ = inputs.frames.batch([one, other])
        return bool((frames != frames[0]).any())
    for block in inputs.blocks.values():
        a, b = block.descriptors[one], block.descriptors[other]
        if np.abs(a - b).max() > _ROUNDING * max(np.abs(a).max(), np.abs(b).max()):
            return True
    return False
