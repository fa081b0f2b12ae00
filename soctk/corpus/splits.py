"""Splits of a corpus into training, validation and test utterances, by fold. Test speakers are in the test set only."""

from dataclasses import dataclass

from soctk.corpus import folds
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError
from soctk.schema import Protocol

EMOBOX_VALIDATION_SHARE = 0.2
# The cross protocols divide the training speakers into this many parts; one part validates.
PARTS = 5


def _describe_cross(domain: str) -> str:
    return (
        f"a fold is a {domain}: fold k tests all its speakers with a model trained on the other {domain} alone. The "
        f"training speakers are divided into {PARTS} parts, balanced by class and sex; the seed chooses the part that "
        "validates (the head linear validates on each part in turn)"
    )


# What reports say about each protocol.
DESCRIPTIONS: dict[Protocol, str] = {
    "soctk": "speaker-disjoint: fold k tests its own speakers and validates on those of fold k+1",
    "emobox": "EmoBox: fold k tests its own speakers and validates on 20% of the other utterances at random, "
    "so the validation speakers are in the training data too",
    "cross-lingual": _describe_cross("language"),
    "cross-corpus": _describe_cross("corpus"),
}


@dataclass(frozen=True)
class Split:
    """The utterances of one fold; each list is sorted, and the three are disjoint."""

    train: list[str]
    valid: list[str]
    test: list[str]


def split(data: DataDir, fold: int, protocol: Protocol, seed: int) -> Split:
    """Divide the utterances of a corpus for one fold.

    Args:
        data: the corpus, with the fold of each speaker.
        fold: the fold to test, from 1.
        protocol: `soctk` validates on the test speakers of the next fold (the first fold follows the last).
            `emobox` validates on 20% of the remaining utterances, drawn at random as in EmoBox (arXiv
            2406.07162). `cross-lingual` and `cross-corpus` need two folds and validate on a fifth of the speakers of
            the training fold.
        seed: `soctk`: not used; `emobox`: seeds the random draw; cross protocols: its remainder modulo 5 chooses the
            fifth that validates.

    Raises:
        SoctkError: the corpus does not have this fold, or has too few folds to train, validate and test on different
            speakers.
    """
    if fold not in data.folds:
        raise SoctkError(f"no fold {fold}", remedy=f"Choose from the folds {data.folds}.", where="--folds")
    if protocol.startswith("cross-"):
        return _split_across(data, fold, protocol, seed)
    if len(data.folds) < 3:
        raise SoctkError(
            f"{len(data.folds)} folds are too few to train, validate and test on different speakers",
            remedy="Divide the speakers into at least 3 folds.",
            where="spk2fold",
        )
    test = data.utterances_of([fold])
    if protocol == "emobox":
        from sklearn.model_selection import train_test_split  # slow to import; most commands do not use it

        others = data.utterances_of(set(data.folds) - {fold})
        train, valid = train_test_split(others, test_size=EMOBOX_VALIDATION_SHARE, random_state=seed)
        return Split(sorted(train), sorted(valid), test)
    next_fold = fold % len(data.folds) + 1
    train = data.utterances_of(set(data.folds) - {fold, next_fold})
    return Split(train, data.utterances_of([next_fold]), test)


def inner_splits(data: DataDir, split: Split, protocol: Protocol) -> list[tuple[list[str], list[str]]]:
    """Return the inner splits of a fold, for a head that chooses its hyperparameters by cross-validation.

    An inner split is a pair of disjoint lists of utterances from the training and validation data of the fold. A model
    is fitted on the first list and scored on the second. Under `soctk` each of the other folds is scored once, by a
    model of the remaining folds. Under `emobox` the only pair is the split itself. Under the cross protocols each fifth
    of the speakers is scored once.
    """
    if protocol == "emobox":
        return [(split.train, split.valid)]
    available = {*split.train, *split.valid}
    if protocol.startswith("cross-"):
        parts = _divide_by_speaker(data, sorted(available))
    else:
        parts = [sorted(available.intersection(data.utterances_of([fold]))) for fold in data.folds]
    return [(sorted(available.difference(scored)), scored) for scored in parts if scored]


def _split_across(data: DataDir, fold: int, protocol: Protocol, seed: int) -> Split:
    if len(data.folds) != 2:
        raise SoctkError(
            f"{len(data.folds)} folds, but --protocol {protocol} needs two: one to train and one to test",
            remedy="Put the speakers of each language or corpus into one fold, as in "
            "egs/esd/conf/folds/cross-lingual.yaml.",
            where="spk2fold",
        )
    others = data.utterances_of(set(data.folds) - {fold})
    parts = _divide_by_speaker(data, others)
    valid = parts[seed % len(parts)]
    return Split(sorted(set(others).difference(valid)), valid, data.utterances_of([fold]))


def _divide_by_speaker(data: DataDir, utterances: list[str]) -> list[list[str]]:
    """Divide utterances into PARTS parts with different speakers; with fewer speakers, into one part per speaker."""
    speaker = {utt: data.speaker[utt] for utt in utterances}
    count = max(2, min(PARTS, len(set(speaker.values()))))
    part = folds.assign(speaker, data.strata, data.gender, count)
    return [[utt for utt in utterances if part[speaker[utt]] == number] for number in range(1, count + 1)]
