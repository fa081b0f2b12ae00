"""Fold tables: which speakers a fold tests, read, written, and made for a corpus that has none."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from soctk.errors import SoctkError, listing
from soctk.files import atomic
from soctk.mappings import read_yaml

# How many folds a corpus gets that has none, if it has the speakers.
COUNT = 5


def read(path: Path) -> dict[str, int]:
    """Read a fold table, `FOLD: [SPEAKER, ...]` in YAML, as speaker -> fold.

    Raises:
        SoctkError: the file is malformed, or has a speaker in two folds.
    """
    folds: dict[str, int] = {}
    for fold, speakers in read_yaml(path).items():
        if type(fold) is not int or not isinstance(speakers, list):
            raise SoctkError(f"'{fold}' is not a fold", remedy="Write 'FOLD: [SPEAKER, ...]' lines.", where=path)
        for speaker in map(str, speakers):
            if speaker in folds:
                raise SoctkError(
                    f"{speaker} stands in folds {folds[speaker]} and {fold}", remedy="Keep one.", where=path
                )
            folds[speaker] = fold
    return folds


def write(path: Path, folds: Mapping[str, int], origin: str) -> None:
    """Write a fold table, given as speaker -> fold, and a line that says where it is from."""
    table = {fold: sorted(s for s in folds if folds[s] == fold) for fold in sorted(set(folds.values()))}
    with atomic(path) as temporary:
        text = yaml.safe_dump(table, default_flow_style=None, sort_keys=False, allow_unicode=True, width=110)
        temporary.write_text(f"# Fold: the speakers it tests. {origin}\n{text}", encoding="utf-8")


def read_or_assign(
    path: Path,
    speaker: Mapping[str, str],
    emotion: Mapping[str, str],
    gender: Mapping[str, str],
    count: int | None = None,
) -> dict[str, int]:
    """Return speaker -> fold as the table at `path` has it; one that is missing or empty is made and written first.

    Args:
        path: the fold table.
        speaker: utterance -> speaker.
        emotion: utterance -> emotion.
        gender: speaker -> m or f; may lack speakers.
        count: how many folds to make; COUNT, or one a speaker where there are fewer, by default.

    Raises:
        SoctkError: the table is malformed, has another number of folds or lacks speakers, or folds cannot be made
            (`assign`).
    """
    speakers = sorted(set(speaker.values()))
    folds = read(path) if path.exists() else {}
    if not folds:
        folds = assign(speaker, emotion, gender, count or min(COUNT, len(speakers)))
        write(path, folds, "Made by soctk, balanced by class and sex; edit it, and it is used as it is.")
    check_count(folds, count, path, "Remove it to have folds made anew")
    missing = [name for name in speakers if name not in folds]
    if missing:
        raise SoctkError(
            f"{len(missing)} of {len(speakers)} speakers have no fold\n{listing(missing)}",
            remedy="Add them (quote a number: '0011'), or remove the file to have folds made.",
            where=path,
        )
    return {name: folds[name] for name in speakers}


def check_count(folds: Mapping[str, int], count: int | None, where: Path | None, remedy: str) -> None:
    """Raise SoctkError if other than `count` folds are asked for than there are, with what to do to get them."""
    there = len(set(folds.values()))
    if count not in (None, there):
        raise SoctkError(
            f"there are {there} folds already, not {count}", remedy=f"{remedy}, or leave --num-folds out.", where=where
        )


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
        SoctkError: there is one speaker, or fewer than folds, or too few utterances of each class.
    """
    first, *others = sorted(set(speaker.values()))
    if not others:
        raise SoctkError(
            f"all utterances are of one speaker, {first}, and each fold tests speakers of its own",
            remedy="Check the column, or the part of the file names, that tells the speaker.",
        )
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
