"""Checks of a corpus that need no more than its labels, and the recordings' properties where they were decoded anyway.

`soctk-import`, stage 0 of the recipes, `soctk-validate` and `soctk-extract` print the findings as notes; `soctk-check`
lists them with all cases (soctk.corpus.doctor).
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from statistics import median, quantiles

from soctk.corpus import division_checks, duplicates
from soctk.corpus.audio import AudioInfo
from soctk.corpus.datadir import DataDir
from soctk.corpus.division_checks import FEWEST_FOLDS
from soctk.corpus.findings import Finding
from soctk.errors import plural

WHISPER_SECONDS = 30  # Whisper encodes at most this much audio; other encoders need memory with its square
# Durations count as equal if they differ by less than this (s). It is a sign of cut recordings if at least
# _SHARE_AT_LONGEST of the recordings, and at least _AT_LONGEST of them, have the longest duration of the corpus.
_EQUAL_SECONDS = 1e-3
_SHARE_AT_LONGEST = 0.1
_AT_LONGEST = 8
_MANY = 5  # utterances of a speaker
_IMBALANCE = 3  # a model rarely predicts classes that have so many times fewer utterances than the largest one
_FAR = 5  # a value on a dimension is odd if it is so many interquartile ranges away from the median
_KEEP_ONE = "Keep one of them"


def notes(data: DataDir, infos: Mapping[str, AudioInfo] | None = None) -> list[str]:
    """Return a line for each finding on a corpus, with what to do about it.

    Args:
        data: the corpus.
        infos: utterance -> the properties of its recording (`soctk.corpus.audio.check`); None if the recordings are not
            decoded. Then only labels, folds and durations are checked.
    """
    lines = [finding.note() for finding in check_labels(data) + check_durations(data.seconds) if finding.cases]
    return lines if infos is None else recording_notes(data, infos) + lines


def recording_notes(data: DataDir, infos: Mapping[str, AudioInfo]) -> list[str]:
    """Return the lines of `notes` that `soctk-validate`, which does not decode the recordings, does not print."""
    findings = [*check_channels(infos, data.channel), check_headers(infos), *check_copies(data, infos)]
    return [finding.note() for finding in findings if finding.cases]


def check_channels(infos: Mapping[str, AudioInfo], channel: str = "1") -> list[Finding]:
    """Find recordings whose chosen channel is silent, and recordings with several channels.

    Args:
        infos: utterance -> the properties of its recording.
        channel: the chosen channel: 1, 2, ... or mix.
    """
    silent = {utt: info for utt, info in infos.items() if info.is_silent}
    several = {utt: info for utt, info in infos.items() if info.channels > 1}
    sounding = Counter(number for info in silent.values() for number in info.sounding)
    everywhere = "All recordings are silent, so no model can learn from them. " if len(silent) == len(infos) else ""
    if sounding:
        (number, count), *_ = sounding.most_common()
        lacking = sum(info.channels < number for info in infos.values())
        remedy = f"{everywhere}Channel {number} has sound in {count} of them" + (
            f"; {plural(lacking, 'recording')} without this channel need the mean of all channels: {_choose('mix')}."
            if lacking
            else f": {_choose(str(number))}."
        )
    else:
        remedy = f"{everywhere}Replace them, or remove them from the corpus."
    name = "the mean of all channels" if channel == "mix" else f"channel {channel}"
    return [
        Finding(f"silence in {name}", list(silent), True, remedy),
        Finding(
            f"several channels ({name} is used)",
            [f"{utt} ({info.channels})" for utt, info in several.items()],
            False,
            f"To take another: {_choose('1|2|mix')}.",
        ),
    ]


def check_headers(infos: Mapping[str, AudioInfo]) -> Finding:
    """Find WAV files with more sound than the size in their headers.

    Args:
        infos: utterance -> the properties of its recording.
    """
    return Finding(
        "WAV files with more sound than their headers declare; the rest is not used",
        [f"{utt} ({info.seconds:.2f} s used, {info.unread:.2f} s not)" for utt, info in infos.items() if info.unread],
        True,
        "To use all of it, rewrite the header: sox --ignore-length IN.wav OUT.wav.",
    )


def _choose(channel: str) -> str:
    return f"soctk-import --channel {channel}, or write {channel} to the file `channel` of the data directory"


def check_durations(seconds: Mapping[str, float]) -> list[Finding]:
    """Find durations that are a sign of recordings that were cut to a length, and recordings longer than Whisper takes.

    Args:
        seconds: utterance -> duration in seconds.
    """
    longest = max(seconds.values(), default=0.0)
    cut = [utt for utt, duration in seconds.items() if longest - duration < _EQUAL_SECONDS]
    share = len(cut) / max(len(seconds), 1)
    if len(cut) < _AT_LONGEST or share < _SHARE_AT_LONGEST:
        cut, what = [], "the longest duration shared by many recordings"
    else:
        what = (
            f"{'all' if share == 1 else f'{100 * share:.0f}% of'} recordings have the longest duration, {longest:.3f} s"
        )
    long = {utt: duration for utt, duration in seconds.items() if duration > WHISPER_SECONDS}
    return [
        Finding(
            what,
            cut,
            False,
            "They may have been cut: compare one with its source.",
        ),
        Finding(
            f"longer than {WHISPER_SECONDS} s, the limit of Whisper",
            [f"{utt}: {duration:.1f} s" for utt, duration in long.items()],
            False,
            "Divide them into several recordings, or use another encoder; the memory of most grows with the square of "
            "the duration.",
        ),
    ]


def find_copies(infos: Mapping[str, AudioInfo]) -> list[tuple[str, ...]]:
    """Return the groups of utterances with the same recording. Silent recordings are left out: silence is no copy."""
    return duplicates.find({utt: info.digest for utt, info in infos.items() if not info.is_silent})


def check_copies(data: DataDir, infos: Mapping[str, AudioInfo]) -> list[Finding]:
    """Find recordings that occur twice: in two folds, test data leak into training; in one, an answer counts twice."""
    parts = "parts of the partition" if data.split else "folds"
    cases: dict[str, list[str]] = defaultdict(list)
    for group in find_copies(infos):
        speakers = {data.speaker[utt] for utt in group}
        if any(known.issuperset(group) for known in data.duplicates):
            kind = "known"
        elif len({data.split.get(utt) or data.fold_of(utt) for utt in group}) > 1:
            kind = "folds"
        elif len({data.emotion.get(utt) for utt in group}) > 1:
            kind = "emotions"
        elif len(speakers) > 1:
            kind = "speakers"
        else:
            kind = "same"
        cases[kind].append(" = ".join(f"{utt} ({data.emotion[utt]})" if data.emotion else utt for utt in group))
    published = "or list them in the file `duplicates` (soctk-import --duplicates) if a publication names them"
    return [
        Finding(
            f"the same recording in several {parts} (in training and test data)",
            cases["folds"],
            True,
            f"{_KEEP_ONE}, {'or put their speakers into one fold, ' if data.fold else ''}{published}; otherwise "
            "soctk-train refuses them.",
        ),
        Finding("the same recording with several emotions", cases["emotions"], True, "Keep the right one."),
        Finding(
            f"the same recording by several speakers of one {'part' if data.split else 'fold'}",
            cases["speakers"],
            True,
            f"{_KEEP_ONE}.",
        ),
        Finding("the same recording twice, by one speaker and with one emotion", cases["same"], True, f"{_KEEP_ONE}."),
        Finding("known duplicates, listed in the file `duplicates`", cases["known"], False, "All are kept."),
    ]


def check_labels(data: DataDir) -> list[Finding]:
    """Find classes without utterances or with few, faults of the folds or the partition, and odd speakers."""
    used = Counter(data.emotion.values())
    utterances = Counter(name for utt, name in data.speaker.items() if utt not in data.unknown)
    usual = median(utterances.values()) if utterances else 0
    return [
        Finding(
            "an emotion without utterances",
            [emotion for emotion in data.emotions if emotion not in used],
            True,
            "Remove it from the file `emotions`.",
        ),
        Finding(
            "only one emotion",
            list(used) if len(used) == 1 else [],
            True,
            "A classifier needs two or more: check the column of the emotion, and the label map.",
        ),
        _imbalance(data),
        *_dimensions(data),
        *division_checks.check(data),
        Finding(
            "every speaker has one utterance",
            list(utterances) if len(utterances) > FEWEST_FOLDS and max(utterances.values()) == 1 else [],
            False,
            "Check that these are the speakers and not the names of files: one person with two names would be in "
            "training and test data.",
        ),
        Finding(
            "speakers with one utterance, where most have many",
            [name for name, count in utterances.items() if count == 1 and usual >= _MANY],
            False,
            "Check their spelling: one person with two names would be in training and test data.",
        ),
    ]


def _imbalance(data: DataDir) -> Finding:
    counts = Counter(data.emotion.values())
    most = max(counts.values(), default=0)
    rare = {emotion: counts[emotion] for emotion in data.emotions if 0 < _IMBALANCE * counts[emotion] < most}
    largest = next((emotion for emotion in data.emotions if counts[emotion] == most), "")
    return Finding(
        f"classes with less than 1/{_IMBALANCE} of the {most} utterances of {largest}",
        [f"{emotion} {count}" for emotion, count in rare.items()],
        False,
        "A model predicts them rarely. To count all classes equally in training: soctk-train --set "
        "head.class_weight=balanced (docs/labels.md).",
    )


def _dimensions(data: DataDir) -> list[Finding]:
    """Find dimensions without variation, and values that look like typing errors or codes of missing values."""
    constant, far = [], []
    for name, values in data.dimensions.items():
        if len(set(values.values())) == 1:
            constant.append(name)
        elif len(values) > 1:
            low, middle, high = quantiles(values.values())
            reach = _FAR * (high - low)
            far += [f"{utt} ({name} {value:g})" for utt, value in values.items() if abs(value - middle) > reach > 0]
    return [
        Finding("all values of a dimension are equal", constant, True, "No model can learn it: check its column."),
        Finding(
            "values on a dimension far from all others",
            far,
            False,
            "If they are errors or codes of missing values, correct them or remove the rows; they distort the scores.",
        ),
    ]
