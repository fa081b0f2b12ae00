"""Splits of a corpus into training, validation and test utterances, by fold or by a published partition."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from soctk.corpus import folds
from soctk.corpus.content import DEV, TRAIN
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError, plural
from soctk.schema import Protocol

EMOBOX_VALIDATION_SHARE = 0.2
# The cross protocols, and partitions without dev, divide the training speakers into this many parts; one validates.
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
    "so the validation speakers are in the training data too (a published partition validates on its dev, or without "
    "one on 20% of train)",
    "partition": "the published partition of the corpus: dev validates, and each test is scored apart. For the head "
    "linear, fits to train are scored on dev to choose C, and the final fit is to train and dev; the head mlp is "
    "fitted to train. "
    f"Without dev, the training speakers (or utterances of unknown speakers) are divided into {PARTS} parts, and the "
    "seed chooses the part that validates (the head linear validates on each part in turn)",
    "utterance-folds": "published folds that share speakers: fold k tests its own utterances and validates on those of "
    "fold k+1",
    "cross-lingual": _describe_cross("language"),
    "cross-corpus": _describe_cross("corpus"),
}


@dataclass(frozen=True)
class Split:
    """The utterances of one fold; each list is sorted, and the three are disjoint."""

    train: list[str]
    valid: list[str]
    test: list[str]


def protocol_of(data: DataDir, protocol: Protocol) -> Protocol:
    """Return the protocol that a corpus is used with if `protocol` is requested.

    A corpus with a published partition, or with published folds that share speakers, replaces the default `soctk`.

    Raises:
        SoctkError: the corpus has a published partition, and the protocol needs folds of speakers.
    """
    if data.fold or protocol == "emobox":
        return protocol
    own: Protocol = "partition" if data.split else "utterance-folds"
    if protocol not in ("soctk", own):
        raise SoctkError(
            f"the corpus has {'a published partition' if data.split else 'published folds that share speakers'}, and "
            f"--protocol {protocol} needs folds of speakers",
            remedy="Leave out --protocol, or divide the speakers into folds (spk2fold).",
            where=data.path,
        )
    return own


def split(data: DataDir, fold: int, protocol: Protocol, seed: int) -> Split:
    """Divide the utterances of a corpus for one fold.

    Args:
        data: the corpus, with its folds or its partition.
        fold: the fold to test, from 1; a partition has fold 1 only.
        protocol: `soctk` validates on the test speakers of the next fold (the first fold follows the last), and
            `utterance-folds` on the test utterances of the next fold. `emobox` validates on 20% of the remaining
            utterances, drawn at random as in EmoBox (arXiv 2406.07162). `cross-lingual` and `cross-corpus` need two
            folds and validate on a fifth of the speakers of the training fold. `partition` validates on dev, or without
            dev on a fifth of the speakers of train; so does `emobox` with dev.
        seed: `emobox`: seeds the random draw; cross protocols and partitions without dev: its remainder modulo 5
            chooses the fifth that validates; otherwise not used.

    Raises:
        SoctkError: the corpus does not have this fold, has too few folds to train, validate and test on different
            speakers, or train cannot be divided into parts.
    """
    if fold not in data.folds:
        raise SoctkError(f"no fold {fold}", remedy=f"Choose from the folds {data.folds}.", where="--folds")
    if data.split:
        return _split_partition(data, protocol, seed)
    if protocol.startswith("cross-"):
        return _split_across(data, fold, protocol, seed)
    if len(data.folds) < 3:
        raise SoctkError(
            f"{plural(len(data.folds), 'fold is', 'folds are')} too few to train, validate and test on different "
            "speakers",
            remedy="Divide the speakers into at least 3 folds.",
            where="utt2fold" if data.utterance_fold else "spk2fold",
        )
    test = data.utterances_of([fold])
    if protocol == "emobox":
        train, valid = _draw(data.utterances_of(set(data.folds) - {fold}), seed)
        return Split(train, valid, test)
    next_fold = fold % len(data.folds) + 1
    train = data.utterances_of(set(data.folds) - {fold, next_fold})
    return Split(train, data.utterances_of([next_fold]), test)


def inner_splits(data: DataDir, split: Split, protocol: Protocol) -> list[tuple[list[str], list[str]]]:
    """Return the inner splits of a fold, for a head that chooses its hyperparameters by cross-validation.

    An inner split is a pair of disjoint lists of utterances from the training and validation data of the fold. A model
    is fitted on the first list and scored on the second. Under `soctk` each of the other folds is scored once, by a
    model of the remaining folds. Under `emobox`, and with dev, the only pair is the split itself. Under the cross
    protocols, and in a partition without dev, each fifth of the speakers is scored once.
    """
    if protocol == "emobox" or has_dev(data):
        return [(split.train, split.valid)]
    available = {*split.train, *split.valid}
    if data.split or protocol.startswith("cross-"):
        parts = divide_by_speaker(data, sorted(available))
    else:
        parts = [sorted(available.intersection(data.utterances_of([fold]))) for fold in data.folds]
    return [(sorted(available.difference(scored)), scored) for scored in parts if scored]


def has_dev(data: DataDir) -> bool:
    """Return whether the corpus has a published partition with dev."""
    return DEV in data.split.values()


def _draw(utterances: Sequence[str], seed: int) -> tuple[list[str], list[str]]:
    """Return 80% of the utterances, and the other 20%, drawn as in EmoBox."""
    from sklearn.model_selection import train_test_split  # slow to import; most commands do not use it

    train, valid = train_test_split(utterances, test_size=EMOBOX_VALIDATION_SHARE, random_state=seed)
    return sorted(train), sorted(valid)


def _split_partition(data: DataDir, protocol: Protocol, seed: int) -> Split:
    train, test = data.part(TRAIN), data.utterances_of([1])
    if has_dev(data):
        return Split(train, data.part(DEV), test)
    if protocol == "emobox":
        return Split(*_draw(train, seed), test)
    parts = divide_by_speaker(data, train)
    valid = parts[seed % len(parts)]
    return Split(sorted(set(train).difference(valid)), valid, test)


def _split_across(data: DataDir, fold: int, protocol: Protocol, seed: int) -> Split:
    if len(data.folds) != 2:
        raise SoctkError(
            f"{plural(len(data.folds), 'fold')}, but --protocol {protocol} needs two: one to train and one to test",
            remedy="Put the speakers of each language or corpus into one fold, as in "
            "egs/esd/conf/folds/cross-lingual.yaml.",
            where="spk2fold",
        )
    others = data.utterances_of(set(data.folds) - {fold})
    parts = divide_by_speaker(data, others)
    valid = parts[seed % len(parts)]
    return Split(sorted(set(others).difference(valid)), valid, data.utterances_of([fold]))


def divide_by_speaker(data: DataDir, utterances: list[str]) -> list[list[str]]:
    """Divide utterances into PARTS parts with different speakers; with fewer speakers, into one part per speaker.

    Utterances of unknown speakers are divided as if each had its own speaker. Utterances of a single speaker are
    divided too, because a published partition may have one training speaker.
    """
    speaker = {utt: data.speaker[utt] for utt in utterances}
    emotion = {utt: data.emotion.get(utt, "") for utt in utterances}
    speakers = len(set(speaker.values()))
    if data.split and speakers in (1, len(utterances)):
        order = sorted(np.random.default_rng(0).permutation(utterances).tolist(), key=emotion.__getitem__)
        return [sorted(order[number::PARTS]) for number in range(min(PARTS, len(order)))]
    count = max(2, min(PARTS, speakers))
    part = folds.assign(speaker, emotion, data.gender, count)
    return [[utt for utt in utterances if part[speaker[utt]] == number] for number in range(1, count + 1)]
