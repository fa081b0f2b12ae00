"""Checks of a corpus before extraction: faults that would change a result, and oddities."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from soctk.corpus import audio, datadir, recordings
from soctk.corpus.audio import AudioInfo, Fault, UnusableRecording
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError

UPSTREAM_RATE = 16000  # Hz, the input of the upstreams; recordings with a lower rate lack the upper frequencies
CLIPPED_SHARE = 1e-3  # a recording counts as clipped if at least this share of its samples is clipped


@dataclass(frozen=True)
class Finding:
    """One check and its result.

    Attributes:
        what: the fault that the check looks for.
        cases: the cases found, one line each; empty if the corpus does not have this fault.
        changes_results: whether a case stops the extraction or changes a score; otherwise it is only an oddity.
    """

    what: str
    cases: list[str]
    changes_results: bool


def check(path: Path) -> tuple[str, list[Finding]]:
    """Decode every recording of a data directory, or of any other folder, and look for faults.

    Returns:
        The corpus in one line, and a Finding for each check.

    Raises:
        SoctkError: the data directory is invalid, or the folder has no recordings.
    """
    data = datadir.read(path) if (path / "wav.scp").is_file() else None
    results = audio.inspect(data.wav, data.channel) if data else audio.inspect(_find_recordings(path))
    unusable = {utt: result for utt, result in results.items() if isinstance(result, UnusableRecording)}
    usable = {utt: result for utt, result in results.items() if isinstance(result, AudioInfo)}
    findings = _list_unusable(unusable) + _list_oddities(usable)
    if data:
        return datadir.summary(data), findings + _list_repeated(data, usable) + _list_untrainable(data)
    hours = sum(info.seconds for info in usable.values()) / 3600
    repeated = [" = ".join(group) for group in _group_by_content(usable)]
    summary = f"{len(results)} recordings, {hours:.2f} h"
    return summary, [*findings, Finding("the same recording more than once", repeated, True)]


def _find_recordings(path: Path) -> dict[str, Path]:
    files = [file for file in recordings.list_files(path) if file.suffix.lower() in audio.SUFFIXES]
    if not files:
        raise SoctkError(
            "no recordings in this folder", remedy="Give a data directory or a folder of recordings.", where=path
        )
    return {str(file.relative_to(path)): file for file in files}


def _list_unusable(unusable: Mapping[str, UnusableRecording]) -> list[Finding]:
    cases: dict[Fault, list[str]] = {fault: [] for fault in Fault}
    for utt, error in unusable.items():
        cases[error.fault].append(f"{utt}: {error}")
    return [Finding(fault.value, lines, True) for fault, lines in cases.items()]


def _list_oddities(usable: Mapping[str, AudioInfo]) -> list[Finding]:
    rates = Counter(info.sample_rate for info in usable.values())
    usual = max(rates, key=rates.__getitem__, default=UPSTREAM_RATE)
    odd_rate = {utt: info for utt, info in usable.items() if info.sample_rate != usual or usual < UPSTREAM_RATE}
    clipped = {utt: info.clipped for utt, info in usable.items() if info.clipped >= CLIPPED_SHARE}
    several = {utt: info.channels for utt, info in usable.items() if info.channels > 1}
    return [
        Finding("digital silence", [utt for utt, info in usable.items() if info.is_silent], True),
        Finding("clipped", [f"{utt}: {100 * share:.1f}% of its samples" for utt, share in clipped.items()], False),
        Finding("several channels (the first is used)", [f"{utt}: {n}" for utt, n in several.items()], False),
        Finding(
            f"sample rate below {UPSTREAM_RATE} Hz, or not the most frequent one ({usual} Hz)",
            [f"{utt}: {info.sample_rate} Hz" for utt, info in odd_rate.items()],
            False,
        ),
    ]


def _group_by_content(usable: Mapping[str, AudioInfo]) -> list[list[str]]:
    """Return the groups of two or more utterances with the same samples."""
    groups = defaultdict(list)
    for utt, info in usable.items():
        groups[info.digest].append(utt)
    return [group for group in groups.values() if len(group) > 1]


def _list_repeated(data: DataDir, usable: Mapping[str, AudioInfo]) -> list[Finding]:
    """Find recordings that occur twice: in two folds, test data leak into training; in one, an answer counts twice."""
    across_folds: list[str] = []
    across_emotions: list[str] = []
    same: list[str] = []
    for group in _group_by_content(usable):
        folds = {data.fold[data.speaker[utt]] for utt in group}
        emotions = {data.emotion[utt] for utt in group}
        cases = across_folds if len(folds) > 1 else across_emotions if len(emotions) > 1 else same
        cases.append(" = ".join(f"{utt} ({data.emotion[utt]})" for utt in group))
    return [
        Finding("the same recording in several folds (in training and test data)", across_folds, True),
        Finding("the same recording with several emotions", across_emotions, True),
        Finding("the same recording twice, in one fold and with one emotion", same, True),
    ]


def _list_untrainable(data: DataDir) -> list[Finding]:
    """Find emotions without training data in some fold."""
    folds_with = defaultdict(set)
    for utt, emotion in data.emotion.items():
        folds_with[emotion].add(data.fold[data.speaker[utt]])
    absent = [emotion for emotion in data.emotions if not folds_with[emotion]]
    in_one = [f"{emotion}: fold {min(folds)}" for emotion, folds in folds_with.items() if len(folds) == 1]
    return [
        Finding("an emotion without utterances", absent, True),
        Finding("an emotion in one fold only (no training data for that fold)", in_one, True),
    ]
