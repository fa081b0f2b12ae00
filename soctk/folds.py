"""Folds for a corpus that has none: speakers shared out so that classes and sexes are balanced."""

import warnings
from collections.abc import Mapping, Sequence

from soctk.errors import SoctkError


def assign(
    speaker: Mapping[str, str], emotion: Mapping[str, str], gender: Mapping[str, str], count: int
) -> dict[str, int]:
    """Return speaker -> fold, from 1: each fold has about as many utterances of each class and sex.

    They are scikit-learn's StratifiedGroupKFold, with speakers as groups and class and sex as strata; where these are
    smaller than there are folds, class alone. Nothing is drawn at random: the same corpus has the same folds.

    Args:
        speaker: utterance -> speaker.
        emotion: utterance -> emotion.
        gender: speaker -> m or f; may lack speakers.
        count: how many folds.

    Raises:
        SoctkError: there are fewer speakers than folds, or too few utterances of each class.
    """
    utterances = sorted(speaker)
    speakers = [speaker[utt] for utt in utterances]
    classes = [emotion[utt] for utt in utterances]
    with_sex = [f"{emotion[utt]} {gender.get(speaker[utt], '')}" for utt in utterances]
    folds = _balance(speakers, with_sex, count) or _balance(speakers, classes, count)
    if not folds:
        raise SoctkError(
            f"{len(set(speakers))} speakers with {len(utterances)} utterances cannot be shared out to {count} folds",
            remedy="Ask for fewer folds, or write the fold table by hand.",
        )
    return folds


def _balance(speakers: Sequence[str], strata: Sequence[str], count: int) -> dict[str, int]:
    """Return speaker -> fold; nothing where the strata are too small, or a fold would be empty."""
    from sklearn.model_selection import StratifiedGroupKFold  # a second's import that most uses do not need

    with warnings.catch_warnings(action="ignore"):  # of strata with fewer utterances than there are folds
        try:
            parts = list(StratifiedGroupKFold(count).split(speakers, strata, speakers))
        except ValueError:
            return {}
    folds = {speakers[i]: fold for fold, (_, tested) in enumerate(parts, start=1) for i in tested}
    return dict(sorted(folds.items())) if len(set(folds.values())) == count else {}
