"""Which utterances train, validate and test: folds by speaker, and validation that no test speaker touches."""

from dataclasses import dataclass

from soctk.config import Protocol
from soctk.corpus import folds
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError

EMOBOX_VALIDATION_SHARE = 0.2
PARTS = 5  # of the training speakers where a fold is a language or a corpus; one part validates

DESCRIPTIONS: dict[Protocol, str] = {
    "soctk": "speaker-disjoint: fold k tests its own speakers and validates on those of fold k+1",
    "emobox": "EmoBox: fold k tests its own speakers and validates on 20% of the other utterances at random, "
    "so validation speakers also train",
    **{
        f"cross-{domain}": f"a fold is a {what}: fold k tests all its speakers with a model of the other {what} alone, "
        f"whose speakers are divided into {PARTS} parts, balanced by class and sex; one of them validates, the seed "
        "says which (with the head linear each in turn)"
        for domain, what in (("lingual", "language"), ("corpus", "corpus"))
    },
}


@dataclass(frozen=True)
class Split:
    """The utterances of one fold, each list sorted; the three are disjoint."""

    train: list[str]
    valid: list[str]
    test: list[str]


def split(data: DataDir, fold: int, protocol: Protocol, seed: int) -> Split:
    """Divide a corpus for one fold.

    Args:
        data: the corpus, which says in which fold each speaker is tested.
        fold: the fold under test, from 1.
        protocol: `soctk` validates on the test speakers of the next fold (of the first, after the last), and needs
            no seed; `emobox` on 20% of the remaining utterances, drawn at random as EmoBox (arXiv 2406.07162) does;
            `cross-lingual` and `cross-corpus`, of two folds, on a fifth of the speakers of the fold that trains.
        seed: of that draw; of the cross protocols, it says which fifth.

    Raises:
        SoctkError: the corpus has no such fold, or too few folds to train, validate and test on different speakers.
    """
    if fold not in data.folds:
        raise SoctkError(f"no fold {fold}", remedy=f"The folds are {data.folds}.", where="--folds")
    if protocol.startswith("cross-"):
        return _split_across(data, fold, protocol, seed)
    if len(data.folds) < 3:
        raise SoctkError(
            f"{len(data.folds)} folds are too few to train, validate and test on different speakers",
            remedy="Give the speakers at least 3 folds.",
            where="spk2fold",
        )
    test = data.utterances_of([fold])
    if protocol == "emobox":
        from sklearn.model_selection import train_test_split  # a second's import that most uses do not need

        others = data.utterances_of(set(data.folds) - {fold})
        train, valid = train_test_split(others, test_size=EMOBOX_VALIDATION_SHARE, random_state=seed)
        return Split(sorted(train), sorted(valid), test)
    next_fold = fold % len(data.folds) + 1
    train = data.utterances_of(set(data.folds) - {fold, next_fold})
    return Split(train, data.utterances_of([next_fold]), test)


def inner_splits(data: DataDir, split: Split, protocol: Protocol) -> list[tuple[list[str], list[str]]]:
    """Return pairs of lists of a fold's training and validation utterances: to fit on, and to score the fit on.

    For a head that chooses its hyperparameters by inner cross-validation: under `soctk` each of the other folds is
    scored once, by a fit on the rest, speakers disjoint; under `emobox` the drawn utterances are; under the cross
    protocols each fifth of the speakers.
    """
    if protocol == "emobox":
        return [(split.train, split.valid)]
    available = {*split.train, *split.valid}
    if protocol.startswith("cross-"):
        others = _parts(data, sorted(available))
    else:
        others = [sorted(available.intersection(data.utterances_of([fold]))) for fold in data.folds]
    return [(sorted(available.difference(scored)), scored) for scored in others if scored]


def _split_across(data: DataDir, fold: int, protocol: Protocol, seed: int) -> Split:
    if len(data.folds) != 2:
        raise SoctkError(
            f"{len(data.folds)} folds, and --protocol {protocol} is about two: one that trains, one that is tested",
            remedy="Give the speakers of each language (corpus) a fold, as egs/esd/conf/folds/cross-lingual.yaml does.",
            where="spk2fold",
        )
    others = data.utterances_of(set(data.folds) - {fold})
    parts = _parts(data, others)
    valid = parts[seed % len(parts)]
    return Split(sorted(set(others).difference(valid)), valid, data.utterances_of([fold]))


def _parts(data: DataDir, utterances: list[str]) -> list[list[str]]:
    """Divide utterances into PARTS with different speakers; of fewer speakers than that, one in each."""
    speaker = {utt: data.speaker[utt] for utt in utterances}
    count = max(2, min(PARTS, len(set(speaker.values()))))
    part = folds.assign(speaker, data.emotion, data.gender, count)
    return [[utt for utt in utterances if part[speaker[utt]] == number] for number in range(1, count + 1)]
