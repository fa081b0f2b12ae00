"""Checks of the folds or the partition of a corpus: emotions that they do not train or test, and shared speakers."""

from collections.abc import Iterable, Mapping

from soctk.corpus import independence
from soctk.corpus.content import TRAIN
from soctk.corpus.datadir import DataDir
from soctk.corpus.findings import Finding
from soctk.errors import plural

FEWEST_FOLDS = 3  # to train, validate and test on different speakers


def check(data: DataDir) -> list[Finding]:
    """Find too few folds, emotions that a fold or a test cannot train or test, and speakers that may be shared."""
    remedy = "merge or drop the emotions (soctk-import --labels)"
    if not data.split:
        remedy = f"make other folds (soctk-import --folds), or {remedy}"
    part = "part" if data.split else "fold"
    what, whose = ("tests", "") if data.split else ("folds", " of these folds")
    return [
        _few_folds(data),
        Finding(
            f"{what} that do not train all emotions",
            _list_cases(_untrained(data)),
            True,
            f"The models{whose} never predict these emotions: {remedy}.",
        ),
        Finding(
            f"{what} that do not test all emotions",
            _list_cases(_untested(data)),
            False,
            f"The UA of these {what} is the mean over the other emotions: {remedy}.",
        ),
        Finding(
            "test speakers may be in the training data",
            _list_overlaps(data),
            False,
            "All tables of scores mark these results with \u2021 and give the reason.",
        ),
        Finding(
            f"segments of different {part}s overlap by more than {independence.LEAST_SHARED:g} s",
            [f"{first} and {second} ({seconds:.2f} s)" for first, second, seconds in independence.shared_sound(data)],
            False,
            "The same sound is in training and test data: correct the times, or put the segments of a recording into "
            f"one {part}. All tables of scores mark these results with \u2021.",
        ),
    ]


def _list_overlaps(data: DataDir) -> list[str]:
    """Return the reasons why test speakers may be in training data, each with its tests."""
    tests: dict[str, list[str]] = {}
    for test, reason in independence.find_overlaps(data).items():
        tests.setdefault(reason, []).append(test)
    return [f"{', '.join(names)}: {reason}" if data.split else reason for reason, names in tests.items()]


def _emotions_by_part(data: DataDir) -> dict[str | int, set[str]]:
    """Return the emotions of each fold, or of each part of the partition."""
    found: dict[str | int, set[str]] = {}
    for utt, emotion in data.emotion.items():
        found.setdefault(independence.part_of(data, utt), set()).add(emotion)
    return found


def _untrained(data: DataDir) -> dict[str, list[str]]:
    """Return fold or test -> the emotions that it does not train."""
    found = _emotions_by_part(data)
    if data.split:
        trained = {test: found.get(TRAIN, set()) for test in data.tests}
    elif len(data.folds) < FEWEST_FOLDS:
        return {}
    else:  # the protocol soctk trains on all folds but the tested one and the next one
        count = len(data.folds)
        trained = {
            f"fold {fold}": set().union(*(found.get(k, ()) for k in data.folds if k not in (fold, fold % count + 1)))
            for fold in data.folds
        }
    return {name: _lacking(data, emotions) for name, emotions in trained.items()}


def _untested(data: DataDir) -> dict[str, list[str]]:
    """Return fold or test -> the emotions that it does not test."""
    found = _emotions_by_part(data)
    if data.split:
        return {test: _lacking(data, found.get(test, set())) for test in data.tests}
    return {f"fold {fold}": _lacking(data, found.get(fold, set())) for fold in data.folds}


def _lacking(data: DataDir, emotions: set[str]) -> list[str]:
    """Return the emotions of the corpus that are not among these."""
    used = set(data.emotion.values())
    return [emotion for emotion in data.emotions if emotion in used and emotion not in emotions]


def _few_folds(data: DataDir) -> Finding:
    speakers = len(set(data.speaker.values()))
    if speakers < FEWEST_FOLDS:
        remedy = "Add recordings of other speakers: no model can be trained, validated and tested on different ones."
    else:
        remedy = (
            f"Make {FEWEST_FOLDS} or more (soctk-import --num-folds) to train, validate and test on different "
            "speakers. Two are enough for --protocol cross-lingual and cross-corpus alone."
        )
    is_few = not data.split and len(data.folds) < FEWEST_FOLDS
    few = [f"{plural(len(data.folds), 'fold')} of {plural(speakers, 'speaker')}"] if is_few else []
    return Finding(f"fewer than {FEWEST_FOLDS} folds", few, True, remedy)


def _list_cases(lacking: Mapping[str, Iterable[str]]) -> list[str]:
    return [f"{name}: {' '.join(emotions)}" for name, emotions in lacking.items() if emotions]
